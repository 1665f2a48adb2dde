"""The broker's own dead letters of a queue: leased like messages, for maintenance to keep and complete.

Maintenance looks each minute, on one replica. Its connections stay open as long as it comes here, and are not even opened where the
service says that nothing is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from syncd.adapters.azure.servicebus.connection import Patience, says_missing
from syncd.adapters.azure.servicebus.counting import Counting
from syncd.adapters.azure.servicebus.idling import Idling
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
    """On the I/O thread, except for making it. `links`: the entities of the lanes, each with its dead-letter queue."""

    def __init__(
        self,
        queue: str,
        links: Sequence[tuple[Lane, str, Link]],
        *,
        counting: Counting,
        wire: Wire,
        clock: Clock,
        patience: Patience,
    ) -> None:
        self._queue = queue
        self._links = links
        self._counting = counting
        self._wire = wire
        self._clock = clock
        self._look = patience.quick
        self._idling = Idling(patience.unused, self._leave)

    async def lease(self, limit: int) -> list[DeadLetter]:
        """All lanes are looked through at the same time, each for its share; one after the other for fewer than there are lanes."""
        groups = [self._links] if limit >= len(self._links) else [[one] for one in self._links]
        with self._idling.used():
            for links in groups:
                if found := await self._lease_of(links, limit // len(links)):
                    return found
        return []

    async def _lease_of(self, links: Sequence[tuple[Lane, str, Link]], limit: int) -> list[DeadLetter]:
        answers = await asyncio.gather(
            *(self._lease(lane, entity, link, limit) for lane, entity, link in links), return_exceptions=True
        )
        found: list[DeadLetter] = []
        failure: BaseException | None = None
        for answer in answers:
            if isinstance(answer, list):
                found.extend(answer)
            elif not says_missing(answer):  # what is not there holds nothing; `check` and the workers name it
                failure = failure or answer
        if failure is not None and (not found or not isinstance(failure, SyncdError)):
            raise failure
        return found

    async def _lease(self, lane: Lane, entity: str, link: Link, limit: int) -> list[DeadLetter]:
        counted = await self._counting.of(entity)
        if counted is not None and not counted.dead:
            return []
        now, monotonic = self._clock.now(), self._clock.monotonic
        found: list[DeadLetter] = []
        for message in await link.take(limit, self._look, gap=self._look / 5):
            read = self._wire.incoming(self._queue, lane, message)
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

    def _leave(self) -> None:
        for _, _, link in self._links:
            link.leave()

    async def close(self) -> None:
        self._idling.stop()
        await asyncio.gather(*(link.close() for _, _, link in self._links))
