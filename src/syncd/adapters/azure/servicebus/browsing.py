"""Peek and depth, through the receivers that the consumer has anyway: looking takes its turn there as a probe does.

A replica that consumes nothing opens them to look, and closes them when nobody has looked for a while.

A position is `<lane>:<sequence number>`; lanes are shown one after the other, each oldest first. Depth is counted by the service for
those who may manage the entity; for others it peeks and counts, up to COUNTED messages of a lane, and says where it stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from azure.servicebus import ServiceBusMessageState

from syncd.adapters.azure.servicebus.connection import says_missing
from syncd.adapters.azure.servicebus.consumer import Consumer
from syncd.adapters.azure.servicebus.counting import Counting
from syncd.adapters.azure.servicebus.idling import Idling
from syncd.adapters.azure.servicebus.link import Link
from syncd.adapters.azure.servicebus.sessions import SessionLink, requires_sessions
from syncd.adapters.azure.servicebus.wire import Wire
from syncd.domain.errors import Invalid, SyncdError, Unavailable
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
    stopped: bool = False
    """There are more than were counted."""
    hidden: bool = False
    """Nothing could be counted."""

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

    def __init__(self, consumer: Consumer, *, counting: Counting, wire: Wire, clock: Clock, unused: float) -> None:
        """`unused`: how long connections stay open for the next look. Seconds."""
        self._consumer = consumer
        self._counting = counting
        self._wire = wire
        self._clock = clock
        self._idling = Idling(unused, consumer.leave)

    def _links(self) -> dict[Lane, Link]:
        return {source.lane: source.link for source in self._consumer.sources}

    async def peek(self, limit: int, after: str | None) -> list[Peeked]:
        """Raises Unavailable for an entity that requires sessions: its receivers see one at a time."""
        with self._idling.used():
            return await self._peek(limit, after)

    async def _peek(self, limit: int, after: str | None) -> list[Peeked]:
        found: list[Peeked] = []
        first, start = _position(after)
        for lane, link in self._from(first):
            leased = self._consumer.handed_out(lane)
            while len(found) < limit:
                page = await _page(lane, link, min(PAGE, limit - len(found)), start)
                if not page:
                    break
                found.extend(self._shown(lane, message, leased) for message in page)
                start = page[-1].sequence_number or 0
            start = 0
        return found

    async def depth(self, at_most: int) -> Depth:
        with self._idling.used():
            counts = await asyncio.gather(
                *(self._count(lane, link, min(COUNTED, at_most)) for lane, link in self._links().items())
            )
        hidden = any(count.hidden for count in counts)
        ready, scheduled = sum(count.ready for count in counts), sum(count.scheduled for count in counts)
        oldest = min((count.oldest for count in counts if count.oldest is not None), default=None)
        return Depth(
            None if hidden else min(ready, at_most),
            sum(count.leased for count in counts),
            None if hidden else min(scheduled, at_most),
            None if oldest is None else max(self._clock.now() - oldest, 0.0),
            at_least=at_most > COUNTED and any(count.stopped for count in counts),
        )

    async def _count(self, lane: Lane, link: Link, at_most: int) -> _Counts:
        leased = self._consumer.handed_out(lane)
        counted = await self._counting.of(link.entity) if link.error is None else None
        if counted is not None and not counted.active:
            return _Counts(scheduled=counted.scheduled)
        try:
            counts = await _peeked(lane, link, at_most, leased, oldest=counted is not None)
        except SyncdError as error:
            if not requires_sessions(error):
                raise
            counts = _Counts(leased=len(leased), hidden=True)
        if counted is not None:
            ours = min(len(leased), counted.active)
            counts = _Counts(counted.active - ours, ours, counted.scheduled, counts.oldest)
        return counts

    def _from(self, first: Lane | None) -> list[tuple[Lane, Link]]:
        lanes = list(self._links().items())
        names = [lane for lane, _ in lanes]
        return lanes[names.index(first) :] if first in names else lanes

    def _shown(self, lane: Lane, message: ServiceBusReceivedMessage, leased: Collection[int]) -> Peeked:
        read = self._wire.incoming(self._consumer.queue, lane, message)
        state = "leased" if read.sequence in leased else "ready"
        if message.state == ServiceBusMessageState.SCHEDULED:
            state = "scheduled"
        return Peeked(f"{lane}:{read.sequence}", read.envelope, read.body, state, read.enqueued, read.due)

    def close(self) -> None:
        self._idling.stop()


async def _peeked(lane: Lane, link: Link, at_most: int, leased: Collection[int], *, oldest: bool) -> _Counts:
    """Page by page until there are no more or `at_most` were seen; `oldest`: or one that is ready."""
    counts = _Counts()
    start = seen = 0
    # A page may hold less than was asked for though there are more: only an empty one is the end.
    while page := await _page(lane, link, PAGE, start):
        if seen >= at_most:
            counts.stopped = True
            break
        seen += len(page)
        start = page[-1].sequence_number or 0
        for message in page:
            counts.add(message, leased)
        if oldest and counts.ready:
            break
    return counts


async def _page(lane: Lane, link: Link, count: int, after: int) -> list[ServiceBusReceivedMessage]:
    if isinstance(link, SessionLink):
        raise Unavailable(f"Service Bus {link.entity} requires sessions: who has one sees no other")
    try:
        return await link.peek(count, after)
    except SyncdError as error:
        if lane != "normal" and says_missing(error):
            return []
        raise


def _position(after: str | None) -> tuple[Lane | None, int]:
    if after is None:
        return None, 0
    lane, _, sequence = after.partition(":")
    for known in LANES:
        if lane == known and sequence.isdecimal():
            return known, int(sequence)
    raise Invalid(f"{after[:80]!r} is no position of a queue")
