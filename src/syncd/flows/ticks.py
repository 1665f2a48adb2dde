"""Running jobs at their times, once, on whichever replica comes first (G3).

    claim: book free, tick due -> running(term + 1)      renew each 30 s: until = now + 90 s      end: tick terminal, book free

Time is the store's: `clock` must follow it, and a replica whose `skew` says that it is more than 5 s off does not claim. On the
embedded default the store's time is the machine's, and the skew is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from syncd.domain.collections import SCHEDULES, TICK_TTL
from syncd.domain.errors import Conflict, Failure, Invalid, LeaseLost, Overloaded
from syncd.domain.schedules import jitter
from syncd.domain.ticks import BOOK, LOOP, ended
from syncd.domain.times import iso, parse
from syncd.flows.claims import RACES, Claims
from syncd.flows.executions import Executions
from syncd.flows.leasedrun import LEASE, run_leased
from syncd.flows.tickrequests import TickRequests
from syncd.ports.documents import FOREVER, Create, Document, Replace, Write

if TYPE_CHECKING:
    from collections.abc import Callable

    from syncd.domain.jsontypes import JsonObject
    from syncd.flows.jobs import Job, Tick, TickResult
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents
    from syncd.ports.observe import Observe


def _no_skew() -> float:
    return 0.0


class Ticks:
    """`owner` is `<replica>/<boot>`. `alone`: no other live process bears this replica's name (the embedded lock file sees to
    it), so leases of its earlier boots are void at once, except those of jobs that guard an outgoing call."""

    def __init__(
        self,
        *,
        documents: Documents,
        clock: Clock,
        observe: Observe,
        owner: str,
        alone: bool = False,
        skew: Callable[[], float] = _no_skew,
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._observe = observe
        self._owner = owner
        self.executions = Executions(documents=documents)
        self._claims = Claims(
            documents=documents,
            clock=clock,
            observe=observe,
            owner=owner,
            alone=alone,
            skew=skew,
            executions=self.executions,
            marks=self,
        )
        self.requests = TickRequests(
            documents=documents, clock=clock, observe=observe, claims=self._claims, executions=self.executions
        )

    async def run_next(self, job: Job) -> bool:
        """Claim one tick of `job` that is due and run it to its end; False where there is none for us. Call it until then."""
        tick = await self.claim(job)
        if tick is None:
            return False
        await self.run(job, tick)
        return True

    async def claim(self, job: Job) -> Tick | None:
        """Take the right to run one due tick, or None. What passed without being run is noted in the same step."""
        return await self._claims.claim(job)

    async def run(self, job: Job, tick: Tick) -> TickResult | None:
        """Run a claimed tick to its end and record it. None: the lease was lost, and the tick is somebody else's."""
        wait = jitter(job.name, tick.at, job.jitter) if tick.trigger == "schedule" and tick.id != LOOP else 0.0

        async def work() -> TickResult:
            if wait:
                await self._clock.sleep(wait)
            return await job.run(tick)

        async def renew() -> None:
            await self._renew(tick)

        began = self._clock.now()
        await self._began(tick, began)
        self._observe("job_started", job=job.name, tick=tick.id, term=tick.term, execution=tick.execution_id)
        try:
            result = await run_leased(work, renew=renew, clock=self._clock, timeout=job.timeout + wait)
            with anyio.CancelScope(shield=True):
                await self._end(job, tick, result, began)
        except LeaseLost as error:
            self._observe("job_lease_lost", job=job.name, tick=tick.id, term=tick.term, error=str(error))
            return None
        self._observe(
            "job_ended",
            job=job.name,
            tick=tick.id,
            execution=tick.execution_id,
            status=result.status,
            reason=result.reason,
            duration=self._clock.now() - began,
        )
        return result

    async def _began(self, tick: Tick, now: float) -> None:
        """A record that cannot be written now does not keep the tick from running: it is written whole at the end."""
        if not _has_record(tick):
            return
        try:
            await self.executions.began(tick, now=now)
        except Failure as error:
            self._observe("execution_not_recorded", job=tick.job, execution=tick.execution_id, error=str(error))

    async def _end(self, job: Job, tick: Tick, result: TickResult, began: float) -> None:
        """Record the outcome; the store may be away for a while. Raises LeaseLost where the tick is no longer ours."""
        pause = 1.0
        deadline = self._clock.monotonic() + LEASE
        while True:
            try:
                if _has_record(tick):
                    await self.executions.ended(tick, result, began=began, now=self._clock.now())
                await self._record(job, tick, result)
                return
            except Failure as error:
                if self._clock.monotonic() + pause > deadline:
                    raise LeaseLost(f"the outcome could not be recorded in time: {error}") from error
                await self._clock.sleep(pause)
                pause = min(pause * 2, 10.0)

    async def _record(self, job: Job, tick: Tick, result: TickResult) -> None:
        for _ in range(RACES):
            book, document = await self._ours(tick)
            now = self._clock.now()
            state = {**book.data, "running": None}
            writes: list[Write] = []
            if document is None:
                state["last"] = {"status": result.status, "reason": result.reason, "finishedAt": iso(now)}
            else:
                data = ended(
                    document.data, status=result.status, reason=result.reason, evidence=result.evidence, now=now
                )
                writes.append(Replace(document.id, data, document.etag, ttl=TICK_TTL))
                overlapped = self._claims.overlapped(job, book.data, parse(data["startedAt"]), now)
                new = await self._claims.documents_for(job, overlapped, now)
                writes += [Create(i, fresh, ttl=TICK_TTL) for i, fresh in new.items()]
                if overlapped:
                    state["through"] = iso(overlapped[-1][0].through)
                    self._claims.tell(job, overlapped, now)
            writes.append(Replace(BOOK, state, book.etag, ttl=FOREVER))
            try:
                await self._documents.write(SCHEDULES, tick.job, writes)
                return
            except Conflict:
                continue
        raise Overloaded(f"the book of {tick.job} changed {RACES} times while it was written", retry_after=1.0)

    async def _ours(self, tick: Tick) -> tuple[Document, Document | None]:
        """The book and the tick's document while we hold them; a loop has no document. Raises LeaseLost."""
        book, document = await self._documents.get_many(SCHEDULES, [(tick.job, BOOK), (tick.job, tick.id)])
        running = (book and book.data.get("running")) or {}
        held = (running.get("tick"), running.get("term"), running.get("owner")) == (tick.id, tick.term, self._owner)
        if book is None or not held or (document is None) != (tick.id == LOOP):
            raise LeaseLost(f"{tick.job} {tick.id} is no longer ours (term {tick.term})")
        return book, document

    async def _renew(self, tick: Tick) -> None:
        for _ in range(RACES):
            book, document = await self._ours(tick)
            until = iso(self._clock.now() + LEASE)
            writes: list[Write] = [
                Replace(
                    BOOK, {**book.data, "running": {**book.data["running"], "until": until}}, book.etag, ttl=FOREVER
                )
            ]
            if document is not None:
                writes.append(Replace(document.id, {**document.data, "until": until}, document.etag, ttl=TICK_TTL))
            try:
                await self._documents.write(SCHEDULES, tick.job, writes)
                return
            except Conflict:
                continue
        raise Overloaded(f"the book of {tick.job} changed {RACES} times while it was renewed", retry_after=1.0)

    async def mark_sent(self, tick: Tick, facts: JsonObject) -> None:
        tick.sent_at = self._clock.now()
        tick.sent = dict(facts)
        await self._mark(tick)

    async def clear_sent(self, tick: Tick) -> None:
        tick.sent_at = None
        tick.sent = {}
        await self._mark(tick)

    async def _mark(self, tick: Tick) -> None:
        marks = {"sentAt": None if tick.sent_at is None else iso(tick.sent_at), "sent": tick.sent}
        for _ in range(RACES):
            _, document = await self._ours(tick)
            if document is None:
                raise Invalid(f"{tick.job} is a loop: it keeps no document for a call that must not be repeated")
            try:
                write = Replace(document.id, {**document.data, **marks}, document.etag, ttl=TICK_TTL)
                await self._documents.write(SCHEDULES, tick.job, [write])
                return
            except Conflict:
                continue
        raise Overloaded(f"{tick.job} {tick.id} changed {RACES} times while it was marked", retry_after=1.0)


def _has_record(tick: Tick) -> bool:
    """Passes of a loop are too many to record, except those that somebody asked for."""
    return tick.id != LOOP or tick.trigger == "manual"
