"""The broker's own dead letters of a queue: leased like messages, for maintenance to keep and complete."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from syncd.adapters.azure.servicebus.connection import says_missing
from syncd.adapters.azure.servicebus.leases import HeldLease
from syncd.adapters.azure.servicebus.link import Link
from syncd.adapters.azure.servicebus.skew import LONGEST_LOCK
from syncd.adapters.azure.servicebus.wire import Wire
from syncd.domain.errors import SyncdError
from syncd.domain.messages import Lane
from syncd.ports.clock import Clock
from syncd.ports.deadletters import DeadLetter
from syncd.ports.queue import Delivery


class Graveyard:
    """On the I/O thread, except for making it. `links`: the dead-letter queues of the lanes' entities."""

    def __init__(
        self, queue: str, links: Sequence[tuple[Lane, Link]], *, wire: Wire, clock: Clock, look: float
    ) -> None:
        self._queue = queue
        self._links = links
        self._wire = wire
        self._clock = clock
        self._look = look

    async def lease(self, limit: int) -> list[DeadLetter]:
        found: list[DeadLetter] = []
        for lane, link in self._links:
            if len(found) < limit:
                try:
                    found.extend(await self._lease(lane, link, limit - len(found)))
                except SyncdError as error:
                    if not says_missing(error):  # what is not there holds nothing; `check` and the workers name it
                        raise
        return found

    async def _lease(self, lane: Lane, link: Link, limit: int) -> list[DeadLetter]:
        now, monotonic = self._clock.now(), self._clock.monotonic
        found: list[DeadLetter] = []
        for message in await link.take(limit, self._look, gap=self._look / 5):
            read = self._wire.incoming(self._queue, message)
            left = min(max((read.locked_until or now) - now, 1.0), LONGEST_LOCK)
            lease = HeldLease(
                link, message, lane=lane, read=read, left=left, lock_ends=read.locked_until, monotonic=monotonic
            )
            link.hold(lease)
            delivery = Delivery(self._queue, read.envelope, read.body, lease, read.deliveries, read.enqueued)
            found.append(
                DeadLetter(delivery, message.dead_letter_reason or "", message.dead_letter_error_description or "")
            )
        await link.rest()
        return found

    async def close(self) -> None:
        await asyncio.gather(*(link.close() for _, link in self._links))
