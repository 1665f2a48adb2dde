"""One sender of one entity: it takes along what waits, and ships it as few batches as fit, one after the other.

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
from syncd.domain.errors import SyncdError, TooLarge, Unavailable

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusMessage, ServiceBusMessageBatch
    from azure.servicebus.aio import ServiceBusSender

    from syncd.adapters.azure.servicebus.wire import Outgoing

#: Messages of one batch; the size decides before that.
MOST_IN_BATCH = 500
#: The service says so of one message, and refuses the batch that it is in.
OF_ONE = ("amqp:decode-error", "com.microsoft:argument-error", "com.microsoft:argument-out-of-range")


class Parcel(NamedTuple):
    """What one caller sends, and who hears what became of it: None, or why it was not sent."""

    messages: Sequence[Outgoing]
    tell: Callable[[SyncdError | None], object]


class Line:
    """Lives on the I/O thread, but for `woken`, which whoever puts something into `waiting` sets before `depart` is posted.

    `helps`: it takes nothing before it is connected, because another line takes it otherwise.
    """

    def __init__(
        self,
        connection: Connection[ServiceBusSender],
        waiting: deque[Parcel],
        *,
        patience: Patience,
        helps: bool = False,
    ) -> None:
        self.woken = False
        """A flight is in the air, or about to begin: it takes along whatever it finds waiting."""
        self._connection = connection
        self._waiting = waiting
        self._patience = patience
        self._helps = helps
        self._flight: asyncio.Task[None] | None = None

    def connect(self) -> None:
        """Begin to connect, so that the first message finds an open link. Whether that works is seen by whoever sends."""
        if self._flight is None:
            self.woken = True
            self._flight = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        with suppress(SyncdError):  # the connection has told
            await self._connection.open()
        await self._fly()  # what came meanwhile

    def depart(self) -> None:
        if self._flight is None or self._flight.done():
            self._flight = asyncio.get_running_loop().create_task(self._fly())

    async def _fly(self) -> None:
        try:
            if self._helps:
                await self._connection.open()
            while self._waiting:
                self.woken = True
                while parcels := self._load():
                    await self._carry(parcels)
                self.woken = False  # whoever comes from now on wakes; who came just before is seen
        except SyncdError:
            assert self._helps  # the connection has told, and nobody's message was taken
        finally:
            self.woken = False

    def _load(self) -> list[Parcel]:
        parcels: list[Parcel] = []
        count = 0
        while self._waiting and (not parcels or count + len(self._waiting[0].messages) <= MOST_IN_BATCH):
            parcels.append(self._waiting.popleft())
            count += len(parcels[-1].messages)
        return parcels

    async def _carry(self, parcels: list[Parcel]) -> None:
        try:
            await self._deliver(parcels)
        except BaseException as error:  # a cancellation too: nobody may wait for ever for what has ended
            ended = f"Service Bus {self._connection.entity}: sending was ended by {type(error).__name__}"
            for parcel in parcels:
                parcel.tell(Unavailable(ended))
            raise

    async def _deliver(self, parcels: list[Parcel]) -> None:
        try:
            await self._attempt(parcels)
        except SyncdError as error:
            if len(parcels) > 1 and (isinstance(error, TooLarge) or _says(error, OF_ONE)):
                for parcel in parcels:  # one caller's message is refused, and that is nobody else's failure
                    await self._deliver([parcel])
                return
            for parcel in parcels:
                parcel.tell(error)
            return
        for parcel in parcels:
            parcel.tell(None)

    async def _attempt(self, parcels: list[Parcel]) -> None:
        """Twice where the first finds that the service has closed a link that lay idle (after ten minutes), or the broker moved."""
        stale = self._connection.handler is not None
        try:
            try:
                await self._ship(parcels)
            except ServiceBusConnectionError as error:
                known = self._connection.failed(error, "sending")
                if not stale:
                    raise known from error
                self._connection.retry_now()
                await self._ship(parcels)
        except SyncdError:
            raise
        except Exception as error:  # a dying connection lets the SDK stumble over what is not there any more
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> SyncdError:
        known = told(error, f"Service Bus {self._connection.entity}: sending")
        if isinstance(known, TooLarge) or _says(error, (*OF_ONE, "amqp:not-allowed")):
            return known  # the message was refused, and the connection is sound
        return self._connection.failed(error, "sending")

    async def _ship(self, parcels: list[Parcel]) -> None:
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
                # Alone it may pass: on Premium a message may be larger than a batch.
                await self._send(sender, message.alone())
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
        await self._connection.close()


def _says(error: BaseException, conditions: Sequence[str]) -> bool:
    return any(condition in f"{error} {error.__cause__}" for condition in conditions)
