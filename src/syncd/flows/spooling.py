"""Keeping a webhook event when the queue is another machine: there within the time that senders have, else on the local disk (G1).

    keep    queue (unless the breaker is open) --not taken--> spool (fsync) --not taken--> 503
            where the registration has events in the spool, the spool comes first
    drain   oldest first: into the queue, then out of the spool (flows/draining)

A registration with events in the spool keeps joining its tail until that is drained, so that who sends one event after the other
finds them in the queue in that order. (Concurrent ones have no order, and neither have those of other replicas; and rather out of
order than not at all: apply compares versions.) An event whose send had no answer in time may be in the queue as well as in the
spool, with the same message id: it is absorbed, by the queue or by its audit row (G2).

Without a spool the breaker still spares senders the wait: they hear 503 at once while the queue is away.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from syncd.domain.errors import Invalid, SyncdError, TimedOut, Unavailable
from syncd.flows.deadlines import Deadlines
from syncd.flows.draining import Draining, Tails
from syncd.flows.queueguard import QueueGuard
from syncd.ports.control import Component

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from syncd.domain.breaker import Breaker
    from syncd.ports.blobs import Blobs
    from syncd.ports.clock import Clock
    from syncd.ports.observe import Observe
    from syncd.ports.queue import Message, Queue
    from syncd.ports.spool import Spool

    Enqueue = Callable[[Message], Awaitable[bool]]

#: Seconds for which a spool that refused an event counts as unable to take one; then the next event tries it.
FAULT_MEMORY = 10.0
#: Told in Retry-After where nobody names a time. Seconds.
RETRY_AFTER = 5.0
#: The name under which /readyz shows it.
COMPONENT = "webhook-intake"
_MIB = 1024 * 1024


class Spooling:
    """`takes`: whether new events may go to the spool; only where its disk outlives the process. `name`: the queue's. Seconds:
    `spool_timeout` for the disk, `drain_timeout` for a batch. Await `recover` before the first event, and run `run` as a service."""

    def __init__(
        self,
        *,
        spool: Spool | None,
        takes: bool = True,
        queue: Queue,
        name: str,
        blobs: Blobs,
        clock: Clock,
        observe: Observe,
        breaker: Breaker | None = None,
        spool_timeout: float = 1.5,
        drain_timeout: float = 5.0,
    ) -> None:
        self._spool = spool
        self._takes = spool if takes else None
        self._clock = clock
        self._observe = observe
        self._guard = QueueGuard(clock=clock, observe=observe, breaker=breaker)
        self._tails = Tails()
        self._deadlines = Deadlines(spool_timeout)
        self._fault: tuple[float, str] | None = None
        self._draining: Draining | None = None
        if spool is not None:
            self._draining = Draining(
                spool=spool,
                tails=self._tails,
                guard=self._guard,
                queue=queue,
                name=name,
                blobs=blobs,
                clock=clock,
                observe=observe,
                timeout=drain_timeout,
            )

    async def recover(self) -> None:
        """Learn who waits in the spool since before this start: their next events must not overtake them."""
        if self._takes is None:
            self._observe("spool_off")
        if self._spool is None:
            return
        self._tails.found(await self._spool.tails())
        if len(self._tails):
            self._observe("spool_found", messages=self._spool.messages, registrations=len(self._tails))

    async def run(self) -> None:
        """Drain the spool for ever."""
        if self._draining is None:
            await asyncio.Event().wait()
        else:
            await self._draining.run()

    @property
    def messages(self) -> int:
        """How many events are in the spool."""
        return 0 if self._spool is None else self._spool.messages

    async def keep(self, message: Message, enqueue: Enqueue) -> bool:
        """Durable when it returns; True for a duplicate. `message` holds its whole body; `enqueue` puts it into the queue, or raises
        within the time that senders have.

        Raises Unavailable where neither queue nor spool took it, and Invalid where the queue never will.
        """
        joins = _tail(message) in self._tails
        try:
            return await (self._into_spool(message, "tail") if joins else self._into_queue(message, enqueue))
        except Invalid:
            raise
        except SyncdError as error:
            first = error
        try:
            return await (self._into_queue(message, enqueue) if joins else self._into_spool(message, first.label))
        except Invalid:
            raise
        except SyncdError as error:
            waits = [wait for one in (first, error) if (wait := getattr(one, "retry_after", None)) is not None]
            raise Unavailable(f"{first}; {error}", retry_after=max(1.0, min(waits, default=RETRY_AFTER))) from error

    async def _into_queue(self, message: Message, enqueue: Enqueue) -> bool:
        # With a body that goes into a blob first, it may have been the blob store that failed.
        with self._guard.asking(tells=message.envelope.body_ref is None):
            return await enqueue(message)

    async def _into_spool(self, message: Message, reason: str) -> bool:
        spool = self._takes
        if spool is None:
            raise Unavailable("there is no spool, because daemon.data_dir_durable is false")
        tail = _tail(message)
        self._tails.join(tail)  # before the write: who comes now comes after it
        # In a task of its own: given up half-way, it would not be known whether the event is there.
        appending = asyncio.ensure_future(self._append(spool, tail, message))
        try:
            with self._deadlines.one():
                stored = await asyncio.shield(appending)
        except TimeoutError:
            slow = f"the spool's disk took longer than {self._deadlines.seconds:g} s"
            self._fault = (self._clock.monotonic(), slow)
            raise TimedOut(slow) from None
        self._observe("webhook_spooled", registration=tail, reason=reason, duplicate=not stored)
        return not stored

    async def _append(self, spool: Spool, tail: str, message: Message) -> bool:
        stored = False
        try:
            stored = await spool.append(tail, message)
        except SyncdError as error:
            self._fault = (self._clock.monotonic(), str(error))
            self._observe("spool_refused", reason=error.label, error=str(error))
            raise
        finally:
            if not stored:
                self._tails.leave(tail)
        self._fault = None
        if stored:
            self._tails.arrived.set()
        return stored

    def look(self) -> Component:
        """Whether an event can be taken now; `failed`: neither by the queue nor by the spool. What failed is not held against them
        for long, because it takes an event to find out that they are well again."""
        away, spool, fault = self._guard.away, self._spool, self._fault
        said = [] if away is None else [away]
        status: Literal["ok", "degraded", "failed"] = "ok" if away is None else "degraded"
        if spool is not None and spool.messages:
            size, most = spool.bytes / _MIB, spool.max_bytes / _MIB
            said.append(f"{spool.messages} events wait in the spool ({size:.1f} of {most:.0f} MiB)")
            status = "degraded"
            if spool.aside:
                said.append(f"{spool.aside} of them the queue refuses; they are tried again at the next start")
        if self._takes is None:
            said.append("no spool, because daemon.data_dir_durable is false: while the queue is away the answer is 503")
            if self._guard.pause:
                status = "failed"
        elif fault is not None and self._clock.monotonic() - fault[0] < FAULT_MEMORY:
            said.append(f"the spool takes no event ({fault[1]})")
            status = "degraded" if away is None else "failed"
        return Component(COMPONENT, status, "; ".join(said))


def _tail(message: Message) -> str:
    return message.envelope.registration_id or ""
