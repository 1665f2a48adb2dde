"""A message as the broker carries it: the envelope as application properties, the body as bytes.

Names of properties are those of the envelope's wire form; `headers`, a mapping there, is JSON text here, because a property is a
scalar. Two more are the adapter's own: `notBefore` (the message's due time) and `sentBy` (this process and its time, for `skew`).
What has no `originId` was sent by somebody else and gets the envelope that `domain/foreign` makes.

The SDK hands out keys and texts of properties, and texts inside of value bodies, as bytes.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from azure.servicebus import ServiceBusMessage

from syncd.adapters.azure.servicebus import amqp
from syncd.adapters.azure.servicebus.amqp import Scalar
from syncd.domain.errors import Invalid
from syncd.domain.foreign import envelope_of
from syncd.domain.ids import digest
from syncd.domain.messages import Envelope
from syncd.domain.times import iso, parse
from syncd.ports.queue import Message

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage
    from azure.servicebus._common.message import PrimitiveTypes

    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.messages import Lane

#: The service takes message and session ids of so many characters.
#: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas
LONGEST_ID = 128
#: Properties that are the broker's or the adapter's and no part of an envelope.
_NOT_BEFORE, _SENT_BY = "notBefore", "sentBy"
_LOCKED_UNTIL = b"x-opt-locked-until"
#: In place of the lock's end that the SDK compares with this machine's clock before it settles: 1 January 2100, milliseconds.
_FAR = 4_102_444_800_000
_JSON = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Received:
    """What a message said. Times are Unix seconds: `due` by the sender's clock, `sent_at` by ours, the others by the broker's."""

    envelope: Envelope
    body: bytes
    sequence: int
    enqueued: float
    locked_until: float | None
    due: float
    deliveries: int
    sent_at: float | None
    session: str | None


class Outgoing(NamedTuple):
    """A message, ready to be sent: as it goes into a batch, and for itself where it is too large for one."""

    id: str
    session: str | None
    encoded: bytes
    alone: Callable[[], ServiceBusMessage]


class Wire:
    """`sender`: what tells this process from others, for messages that it receives back."""

    def __init__(self, *, sender: str) -> None:
        self._sender = sender

    def outgoing(self, message: Message, *, now: float, repeated: bool = False, session: str | None = None) -> Outgoing:
        """`repeated`: a hop that may be sent again after a crash, so its id is the hop's own whatever the window. Raises Invalid for
        what cannot be written."""
        envelope, body, due = message.envelope, message.body, message.due
        properties = properties_of(envelope)
        later = due is not None and due > now
        if due is not None:
            properties[_NOT_BEFORE] = iso(due)
        if not later:
            properties[_SENT_BY] = f"{self._sender} {round(now * 1000)}"
        name = _id_of(message, repeated=repeated)
        try:
            encoded = amqp.message(
                body,
                message_id=name,
                correlation_id=envelope.correlation_id,
                content_type="application/json" if body[:1] == b"{" else None,
                session_id=session,
                due_ms=round(due * 1000) if later and due is not None else None,
                properties=properties,
            )
        except ValueError as error:
            raise Invalid(f"the message {envelope.origin_id!r} cannot be written: {error}") from error
        return Outgoing(
            name, session, encoded, partial(_for_sdk, message, name, properties, due if later else None, session)
        )

    def incoming(self, queue: str, lane: Lane, message: ServiceBusReceivedMessage) -> Received:
        """Raises nothing that a sender could cause: what cannot be read gets an envelope whose handler says so."""
        annotations = message.raw_amqp_message.annotations or {}
        enqueued = _seconds(annotations.get(b"x-opt-enqueued-time")) or 0.0
        scheduled = _seconds(annotations.get(b"x-opt-scheduled-enqueue-time"))
        locked_until = _seconds(annotations.get(_LOCKED_UNTIL))
        if locked_until is not None:
            # The SDK refuses to settle what is locked no longer by this machine's clock. The broker is the judge of its locks.
            annotations[_LOCKED_UNTIL] = _FAR
        sequence = cast("int", annotations.get(b"x-opt-sequence-number") or 0)
        properties = plain_properties(message)
        due, sent_by = properties.pop(_NOT_BEFORE, None), properties.pop(_SENT_BY, None)
        body = body_of(message)
        envelope = _envelope(queue, lane, properties, message, body, sequence, enqueued)
        try:
            due_at = parse(due) if isinstance(due, str) else scheduled or enqueued
        except ValueError:
            due_at = enqueued
        return Received(
            envelope=envelope,
            body=body,
            sequence=sequence,
            enqueued=enqueued,
            locked_until=locked_until,
            due=due_at,
            deliveries=(message.delivery_count or 0) + 1,
            sent_at=self._sent_at(sent_by),
            session=message.session_id,
        )

    def _sent_at(self, stamp: object) -> float | None:
        if not isinstance(stamp, str):
            return None
        sender, _, milliseconds = stamp.partition(" ")
        return int(milliseconds) / 1000 if sender == self._sender and milliseconds.isdecimal() else None


def _for_sdk(
    message: Message, name: str, properties: Mapping[str, Scalar], due: float | None, session: str | None
) -> ServiceBusMessage:
    return ServiceBusMessage(
        message.body,
        message_id=name,
        application_properties=cast("dict[str | bytes, PrimitiveTypes]", dict(properties)),
        scheduled_enqueue_time_utc=None if due is None else datetime.fromtimestamp(due, UTC),
        correlation_id=message.envelope.correlation_id,
        content_type="application/json" if message.body[:1] == b"{" else None,
        session_id=session,
    )


def properties_of(envelope: Envelope) -> dict[str, Scalar]:
    wire = envelope.to_json()
    headers = wire.get("headers")
    if headers is not None:
        wire["headers"] = _JSON(headers)  # ASCII: a header may hold what is no Unicode, and it comes out as it went in
    return wire


def plain_properties(message: ServiceBusReceivedMessage) -> JsonObject:
    """The application properties with names and texts as text."""
    raw = cast("Mapping[object, object]", message.application_properties or {})
    return {_text(key): _scalar(value) for key, value in raw.items()}


def _id_of(message: Message, *, repeated: bool) -> str:
    """What the broker dedupes by. Without a window nobody can send this message again, and no other may be taken for it."""
    if message.dedupe_id is not None:
        return message.dedupe_id if len(message.dedupe_id) <= LONGEST_ID else digest(message.dedupe_id)
    if repeated or message.dedupe_window > 0:
        return message.envelope.broker_id
    return uuid.uuid4().hex


def _envelope(
    queue: str,
    lane: Lane,
    properties: JsonObject,
    message: ServiceBusReceivedMessage,
    body: bytes,
    sequence: int,
    enqueued: float,
) -> Envelope:
    if isinstance(properties.get("originId"), str) and isinstance(properties.get("kind"), str):
        try:
            headers = properties.get("headers")
            return Envelope.from_json({**properties, "headers": json.loads(headers)} if headers else properties)
        except (ValueError, TypeError):
            pass  # our names with values that we never write: somebody else's after all
    if message.correlation_id is not None and "correlationId" not in properties:
        properties["correlationId"] = _scalar(message.correlation_id)
    # Each lane is an entity of its own, which counts its messages for itself.
    number = str(sequence) if lane == "normal" else f"{lane}:{sequence}"
    # By the time at which it came into the queue, so that a second delivery has the same envelope as the first.
    return envelope_of(queue, body, properties, number, now=enqueued)


def body_of(message: ServiceBusReceivedMessage) -> bytes:
    """Data sections as they are, a text as UTF-8, any other value as JSON."""
    body = message.body
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    kind = getattr(message.body_type, "value", None)
    if kind == "data":
        return b"".join(body)
    if body is None:
        return b""
    value = list(body) if kind == "sequence" else body
    return json.dumps(_plain(value), default=str).encode()


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {_text(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _scalar(value: object) -> object:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _seconds(milliseconds: object) -> float | None:
    if isinstance(milliseconds, datetime):
        return milliseconds.timestamp()
    return milliseconds / 1000 if isinstance(milliseconds, int) else None
