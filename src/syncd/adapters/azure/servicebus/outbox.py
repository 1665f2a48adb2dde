"""One sender of one entity. Whatever concurrent callers send leaves as few batches as fit, one after the other.

A batch is one transfer: all of it is stored, or nothing. What one caller sends is split only where it is too large for that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from azure.servicebus.exceptions import ServiceBusConnectionError

from syncd.adapters.azure.servicebus import sdk
from syncd.adapters.azure.servicebus.connection import Connection, Patience, told
from syncd.domain.errors import Overloaded, SyncdError, TooLarge, Unavailable
from syncd.ports.observe import Observe

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusMessage, ServiceBusMessageBatch
    from azure.servicebus.aio import ServiceBusSender

    from syncd.adapters.azure.servicebus.wire import Outgoing

#: Messages that may wait for one sender: beyond, the callers hear that it is too much.
MOST_WAITING = 20_000
#: Messages of one batch; the size decides before that.
MOST_IN_BATCH = 500


class _Parcel(NamedTuple):
    """What one caller sends, and who hears what became of it."""

    messages: Sequence[Outgoing]
    tell: Callable[[SyncdError | None], object]


class Outbox:
    def __init__(
        self,
        entity: str,
        make: Callable[[], ServiceBusSender],
        *,
        observe: Observe,
        patience: Patience,
        optional: bool = False,
    ) -> None:
        self.entity = entity
        self._observe = observe
        self._patience = patience
        self._connection: Connection[ServiceBusSender] = Connection(entity, make, observe, patience, optional)
        self._waiting: deque[_Parcel] = deque()
        self._count = 0
        self._flight: asyncio.Task[None] | None = None

    def connect(self) -> None:
        """Begin to connect, so that the first message finds an open link. Whether that works is seen by whoever sends."""
        if self._flight is None:
            self._flight = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        with suppress(SyncdError):  # the connection has told
            await self._connection.open()
        await self._fly()  # what came meanwhile

    def send(self, messages: Sequence[Outgoing], tell: Callable[[SyncdError | None], object]) -> None:
        """`tell` hears None when all are durable, or TooLarge, Overloaded or Unavailable; then some may be stored all the same."""
        if self._count + len(messages) > MOST_WAITING:
            tell(Overloaded(f"Service Bus {self.entity}: {self._count} messages wait already", retry_after=1.0))
            return
        self._count += len(messages)
        self._waiting.append(_Parcel(messages, tell))
        if self._flight is None or self._flight.done():
            self._flight = asyncio.get_running_loop().create_task(self._fly())

    async def _fly(self) -> None:
        while self._waiting:
            parcels: list[_Parcel] = []
            count = 0
            while self._waiting and (not parcels or count + len(self._waiting[0].messages) <= MOST_IN_BATCH):
                parcels.append(self._waiting.popleft())
                count += len(parcels[-1].messages)
            try:
                await self._deliver(parcels)
            except BaseException as error:  # a cancellation too: nobody may wait for ever for what has ended
                for parcel in parcels:
                    parcel.tell(Unavailable(f"Service Bus {self.entity}: sending was ended by {type(error).__name__}"))
                raise
            finally:
                self._count -= count

    async def _deliver(self, parcels: list[_Parcel]) -> None:
        try:
            await self._attempt(parcels)
        except SyncdError as error:
            if len(parcels) > 1 and isinstance(error, TooLarge):
                for parcel in parcels:  # one caller's message is too large, and that is nobody else's failure
                    await self._deliver([parcel])
                return
            for parcel in parcels:
                parcel.tell(error)
            return
        for parcel in parcels:
            parcel.tell(None)

    async def _attempt(self, parcels: list[_Parcel]) -> None:
        """Twice where the first finds that the service has closed a link that lay idle (after ten minutes), or the broker moved."""
        stale = self._connection.handler is not None
        try:
            await self._ship(parcels)
        except ServiceBusConnectionError as error:
            known = self._connection.failed(error, "sending")
            if not stale:
                raise known from error
            self._connection.retry_now()
            try:
                await self._ship(parcels)
            except SyncdError:
                raise
            except Exception as again:  # as below
                raise self._failed(again) from again
        except SyncdError:
            raise
        except Exception as error:  # a connection that dies in use: the SDK stumbles over what is no longer there
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> SyncdError:
        known = told(error, f"Service Bus {self.entity}: sending")
        if isinstance(known, TooLarge) or "amqp:not-allowed" in str(error):
            return known  # the message was refused, and the connection is sound
        return self._connection.failed(error, "sending")

    async def _ship(self, parcels: list[_Parcel]) -> None:
        sender = await self._connection.open()
        batch = await sender.create_message_batch()
        session: str | None = None
        for message in (message for parcel in parcels for message in parcel.messages):
            if message.session != session and len(batch):  # a batch is of one session
                await self._send(sender, batch)
                batch = await sender.create_message_batch()
            session = message.session
            if sdk.add(batch, message):
                continue
            await self._send(sender, batch)
            batch = await sender.create_message_batch()
            if not sdk.add(batch, message):
                await self._send(
                    sender, message.alone()
                )  # alone it may pass: on Premium a message may be larger than a batch
        await self._send(sender, batch)
        self._connection.proved()

    async def _send(self, sender: ServiceBusSender, what: ServiceBusMessageBatch | ServiceBusMessage) -> None:
        async with asyncio.timeout(self._patience.call + 1):
            await sender.send_messages(what, timeout=self._patience.call)

    async def close(self) -> None:
        """What waits is sent first, for as long as one call may take."""
        if self._flight is not None and not self._flight.done():
            await asyncio.wait({self._flight}, timeout=self._patience.call)
            self._flight.cancel()
        for parcel in self._waiting:
            parcel.tell(Overloaded(f"Service Bus {self.entity}: closing"))
        await self._connection.close()
