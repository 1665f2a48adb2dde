"""From the spool into the queue, oldest first, in batches, each removed once the queue has it (G1).

What was sent and not yet removed when the process died is sent again with the same message id, so it is absorbed, by the queue or
by the event's audit row (G2). Nothing here stops for good: what does not go now is tried again after LONGEST_PAUSE at most.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from syncd.domain.errors import Invalid, SyncdError, TimedOut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from syncd.flows.queueguard import QueueGuard
    from syncd.ports.blobs import Blobs
    from syncd.ports.clock import Clock
    from syncd.ports.observe import Observe
    from syncd.ports.queue import Message, Queue
    from syncd.ports.spool import Spool, Spooled

    Going = Sequence[tuple[Spooled, Message]]

#: Events of one batch: enough that they cost more than the round trip.
BATCH = 200
#: Seconds between two tries: the first pause doubles up to the longest. With the time of a try that began too early, what is back is
#: used again within ten seconds.
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 3.0


class Tails:
    """How many events of each registration are in the spool or on their way into it; one without any is in no tail."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self.arrived = asyncio.Event()
        """There is something to drain."""

    def found(self, counts: Mapping[str, int]) -> None:
        """What the spool holds at the start."""
        self._counts.update(counts)
        if counts:
            self.arrived.set()

    def __contains__(self, tail: str) -> bool:
        return tail in self._counts

    def __len__(self) -> int:
        return len(self._counts)

    def join(self, tail: str) -> None:
        self._counts[tail] = self._counts.get(tail, 0) + 1

    def leave(self, tail: str, count: int = 1) -> None:
        # An append that failed may be on the disk all the same: what was never counted may still be drained.
        left = self._counts.get(tail, 0) - count
        if left > 0:
            self._counts[tail] = left
        else:
            self._counts.pop(tail, None)


class Draining:
    """`run` is a service. `timeout`: seconds for a batch or for a body on its way into its blob; no sender waits for them."""

    def __init__(
        self,
        *,
        spool: Spool,
        tails: Tails,
        guard: QueueGuard,
        queue: Queue,
        name: str,
        blobs: Blobs,
        clock: Clock,
        observe: Observe,
        timeout: float = 5.0,
    ) -> None:
        self._spool = spool
        self._tails = tails
        self._guard = guard
        self._queue = queue
        self._name = name
        self._blobs = blobs
        self._clock = clock
        self._observe = observe
        self._timeout = timeout

    async def run(self) -> None:
        pause = FIRST_PAUSE
        if len(self._tails):
            self._tails.arrived.set()  # a run before this one may have failed half-way
        while True:
            await self._tails.arrived.wait()
            self._tails.arrived.clear()
            await self._clock.sleep(self._guard.pause)
            try:
                await self._drain()
            except SyncdError as error:
                self._observe("spool_not_drained", label=error.label, error=str(error), messages=self._spool.messages)
                self._tails.arrived.set()
                await self._clock.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                pause = FIRST_PAUSE

    async def _drain(self) -> None:
        """A body that cannot be put into its blob holds up its registration alone; that failure is raised in the end."""
        stuck: dict[str, SyncdError] = {}
        until = self._clock.monotonic() + LONGEST_PAUSE
        while page := await self._spool.read(without=stuck, limit=BATCH):
            going: list[tuple[Spooled, Message]] = []
            for one in page:
                if one.tail not in stuck:
                    try:
                        going.append((one, await self._bodiless(one.message, stuck)))
                    except SyncdError as error:
                        stuck[one.tail] = error
            if going:
                await self._hand_over(going)
            if stuck and self._clock.monotonic() >= until:
                break  # however many new ones come, those that are stuck must have their turn
        for failure in stuck.values():
            raise failure
        if not len(self._tails):
            self._observe("spool_drained")

    async def _bodiless(self, message: Message, stuck: Mapping[str, SyncdError]) -> Message:
        """A body that is too large for a message goes into its blob first, as at the front door."""
        reference = message.envelope.body_ref
        if reference is None:
            return message
        for failure in stuck.values():
            if isinstance(failure, TimedOut):
                raise failure  # one wait for the blob store is enough for all
        await self._in_time(self._blobs.put(reference, message.body), "the blob store")
        return replace(message, body=b"")

    async def _hand_over(self, going: Going) -> None:
        try:
            with self._guard.asking():
                await self._in_time(self._queue.send(self._name, [message for _, message in going]), "the queue")
        except Invalid as error:
            # The queue will never take one of them. The others must not wait for it, and it must not get lost.
            if len(going) > 1:
                for one in going:
                    await self._hand_over([one])
                return
            [(refused, message)] = going
            await self._spool.set_aside([refused.position])
            event = message.envelope.event_id
            self._observe("spool_set_aside", registration=refused.tail, eventId=event, error=str(error))
        else:
            await self._spool.remove([one.position for one, _ in going])
            self._observe("spool_handed_over", messages=len(going))
        for tail, count in Counter(one.tail for one, _ in going).items():
            self._tails.leave(tail, count)

    async def _in_time(self, asked: Awaitable[object], whom: str) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await asked
        except TimeoutError:
            raise TimedOut(f"{whom} took longer than {self._timeout:g} s") from None
