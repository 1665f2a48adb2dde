"""What is sent to one entity. While one batch is on its way the next one gathers, and a second sender helps where many wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from syncd.adapters.azure.servicebus.connection import Connection, Patience
from syncd.adapters.azure.servicebus.line import Line, Parcel
from syncd.domain.errors import Overloaded, SyncdError
from syncd.ports.observe import Observe

if TYPE_CHECKING:
    from azure.servicebus.aio import ServiceBusSender

    from syncd.adapters.azure.servicebus.wire import Outgoing

#: Callers that may wait for one entity: beyond, they hear that it is too much.
MOST_WAITING = 20_000
#: With so many waiting the second sender helps. With fewer, one batch at a time is quick enough, and costs one connection.
CROWD = 24


class Outbox:
    """`wake`: run something on the I/O thread, from any thread."""

    def __init__(
        self,
        entity: str,
        make: Callable[[], ServiceBusSender],
        *,
        wake: Callable[[Callable[[], object]], None],
        observe: Observe,
        patience: Patience,
        optional: bool = False,
    ) -> None:
        self.entity = entity
        self._wake = wake
        self._waiting: deque[Parcel] = deque()
        self._first, self._second = (
            Line(Connection(entity, make, observe, patience, optional), self._waiting, patience=patience, helps=helps)
            for helps in (False, True)
        )

    def connect(self) -> None:
        """On the I/O thread: begin to connect, so that the first message finds an open link."""
        self._first.connect()

    def send(self, messages: Sequence[Outgoing], tell: Callable[[SyncdError | None], object]) -> None:
        """From any thread. `tell` hears on the I/O thread: None when all are durable, or TooLarge, Overloaded or Unavailable; then
        some may be stored all the same. Raises Overloaded.

        While a flight is in the air nobody is woken: waking a thread for each message costs more than sending them.
        """
        waiting = self._waiting
        if len(waiting) >= MOST_WAITING:
            raise Overloaded(f"Service Bus {self.entity}: {MOST_WAITING} callers wait already", retry_after=1.0)
        waiting.append(Parcel(messages, tell))
        if not self._first.woken:
            self._depart(self._first)
        elif len(waiting) >= CROWD and not self._second.woken:
            self._depart(self._second)

    def _depart(self, line: Line) -> None:
        line.woken = True
        self._wake(line.depart)

    async def close(self) -> None:
        """What waits is sent first, for as long as one call may take."""
        await asyncio.gather(self._first.close(), self._second.close())
        for parcel in self._waiting:
            parcel.tell(Overloaded(f"Service Bus {self.entity}: closing"))
