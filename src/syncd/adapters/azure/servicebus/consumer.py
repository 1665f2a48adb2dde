"""One queue as a consumer: who wants messages, and where they come from.

    demand -> shelf? -> lanes that gave something lately are asked for their share, all at once (a round)
                     -> when none gives anything, one message of each lane is awaited in a long poll
    message -> shelf -> the first demand that may have it

Asked for is what is wanted, never more, except for one message of each lane while they share 8:4:1, and for those of full groups:
the broker cannot pass over them, so they are leased and lie here until their group is free. At most SHELF of them, then nothing more
is taken until some have gone; when nobody has asked for a while all of it is released, which does not count as a delivery.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from syncd.adapters.azure.servicebus.connection import LANE_PAUSE, Patience, says_missing
from syncd.adapters.azure.servicebus.iothread import Reply
from syncd.adapters.azure.servicebus.leases import HeldLease, held
from syncd.adapters.azure.servicebus.link import How, Link, stop
from syncd.adapters.azure.servicebus.sessions import requires_sessions
from syncd.adapters.azure.servicebus.shelf import Shelf
from syncd.adapters.azure.servicebus.skew import Skew, Stamps
from syncd.adapters.azure.servicebus.wire import Wire
from syncd.domain.errors import SyncdError, Unavailable
from syncd.domain.groups import GroupCap, full_groups
from syncd.domain.messages import LANES, Lane
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe
from syncd.ports.queue import Delivery

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage

#: Messages that may lie here, leased.
SHELF = 1000
#: How long nothing is taken after the clocks were found to differ too much. Seconds.
SKEW_PAUSE = 5.0


@dataclass(slots=True, eq=False)
class Demand:
    """One call of `lease`. `quick`: it does not wait."""

    count: int
    duration: float
    cap: GroupCap | None
    quick: bool
    reply: Reply[list[Delivery]]


@dataclass(slots=True, eq=False)
class Source:
    """A lane's entity."""

    lane: Lane
    link: Link
    optional: bool
    """The queue works without it."""
    with_sessions: Callable[[], Link]
    """What serves the entity if it turns out to require sessions."""
    live: bool = True
    """It gave something when it was last asked."""
    absent_until: float = -math.inf
    poll: asyncio.Task[None] | None = field(default=None)

    async def serve_sessions(self, error: SyncdError) -> bool:
        """Whether that was the matter, and is mended."""
        if not requires_sessions(error):
            return False
        await self.link.close()
        self.link = self.with_sessions()
        return True

    async def stop(self) -> None:
        """Ended, not only cancelled: a poll that overheard it would take a message that nobody learns of."""
        poll, self.poll = self.poll, None
        if poll is not None:
            await stop(poll)


