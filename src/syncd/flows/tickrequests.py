"""What people ask of jobs: run now, pause, resume, show what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import SCHEDULES, TICK_TTL
from syncd.domain.errors import Conflict, Invalid, Overloaded
from syncd.domain.ids import located, ulid
from syncd.domain.ticks import BOOK, due_document, execution_id, tick_id
from syncd.domain.times import iso, month, parse
from syncd.flows.claims import RACES
from syncd.ports.documents import FOREVER, Condition, Create, Page, Query, Replace

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.flows.claims import Claims
    from syncd.flows.executions import Executions
    from syncd.flows.jobs import Job
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents
    from syncd.ports.observe import Observe

#: A tick that ended so may be asked for again. One that succeeded, or that nobody could say about, may not: its effect is there,
#: or may be.
_AGAIN = frozenset({"failed", "missed", "skipped"})


class TickRequests:
    def __init__(
        self, *, documents: Documents, clock: Clock, observe: Observe, claims: Claims, executions: Executions
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._observe = observe
        self._claims = claims
        self._executions = executions

    async def request_run(self, job: Job, at: float | None = None, *, by: str | None = None) -> str:
        """Make a tick due, also for a job that is paused or does not run by itself; the id of its execution.

        `at` is the nominal time (now, where None); a time to come is waited for. Asking twice for one time is asking once.
        Raises Invalid where the job refuses to be run, and Conflict where that tick runs already or has had its effect.
        """
        if job.refusal is not None:
            raise Invalid(f"{job.name} is not run: {job.refusal}")
        if job.loop:
            return await self._request_pass(job, by)
        await self._claims.adopt(job)
        for attempt in range(RACES):
            now = self._clock.now()
            nominal = round(now if at is None else at, 3) + (attempt / 1000 if at is None else 0)
            identifier = tick_id(nominal)
            found = await self._documents.get(SCHEDULES, job.name, identifier)
            if found is not None and at is None:
                continue
            asked = due_document(job.name, nominal, trigger="manual", now=now, by=by)
            if found is not None and found.data["status"] == "due":
                return execution_id(job.name, identifier, nominal, found.data["term"] + 1)
            write = Create(identifier, asked, ttl=TICK_TTL) if found is None else _again(found, asked)
            try:
                await self._documents.write(SCHEDULES, job.name, [write])
            except Conflict:
                continue
            execution = execution_id(job.name, identifier, nominal, write.data["term"] + 1)
            await self._executions.asked(execution, job=job.name, tick=identifier, now=now, by=by)
            self._observe("job_asked", job=job.name, tick=identifier, execution=execution)
            return execution
        raise _contended(job)

    async def _request_pass(self, job: Job, by: str | None) -> str:
        """One pass of a loop, as soon as nobody is at it."""
        for _ in range(RACES):
            book = await self._claims.adopt(job)
            if book.data.get("asked"):
                return str(book.data["asked"])
            now = self._clock.now()
            execution = located(f"{job.name}:{month(now)}", ulid(now))
            try:
                await self._documents.write(
                    SCHEDULES,
                    job.name,
                    [Replace(BOOK, {**book.data, "asked": execution}, book.etag, ttl=FOREVER)],
                )
            except Conflict:
                continue
            await self._executions.asked(execution, job=job.name, tick="loop", now=now, by=by)
            return execution
        raise _contended(job)

    async def pause(self, job: Job, *, by: str | None = None) -> None:
        """Nothing more comes due by itself. A run under way, or one whose runner died, is brought to its end."""
        await self._set(job, {"paused": True, "pausedAt": iso(self._clock.now()), "pausedBy": by})

    async def resume(self, job: Job) -> None:
        """What passed meanwhile is not made up for."""
        now = iso(self._clock.now())
        await self._set(job, {"paused": False, "pausedAt": None, "pausedBy": None}, since=now)

    async def _set(self, job: Job, facts: JsonObject, *, since: str | None = None) -> None:
        for _ in range(RACES):
            book = await self._claims.adopt(job)
            if book.data.get("paused") == facts["paused"]:
                return
            state = {**book.data, **facts}
            if since is not None:
                state |= {"since": since, "through": since}
            try:
                await self._documents.write(SCHEDULES, job.name, [Replace(BOOK, state, book.etag, ttl=FOREVER)])
            except Conflict:
                continue
            self._observe("job_paused" if facts["paused"] else "job_resumed", job=job.name)
            return
        raise _contended(job)

    async def book(self, name: str) -> JsonObject:
        """{paused, since, through, running, last, ...}; empty where the job was never looked at."""
        found = await self._documents.get(SCHEDULES, name, BOOK)
        return {} if found is None else SCHEDULES.upgraded(found.data)

    async def history(self, name: str, *, limit: int = 50, cursor: str | None = None) -> Page:
        """Ticks, the latest nominal time first. The document of each has its `executionId` to be had by `execution_of`."""
        return await self._documents.query(
            SCHEDULES,
            Query(
                partition=name,
                where=(Condition("kind", "eq", "tick"),),
                order="at",
                descending=True,
                limit=limit,
                cursor=cursor,
            ),
        )

    def next_at(self, job: Job, book: JsonObject) -> float | None:
        """When it next comes due by itself; None where it does not."""
        if not job.enabled or book.get("paused"):
            return None
        return job.schedule.next_after(self._clock.now())


def execution_of(tick: Document) -> str | None:
    """The id of the latest execution of a tick; None where it never began."""
    term = tick.data["term"]
    return execution_id(tick.partition, tick.id, parse(tick.data["at"]), term) if term else None


def _again(found: Document, asked: JsonObject) -> Replace:
    status = found.data["status"]
    if status not in _AGAIN or found.data.get("sentAt"):
        done = "is running" if status == "running" else f"has ended as {status}"
        raise Conflict(f"the tick of {found.data['at']} {done}; ask for a run without a time to do it once more")
    return Replace(found.id, {**asked, "term": found.data["term"]}, found.etag, ttl=TICK_TTL)


def _contended(job: Job) -> Overloaded:
    return Overloaded(f"the book of {job.name} changed {RACES} times while it was written", retry_after=1.0)
