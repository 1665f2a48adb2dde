"""Peek and depth, on a connection of their own: looking must not interrupt a poll, and a poll must not delay looking.

A position is `<lane>:<sequence number>`; lanes are shown one after the other, each oldest first. Service Bus counts only for those
who may manage the entity, so depth peeks and counts, up to COUNTED messages of a lane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from azure.servicebus import ServiceBusMessageState

from syncd.adapters.azure.servicebus.connection import LANE_PAUSE, says_missing
from syncd.adapters.azure.servicebus.link import Link
from syncd.adapters.azure.servicebus.wire import Wire
from syncd.domain.errors import Invalid, SyncdError
from syncd.domain.messages import LANES, Lane
from syncd.ports.clock import Clock
from syncd.ports.queue import Depth, Peeked

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage

#: Messages of one peek.
PAGE = 250
#: Messages of a lane that depth counts; from here on its numbers are lower bounds.
COUNTED = 1000


@dataclass(slots=True)
class _Counts:
    ready: int = 0
    leased: int = 0
    scheduled: int = 0
    oldest: float | None = None

    def add(self, message: ServiceBusReceivedMessage, leased: Collection[int]) -> None:
        if message.state == ServiceBusMessageState.SCHEDULED:
            self.scheduled += 1
        elif message.sequence_number in leased:
            self.leased += 1
        else:
            self.ready += 1
            at = message.enqueued_time_utc
            if at is not None and (self.oldest is None or at.timestamp() < self.oldest):
                self.oldest = at.timestamp()


class Browser:
    """On the I/O thread, except for making it."""

    def __init__(self, queue: str, links: Mapping[Lane, Link], *, wire: Wire, clock: Clock) -> None:
        self._queue = queue
        self._links = links
        self._wire = wire
        self._clock = clock
        self._absent_until: dict[Lane, float] = {}

    async def peek(self, limit: int, after: str | None, leased: Collection[int]) -> list[Peeked]:
        found: list[Peeked] = []
        first, start = _position(after)
        for lane, link in self._from(first):
            while len(found) < limit:
                page = await self._page(lane, link, min(PAGE, limit - len(found)), start)
                if not page:
                    break
                found.extend(self._peeked(lane, message, leased) for message in page)
                start = page[-1].sequence_number or 0
            start = 0
        return found

    async def depth(self, at_most: int, leased: Collection[int]) -> Depth:
        counts = await asyncio.gather(
            *(self._count(lane, link, min(COUNTED, at_most), leased) for lane, link in self._links.items())
        )
        oldest = min((count.oldest for count in counts if count.oldest is not None), default=None)
        return Depth(
            min(sum(count.ready for count in counts), at_most),
            sum(count.leased for count in counts),
            min(sum(count.scheduled for count in counts), at_most),
            None if oldest is None else max(self._clock.now() - oldest, 0.0),
        )

    async def _count(self, lane: Lane, link: Link, at_most: int, leased: Collection[int]) -> _Counts:
        counts = _Counts()
        start = seen = 0
        while seen < at_most and (page := await self._page(lane, link, PAGE, start)):
            seen += len(page)
            start = page[-1].sequence_number or 0
            for message in page:
                counts.add(message, leased)
        return counts

    def _from(self, first: Lane | None) -> list[tuple[Lane, Link]]:
        lanes = list(self._links.items())
        names = [lane for lane, _ in lanes]
        return lanes[names.index(first) :] if first in names else lanes

    async def _page(self, lane: Lane, link: Link, count: int, after: int) -> list[ServiceBusReceivedMessage]:
        now = asyncio.get_running_loop().time()
        if now < self._absent_until.get(lane, 0.0):
            return []
        try:
            return await link.peek(count, after)
        except SyncdError as error:
            if lane != "normal" and says_missing(error):
                self._absent_until[lane] = now + LANE_PAUSE
                return []
            raise

    def _peeked(self, lane: Lane, message: ServiceBusReceivedMessage, leased: Collection[int]) -> Peeked:
        read = self._wire.incoming(self._queue, message)
        state = "leased" if read.sequence in leased else "ready"
        if message.state == ServiceBusMessageState.SCHEDULED:
            state = "scheduled"
        return Peeked(f"{lane}:{read.sequence}", read.envelope, read.body, state, read.enqueued, read.due)

    async def close(self) -> None:
        await asyncio.gather(*(link.close() for link in self._links.values()))


def _position(after: str | None) -> tuple[Lane | None, int]:
    if after is None:
        return None, 0
    lane, _, sequence = after.partition(":")
    for known in LANES:
        if lane == known and sequence.isdecimal():
            return known, int(sequence)
    raise Invalid(f"{after[:80]!r} is no position of a queue")