class Consumer:
    """On the I/O thread, except for making it."""

    def __init__(
        self,
        queue: str,
        sources: Sequence[Source],
        *,
        wire: Wire,
        clock: Clock,
        observe: Observe,
        patience: Patience,
    ) -> None:
        self.queue = queue
        self.sources = sources
        self.skew = Skew()
        self._wire = wire
        self._clock = clock
        self._observe = observe
        self._patience = patience
        self._demands: list[Demand] = []
        self._shelf = Shelf()
        self._changed = asyncio.Event()
        self._service: asyncio.Task[None] | None = None
        self._failure: SyncdError | None = None

    def want(self, demand: Demand) -> None:
        if not self._demands:
            self._failure = None  # of a time when nobody asked: what is wrong now is found out now
        self._demands.append(demand)
        self._changed.set()
        if self._service is None or self._service.done():
            self._service = asyncio.get_running_loop().create_task(self._serve())

    def withdraw(self, demand: Demand) -> None:
        """Its time is over: it gets nothing, unless it was answered meanwhile."""
        if demand in self._demands:
            self._demands.remove(demand)
            demand.reply.give([])
            self._changed.set()

    def put_back(self, deliveries: Sequence[Delivery]) -> None:
        """Nobody took them: they are the next one's, as if they had never been handed out."""
        for delivery in deliveries:
            lease = held(delivery)
            if not lease.lost:
                self._shelf.put(lease.lane, delivery, due=delivery.enqueued_at, sequence=lease.sequence)
        self._changed.set()

    def handed_out(self, lane: Lane) -> frozenset[int]:
        """Sequence numbers of what callers of this process work on."""
        links = [source.link for source in self.sources if source.lane == lane]
        everything = {lease.sequence for link in links for lease in link.held if not lease.ended}
        return frozenset(everything - self._shelf.sequences(lane))

    def leave(self) -> None:
        """Nobody looks through the connections any more. Where nobody asks for messages either, they are closed."""
        if self._service is None or self._service.done():
            for source in self.sources:
                source.link.leave()

    async def close(self) -> None:
        """Release what lies here. What was handed out stays locked until its lock runs out."""
        working = [source.poll for source in self.sources if source.poll is not None]
        if self._service is not None:
            working.append(self._service)
        # To their ends: who is connecting lets go of the socket before the client closes all that it knows of.
        await asyncio.gather(*(stop(task) for task in working))
        for demand in self._demands:
            demand.reply.fail(Unavailable(f"the queue {self.queue} is closing"))
        self._demands.clear()
        with suppress(SyncdError):  # then their locks run out
            await self._release(self._shelf.clear())
        await asyncio.gather(*(source.link.close() for source in self.sources))

    # The loop

    async def _serve(self) -> None:
        """As long as anybody asks, and a little longer."""
        while True:
            self._changed.clear()
            try:
                if not self._demands:
                    if not await self._asked_within(self._patience.unasked):
                        await self._rest()
                        if not self._demands:
                            return
                    continue
                await self._round()
            except SyncdError as error:
                self._refuse(error)
            except Exception as error:  # noqa: BLE001 - a mistake of ours must not end the service: whoever asks is told, and asks again
                self._refuse(Unavailable(f"the queue {self.queue}: {error!r}"))

    async def _asked_within(self, seconds: float) -> bool:
        await asyncio.gather(*(source.stop() for source in self.sources))
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _rest(self) -> None:
        with suppress(SyncdError):  # the connection has told, and closed itself: the broker takes everything back
            await self._release(self._shelf.clear())
            await asyncio.gather(*(source.link.rest() for source in self.sources))

    def _refuse(self, error: SyncdError) -> None:
        demands, self._demands = self._demands, []
        for demand in demands:
            demand.reply.fail(error)

    async def _round(self) -> None:
        await asyncio.gather(*(source.link.look_after() for source in self.sources if source.link.held))
        self._shelf.drop_lost()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        now = asyncio.get_running_loop().time()
        present = [source for source in self.sources if now >= source.absent_until]
        if self._settled(present):
            return
        quick = any(demand.quick for demand in self._demands)
        asked = [source for source in present if source.live or quick]
        if asked and len(self._shelf) < SHELF:
            while asked and len(self._shelf) < SHELF:
                asked = await self._ask(asked, quick=quick)
            self._hand_out()
            for demand in [demand for demand in self._demands if demand.quick]:
                self.withdraw(demand)
            return
        if len(self._shelf) < SHELF:
            for source in present:
                if source.poll is None:
                    source.poll = asyncio.get_running_loop().create_task(self._await_one(source))
        for demand in [demand for demand in self._demands if demand.quick]:
            self.withdraw(demand)
        await self._changed.wait()

    def _settled(self, present: Sequence[Source]) -> bool:
        """Hand out what lies here, unless a lane that has more to give is missing and would lose its share."""
        waiting = self._shelf.waiting(full_groups(self._demands[0].cap))
        missing = [source for source in present if source.live and not waiting[source.lane]]
        return bool(sum(waiting.values())) and not missing and self._hand_out()

    def _hand_out(self) -> bool:
        """To each demand what it may have; True if any got something."""
        some = False
        for demand in list(self._demands):
            deliveries = self._shelf.pick(demand.count, demand.cap)
            if deliveries:
                for delivery in deliveries:
                    held(delivery).duration = demand.duration
                self._demands.remove(demand)
                demand.reply.give(deliveries)
                some = True
        return some

    # Taking

    async def _ask(self, sources: Sequence[Source], *, quick: bool) -> list[Source]:
        """Each lane for its share, at the same time. Those that gave all they were asked for, where more is wanted still.

        One that fails fails the round only if no other gave anything.
        """
        await asyncio.gather(*(source.stop() for source in sources))
        wanted = self._wanted(sources)
        patience = self._patience
        answers = await asyncio.gather(
            *(
                source.link.take(
                    wanted[source.lane],
                    patience.quick if quick else patience.look,
                    gap=patience.quick_gap if quick else patience.gap,
                )
                for source in sources
            ),
            return_exceptions=True,
        )
        errors: list[SyncdError] = []
        full: list[Source] = []
        for source, answer in zip(sources, answers, strict=True):
            if isinstance(answer, SyncdError):
                if await source.serve_sessions(answer):
                    full.append(source)
                    continue
                source.live = False
                if not self._is_absent(source, answer):
                    errors.append(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                source.live = bool(answer)
                if len(answer) >= wanted[source.lane]:
                    full.append(source)
                self._shelve(source, answer)
        if await self._clock_is_doubtful():
            return [source for source in sources if source.live]
        if errors and not len(self._shelf):
            raise errors[0]
        return full if self._unmet() else []

    def _wanted(self, sources: Sequence[Source]) -> dict[Lane, int]:
        total = sum(demand.count for demand in self._demands)
        waiting = self._shelf.waiting(_full_for_all(self._demands))
        weights = sum(LANES[source.lane] for source in sources if source.live) or 1
        room = SHELF - len(self._shelf)
        wanted = {}
        for source in sources:
            share = math.ceil(total * LANES[source.lane] / weights) if source.live else 1
            wanted[source.lane] = max(1, min(share - waiting[source.lane], room))
        return wanted

    def _unmet(self) -> bool:
        """More is wanted than lies here."""
        waiting = self._shelf.waiting(_full_for_all(self._demands))
        return sum(waiting.values()) < sum(demand.count for demand in self._demands)

    async def _await_one(self, source: Source) -> None:
        """The long poll. One message is enough: more are asked for as soon as it is here."""
        try:
            while True:
                messages = await source.link.take(1, 60.0)
                if messages:
                    source.live = True
                    self._shelve(source, messages)
                    if not await self._clock_is_doubtful():
                        return
        except SyncdError as error:
            if not await source.serve_sessions(error) and not self._is_absent(source, error):
                self._failure = error
        finally:
            if source.poll is asyncio.current_task():
                source.poll = None
            self._changed.set()

    def _is_absent(self, source: Source, error: SyncdError) -> bool:
        """A lane that the namespace does not have is no failure."""
        if not source.optional or not says_missing(error):
            return False
        source.absent_until = asyncio.get_running_loop().time() + LANE_PAUSE
        source.live = False
        self._observe("lane_absent", entity=source.link.entity)
        return True

    def _shelve(self, source: Source, messages: Sequence[ServiceBusReceivedMessage]) -> None:
        now, monotonic = self._clock.now(), self._clock.monotonic
        all_read = [(message, self._wire.incoming(self.queue, source.lane, message)) for message in messages]
        stamps = [Stamps(read.enqueued, read.locked_until, read.sent_at) for _, read in all_read]
        self.skew.look(now=now, monotonic=monotonic(), messages=stamps)
        for message, read in all_read:
            ends = source.link.lock_ends(read)
            lease = HeldLease(
                source.link,
                message,
                lane=source.lane,
                read=read,
                left=self._left(ends, now),
                lock_ends=ends,
                monotonic=monotonic,
            )
            source.link.hold(lease)
            delivery = Delivery(self.queue, read.envelope, read.body, lease, read.deliveries, read.enqueued)
            self._shelf.put(source.lane, delivery, due=read.due, sequence=read.sequence)

    async def _clock_is_doubtful(self) -> bool:
        """Whether what came tells us to look again: then everything was given back, uncounted. Raises Unavailable with the reason
        while the clocks differ too much."""
        reason = self.skew.excess
        if reason is None and not self.skew.doubtful:
            return False
        seconds = self.skew.offset
        await self._release(self._shelf.clear())
        if reason is None:
            return True
        self.skew.forget()
        self._observe("clock_skewed", queue=self.queue, seconds=seconds, reason=reason)
        raise Unavailable(reason, retry_after=SKEW_PAUSE)

    def _left(self, ends: float | None, now: float) -> float:
        """Seconds that the lock has left."""
        if ends is None:
            return self.skew.lock
        return min(max(ends - now - self.skew.offset, 0.0), self.skew.lock)

    async def _release(self, deliveries: Sequence[Delivery]) -> None:
        leases = [held(delivery) for delivery in deliveries]
        await asyncio.gather(*(lease.link.settle(lease, How.RELEASE) for lease in leases if not lease.ended))


def _full_for_all(demands: Sequence[Demand]) -> Collection[str]:
    """Groups of which nobody may have a message."""
    return frozenset.intersection(*(full_groups(demand.cap) for demand in demands)) if demands else frozenset()
