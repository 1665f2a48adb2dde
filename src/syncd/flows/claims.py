"""Claiming ticks: one atomic batch decides what is run next, by whom, and what passed without being run (G3).

The batch sets `running` in the job's book by etag and, in the same step, creates the tick, takes the one that is due, or takes
over the one whose runner died with the next term. Whoever loses that race looks again. So no two ticks of a job run at once
anywhere, and a killed process leaves nothing that the next one does not find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from syncd.domain.collections import SCHEDULES, TICK_TTL
from syncd.domain.errors import Conflict, Failure
from syncd.domain.schedules import last_between
from syncd.domain.ticks import (
    BOOK,
    LOOP,
    MOST_DUE,
    ON_TIME,
    Decision,
    claimed,
    decide,
    decide_overlapped,
    due_document,
    ended,
    execution_id,
    is_void,
    passed_document,
    running_mark,
    tick_id,
)
from syncd.domain.times import iso, parse, parse_or_none
from syncd.flows.jobs import Tick
from syncd.flows.leasedrun import LEASE
from syncd.ports.documents import FOREVER, Condition, Create, Document, Query, Replace, Write

if TYPE_CHECKING:
    from collections.abc import Callable

    from syncd.domain.jsontypes import JsonObject
    from syncd.flows.executions import Executions
    from syncd.flows.jobs import Job, Marks
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents
    from syncd.ports.observe import Observe

#: A decision and what those instants are called that it does not run.
Verdict = tuple[Decision, Literal["missed", "skipped"]]

#: Seconds by which a replica's clock may differ from the store's before it leaves claiming to others.
MOST_SKEW = 5.0
#: A tick that killed so many runners is failed: the sixth would not fare better.
MOST_TERMS = 5
#: Lost races after which somebody else is plainly at work.
RACES = 20


class Claims:
    def __init__(
        self,
        *,
        documents: Documents,
        clock: Clock,
        observe: Observe,
        owner: str,
        alone: bool,
        skew: Callable[[], float],
        executions: Executions,
        marks: Marks,
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._observe = observe
        self._owner = owner
        self._alone = alone
        self._skew = skew
        self._executions = executions
        self._marks = marks
        self._adopted: dict[str, str] = {}

    async def claim(self, job: Job) -> Tick | None:
        """Take the right to run one due tick, or None. What passed without being run is noted in the same step."""
        skew = self._skew()
        if abs(skew) > MOST_SKEW:
            self._observe("job_not_claimed", job=job.name, skew=skew)
            return None
        for _ in range(RACES):
            book = await self.adopt(job)
            try:
                return await self._claim_loop(job, book) if job.loop else await self._claim(job, book)
            except Conflict:
                continue
        return None

    async def adopt(self, job: Job) -> Document:
        """The job's book; written where it is new (a baseline: nothing before now is missed) or the job was edited.

        Only the first look of this process compares the specification, so that replicas with an older configuration do not
        keep taking an edit back while a new release is rolled out."""
        while True:
            book = await self._documents.get(SCHEDULES, job.name, BOOK)
            if book is not None and self._adopted.get(job.name) == job.spec:
                return book
            now = iso(self._clock.now())
            if book is None:
                write: Write = Create(BOOK, _new_book(job, now), ttl=FOREVER)
            elif book.data.get("spec") != job.spec:
                write = Replace(
                    BOOK, {**book.data, "spec": job.spec, "since": now, "through": now}, book.etag, ttl=FOREVER
                )
            else:
                self._adopted[job.name] = job.spec
                return book
            try:
                stored = (await self._documents.write(SCHEDULES, job.name, [write]))[0]
            except Conflict:
                continue
            assert stored is not None
            self._adopted[job.name] = job.spec
            self._observe("job_adopted", job=job.name, first=book is None)
            return stored

    async def _claim(self, job: Job, book: Document) -> Tick | None:
        now = self._clock.now()
        running: JsonObject | None = book.data.get("running")
        if running and not self._is_void(job, running, now):
            return None
        decisions = self._decisions(job, book.data, running, now)
        new = await self.documents_for(job, decisions, now)
        state = {**book.data, "running": None}
        if decisions:
            state["through"] = iso(decisions[-1][0].through)
        writes: list[Write] = []
        taken: tuple[str, JsonObject] | None = None
        if running:
            taken = await self._abandoned(job, running, writes, now)
        if taken is None:
            taken = await self._waiting(job, writes, now)
        if taken is None:
            taken = next(((i, data) for i, data in new.items() if data["status"] == "due"), None)
            if taken:
                del new[taken[0]]
                taken = (taken[0], claimed(taken[1], owner=self._owner, now=now, until=now + LEASE))
                writes.append(Create(*taken, ttl=TICK_TTL))
        if not (taken or new or running):
            return None
        if taken:
            state["running"] = running_mark(taken[0], term=taken[1]["term"], owner=self._owner, until=now + LEASE)
        writes += [Create(i, data, ttl=TICK_TTL) for i, data in new.items()]
        writes.append(Replace(BOOK, state, book.etag, ttl=FOREVER))
        await self._documents.write(SCHEDULES, job.name, writes)
        self.tell(job, decisions, now)
        return None if taken is None else self._tick(job, *taken)

    def _is_void(self, job: Job, running: JsonObject, now: float) -> bool:
        return is_void(running, owner=self._owner, now=now, alone=self._alone, guarded=job.guards_outgoing_call)

    def _decisions(self, job: Job, book: JsonObject, running: JsonObject | None, now: float) -> list[Verdict]:
        """What to do about the instants since the last look. While a dead runner's lease ran, its tick was running."""
        if not job.enabled or book.get("paused"):
            return []
        found: list[Verdict] = []
        after = max(parse(book["since"]), parse(book["through"]))
        if running:
            until = min(parse(running["until"]), now)
            overlapped = decide_overlapped(job.schedule, after=after, until=until, overlap=job.overlap)
            if overlapped:
                found.append((overlapped, "skipped"))
                if len(overlapped.run) == MOST_DUE:
                    return found  # there is more of it: the rest comes with the next look
            after = max(after, until)
        late = decide(job.schedule, after=after, now=now, missed=job.missed, window=job.missed_window)
        if late:
            found.append((late, "missed"))
        return found

    def overlapped(self, job: Job, book: JsonObject, began: float, now: float) -> list[Verdict]:
        """What becomes of the instants that passed while a tick that we claimed at `began` was running."""
        if not job.enabled or book.get("paused"):
            return []
        after = max(parse(book["since"]), parse(book["through"]))
        if last_between(job.schedule, after, began) is not None:
            return []  # a long outage is still being worked off: the next claim judges all of it
        decision = decide_overlapped(job.schedule, after=after, until=now, overlap=job.overlap)
        return [(decision, "skipped")] if decision else []

    async def documents_for(self, job: Job, decisions: list[Verdict], now: float) -> dict[str, JsonObject]:
        """New tick documents by id, oldest first; those that exist already (somebody asked for that time) are left alone."""
        new: dict[str, JsonObject] = {}
        for decision, word in decisions:
            if decision.last_passed is not None:
                new[tick_id(decision.last_passed)] = passed_document(
                    job.name, decision.last_passed, status=word, count=decision.passed, now=now
                )
            for at in decision.run:
                trigger: Literal["schedule", "missed"] = (
                    "missed" if now - at > ON_TIME and word == "missed" else "schedule"
                )
                new[tick_id(at)] = due_document(job.name, at, trigger=trigger, now=now)
        if new:
            stored = await self._documents.get_many(SCHEDULES, [(job.name, identifier) for identifier in new])
            for document in stored:
                if document is not None:
                    del new[document.id]
        return new

    async def _abandoned(
        self, job: Job, running: JsonObject, writes: list[Write], now: float
    ) -> tuple[str, JsonObject] | None:
        """The tick whose runner died, in our hands; None where it is gone, or has killed too many runners."""
        found = await self._documents.get(SCHEDULES, job.name, running["tick"])
        if found is None or found.data["status"] != "running":
            return None
        await self._bury(job, found, now)
        if found.data["term"] >= MOST_TERMS:
            reason = f"its runner died {MOST_TERMS} times; it is not tried again"
            failed = ended(found.data, status="failed", reason=reason, evidence={}, now=now)
            writes.append(Replace(found.id, failed, found.etag, ttl=TICK_TTL))
            return None
        data = claimed(found.data, owner=self._owner, now=now, until=now + LEASE)
        writes.append(Replace(found.id, data, found.etag, ttl=TICK_TTL))
        return found.id, data

    async def _waiting(self, job: Job, writes: list[Write], now: float) -> tuple[str, JsonObject] | None:
        """The oldest tick that was asked for or queued, in our hands."""
        page = await self._documents.query(
            SCHEDULES,
            Query(
                partition=job.name,
                where=(Condition("status", "eq", "due"), Condition("at", "le", iso(now))),
                order="at",
                limit=1,
            ),
        )
        if not page.items:
            return None
        found = page.items[0]
        data = claimed(found.data, owner=self._owner, now=now, until=now + LEASE)
        writes.append(Replace(found.id, data, found.etag, ttl=TICK_TTL))
        return found.id, data

    async def _claim_loop(self, job: Job, book: Document) -> Tick | None:
        """The pass of a loop: the latest instant since the last pass, if nobody is at it. One that died is not made up for."""
        now = self._clock.now()
        running: JsonObject | None = book.data.get("running")
        if running and not self._is_void(job, running, now):
            return None
        latest = last_between(job.schedule, parse(book.data["through"]), now) if job.enabled else None
        asked = book.data.get("asked")
        if (latest is None or book.data.get("paused")) and not asked:
            return None
        term = book.data.get("term", 0) + 1
        state = {
            **book.data,
            "term": term,
            "asked": None,
            "through": book.data["through"] if latest is None else iso(latest),
            "running": running_mark(LOOP, term=term, owner=self._owner, until=now + LEASE),
        }
        await self._documents.write(SCHEDULES, job.name, [Replace(BOOK, state, book.etag, ttl=FOREVER)])
        data = {"at": iso(latest or now), "term": term, "trigger": "manual" if asked else "schedule"}
        return self._tick(job, LOOP, data, execution=asked)

    async def _bury(self, job: Job, dead: Document, now: float) -> None:
        """Close the record of a runner that died. Harmless where it lives after all: its own record is written last."""
        before = execution_id(job.name, dead.id, parse(dead.data["at"]), dead.data["term"])
        try:
            await self._executions.abandoned(before, now=now, reason="its runner died")
        except Failure as error:
            self._observe("execution_not_recorded", job=job.name, execution=before, error=str(error))

    def _tick(self, job: Job, identifier: str, data: JsonObject, *, execution: str | None = None) -> Tick:
        at = parse(data["at"])
        return Tick(
            job=job.name,
            id=identifier,
            at=at,
            term=data["term"],
            trigger=data["trigger"],
            execution_id=execution or execution_id(job.name, identifier, at, data["term"]),
            sent_at=parse_or_none(data.get("sentAt")),
            sent=data.get("sent") or {},
            marks=self._marks,
        )

    def tell(self, job: Job, decisions: list[Verdict], now: float) -> None:
        for decision, word in decisions:
            if decision.passed:
                self._observe(f"job_{word}", job=job.name, count=decision.passed)
            if decision.run:
                self._observe("job_late", job=job.name, seconds=now - decision.run[-1])


def _new_book(job: Job, now: str) -> JsonObject:
    return {
        "schema": SCHEDULES.schema,
        "kind": "schedule",
        "spec": job.spec,
        "since": now,
        "through": now,
        "paused": False,
        "running": None,
    }
