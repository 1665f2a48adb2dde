"""Every use of what azure-servicebus does not show, each with its reason. Checked against version 7.15.0; a test fails where
another version has moved any of it.

Its receivers are made for one caller who receives, works and settles in turn. Ours polls and settles at the same time, and with the
public face alone each settle waits for the poll's next read (0.2 s), and a batch that is not full waits for as long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from azure.servicebus._pyamqp.constants import SEND_DISPOSITION_ACCEPT, LinkState
from azure.servicebus._pyamqp.error import AMQPException
from azure.servicebus._pyamqp.outcomes import Accepted
from azure.servicebus._pyamqp.receiver import check_disposition_outcome

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusMessageBatch, ServiceBusReceivedMessage
    from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

    from syncd.adapters.azure.servicebus.wire import Outgoing

_LOGGER = logging.getLogger(__name__)
#: How long the service's second thoughts about a new link are waited for. Seconds.
CONFIRM = 0.05


async def confirm(handler: ServiceBusReceiver | ServiceBusSender) -> None:
    """Raise what is wrong with a link that has just been opened. The service accepts it first and refuses it in the next frame
    (no such entity, disabled, no right); the SDK looks at that frame with the next call, and a management call then says nothing
    but "Management Operation error occurred"."""
    inside = _inside(handler)
    try:
        await inside._handler._connection.listen(wait=CONFIRM)
        await inside._handler.client_ready_async()
    except AMQPException as error:
        raise inside._amqp_transport.create_servicebus_exception(_LOGGER, error) from error


def attached(handler: ServiceBusReceiver | ServiceBusSender) -> bool:
    """Whether its link still stands, as far as frames were read. The SDK keeps one that the service detached as busy, and has every
    later call fail with what was said then."""
    client = _inside(handler)._handler
    link = None if client is None else client._link
    return link is not None and link.state == LinkState.ATTACHED  # `get_state()` raises what the link was detached with


def keep_arrivals(receiver: ServiceBusReceiver) -> None:
    """Keep what comes between two calls of receive_messages for the next: a call that is cancelled leaves its credit with the
    broker. Otherwise the SDK releases each such message, and the broker sends it again at once (`enhanced_message_received_async`)."""
    _inside(receiver)._receive_context.set()


def arrived(receiver: ServiceBusReceiver) -> int:
    """Messages that have come and were not taken yet. The SDK hands a batch out when it is full, or 0.2 s after its first."""
    handler = _inside(receiver)._handler
    return 0 if handler is None else int(handler._received_messages.qsize())


async def drain(receiver: ServiceBusReceiver) -> None:
    """Take the credit back, and release what came meanwhile: nobody asks for messages now."""
    inside = _inside(receiver)
    if inside._handler is not None:
        await inside._amqp_transport.drain_and_release_messages_async(inside._handler)


def add(batch: ServiceBusMessageBatch, message: Outgoing) -> bool:
    """Put a message into a batch as it was written; False where it does not fit. `add_message` encodes each twice, once for its size
    and once for the batch, by tables (0.2 ms, which is more than the rest of a webhook)."""
    inside, encoded = _inside(batch), message.encoded
    size = inside._size + len(encoded) + (5 if len(encoded) < 256 else 8)
    if size > batch.max_size_in_bytes:
        return False
    if not inside._count:
        inside._amqp_transport.set_batch_envelope_properties(inside._message, message.id, message.session, None)
    inside._message[5].append(encoded)
    inside._size = size
    inside._count += 1
    return True


async def complete(
    receiver: ServiceBusReceiver, messages: Sequence[ServiceBusReceivedMessage], timeout: float
) -> list[bool | Exception | None]:
    """Complete all by one wait: True, or what the broker said instead; None where it did not say, or the message came on another link,
    and the public call has to settle by the lock's token.

    The public call is one task for each message, all of which read the one socket for each other's answers; where one frame answers
    many, all but one of them wait for the socket's timeout.
    """
    inside = _inside(receiver)
    link = None if inside._handler is None else inside._handler._link
    answers: list[bool | Exception | None] = [None] * len(messages)
    if link is None:
        return answers
    pending, asked = link._pending_dispositions, {}
    until = asyncio.get_running_loop().time() + timeout
    try:
        for place, message in enumerate(messages):
            told = _inside(message)
            if told._delivery_tag in link._received_delivery_tags:
                asked[told._delivery_id] = place
                pending[told._delivery_id] = {"settled": False, "outcome": None}
                await link._outgoing_disposition(told._delivery_id, None, told._delivery_tag, False, Accepted(), None)
        for delivery_id in asked:
            while not pending[delivery_id]["settled"]:
                if asyncio.get_running_loop().time() >= until or link.get_state() != LinkState.ATTACHED:
                    return answers
                await link._session._connection.listen(wait=CONFIRM)
            answers[asked[delivery_id]] = _outcome(inside, delivery_id, pending[delivery_id]["outcome"])
    finally:
        for delivery_id in asked:
            pending.pop(delivery_id, None)
    return answers


# Any: what the SDK's inside holds and the broker said.
def _outcome(inside: Any, delivery_id: int, outcome: Any) -> bool | Exception:
    try:
        check_disposition_outcome(delivery_id, outcome, SEND_DISPOSITION_ACCEPT)
    except AMQPException as error:
        said: Exception = inside._amqp_transport.create_servicebus_exception(_LOGGER, error)
        return said
    return True


async def release(receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage) -> bool:
    """Give a message back without counting the delivery; False where it did not come on this receiver's link, and nothing was done.

    As the SDK itself does for what it has buffered: settled by us, so the broker sends no answer.
    """
    inside, told = _inside(receiver), _inside(message)
    handler = inside._handler
    if handler is None or handler._link is None or told._delivery_tag not in handler._link._received_delivery_tags:
        return False
    await handler.settle_messages_async(told._delivery_id, told._delivery_tag, "released")
    return True


async def renew(
    receiver: ServiceBusReceiver, messages: Sequence[ServiceBusReceivedMessage], timeout: float
) -> list[float]:
    """The Unix seconds until which each is locked now, by one request for all. The public call renews one message a request."""
    tokens = [message.lock_token for message in messages]
    answer = await _inside(receiver)._renew_locks(*tokens, timeout=timeout)
    return [milliseconds / 1000 for milliseconds in answer[b"expirations"]]


def session_lock(receiver: ServiceBusReceiver) -> float | None:
    """Until when the session is locked, by the broker's clock; None where it said nothing. From here on the SDK takes it for
    locked: it compares the broker's time with this machine's, and the broker is the judge of its locks."""
    session = _inside(receiver)._session
    until, session._locked_until_utc = session._locked_until_utc, None
    return None if until is None else float(until.timestamp())


async def renew_session(receiver: ServiceBusReceiver, timeout: float) -> float:
    """Until when it is locked now. Raises as the SDK does."""
    until = await receiver.session.renew_lock(timeout=timeout)
    _inside(receiver)._session._locked_until_utc = None
    return until.timestamp()


def clients_of(handler: ServiceBusReceiver | ServiceBusSender) -> list[object]:
    """A list to which every AMQP client is added that the handler makes from now on. One whose opening is cut off before its session
    has begun is thrown away with its socket open (`AMQPClientAsync.close_async` looks at the session only)."""
    inside, made = _inside(handler), list[object]()
    create = inside._create_handler

    def remember(auth: object) -> None:
        create(auth)
        made.append(inside._handler)

    inside._create_handler = remember
    return made


def hasten(handler: ServiceBusReceiver | ServiceBusSender) -> None:
    """Before `close()`: it waits for a task that sleeps for a second at a time (`_keep_alive_async`)."""
    client = _inside(handler)._handler
    if client is not None and client._keep_alive_thread is not None:
        client._keep_alive_thread.cancel()
        client._keep_alive_thread = None


def abort(handler: ServiceBusReceiver | ServiceBusSender) -> None:
    """Close the socket at once. `close()` speaks to a broker that may not answer, and cancelled it leaves the socket open."""
    inside = _inside(handler)
    client = inside._handler
    inside._handler, inside._running = None, False  # so that the client's close() passes it over
    if client is None:
        return
    client._shutdown = True
    if client._keep_alive_thread is not None:
        client._keep_alive_thread.cancel()
        client._keep_alive_thread = None
    cut(socket_of(client))


async def close(client: ServiceBusClient) -> None:
    """Close it, and what it still knows of. It waits for the keep-alive tasks of its links; one that is dropped meanwhile (`hasten`,
    `abort`) would end this as if we had been cancelled."""
    while True:
        try:
            return await client.close()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # it was us


def socket_of(client: object) -> asyncio.StreamWriter | None:
    """The socket below an open receiver or sender, or below its AMQP client. To be kept: an error while the SDK closes a
    connection leaves its socket open and forgets where it is (`Connection.close`, then `_disconnect` in state END)."""
    below = getattr(client, "_handler", client)
    return cast(
        "asyncio.StreamWriter | None",
        getattr(getattr(getattr(below, "_connection", None), "_transport", None), "writer", None),
    )


def cut(socket: asyncio.StreamWriter | None) -> None:
    if socket is not None:
        with suppress(RuntimeError):  # its loop has ended, and with it the transport
            socket.transport.abort()


# Any: what is reached for here is, by definition, in no type.
def _inside(thing: object) -> Any:
    return thing
