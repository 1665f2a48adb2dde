"""Scheduled jobs as operators see and steer them. When a job is due, and who runs it, belong to `flows/ticks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import SCHEDULES
from syncd.domain.errors import Invalid, NotFound
from syncd.domain.times import iso_or_none, parse
from syncd.flows.operate.paging import FIRST_PAGE, Listing, Paging
from syncd.flows.tickrequests import execution_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.flows.jobs import Job
    from syncd.flows.operate.audit import AuditTrail
    from syncd.flows.tickrequests import TickRequests
    from syncd.ports.control import Control
    from syncd.ports.documents import Document

#: Ticks looked at for the last one that began or was missed: those asked for ahead of time come first.
_RECENT = 10


class JobsFlow:
    """`jobs`: those of this generation, by name."""

    def __init__(self, *, jobs: Mapping[str, Job], requests: TickRequests, control: Control, audit: AuditTrail) -> None:
        self._jobs = jobs
        self._requests = requests
        self._control = control
        self._audit = audit

    async def list(self, principal: Principal) -> Sequence[JsonObject]:
        """Every job with its schedule, when it comes due next, and how it last ended."""
        principal.must_be_everywhere("jobs")
        return [await self._shown(self._jobs[name]) for name in sorted(self._jobs)]

    async def get(self, principal: Principal, name: str) -> JsonObject:
        principal.must_be_everywhere("jobs")
        return await self._shown(self._job(name))

    async def history(self, principal: Principal, name: str, *, paging: Paging = FIRST_PAGE) -> Listing:
        """Its ticks, the latest nominal time first; those that were missed or skipped among them."""
        principal.must_be_everywhere("jobs")
        self._job(name)
        page = await self._requests.history(name, limit=paging.limit, cursor=paging.cursor)
        return Listing(items=[_tick(one) for one in page.items], cursor=page.cursor)

    async def run(self, principal: Principal, name: str, *, at: str | None = None) -> JsonObject:
        """Make it due now, or for the nominal time `at`. Answers with the id of its execution."""
        job = self._may_steer(principal, name)
        try:
            moment = None if at is None else parse(at)
        except ValueError:
            raise Invalid("at is not a time in ISO 8601", errors={"at": "as 2023-11-14T03:00:00Z"}) from None
        async with self._audit.change(principal, "job.run", name, after={"at": at}) as change:
            execution_id = await self._requests.request_run(job, moment, by=principal.name)
            change.after = {"at": at, "executionId": execution_id}
        self._control.nudge("ticks")
        return {"executionId": execution_id}

    async def pause(self, principal: Principal, name: str) -> JsonObject:
        """No tick comes due by itself until it is resumed; one that runs goes on."""
        job = self._may_steer(principal, name)
        async with self._audit.change(principal, "job.pause", name, after={"paused": True}):
            await self._requests.pause(job, by=principal.name)
        return await self._shown(job)

    async def resume(self, principal: Principal, name: str) -> JsonObject:
        """Due again from now on; what passed meanwhile is not made up for."""
        job = self._may_steer(principal, name)
        async with self._audit.change(principal, "job.resume", name, after={"paused": False}):
            await self._requests.resume(job)
        self._control.nudge("ticks")
        return await self._shown(job)

    def _job(self, name: str) -> Job:
        job = self._jobs.get(name)
        if job is None:
            raise NotFound(f"there is no job {name[:80]!r}; there are: {', '.join(sorted(self._jobs)) or 'none'}")
        return job

    def _may_steer(self, principal: Principal, name: str) -> Job:
        principal.may_operate()
        principal.must_be_everywhere("jobs")
        return self._job(name)

    async def _shown(self, job: Job) -> JsonObject:
        book = await self._requests.book(job.name)
        return {
            "name": job.name,
            "schedule": job.schedule.text,
            "timezone": job.timezone,
            "enabled": job.enabled,
            "refusal": job.refusal,
            "paused": book.get("paused", False),
            "pausedBy": book.get("pausedBy"),
            "nextAt": iso_or_none(self._requests.next_at(job, book)),
            "missed": job.missed,
            "timeoutSeconds": job.timeout,
            "running": book.get("running"),
            "lastRun": await self._last(job, book),
        }

    async def _last(self, job: Job, book: JsonObject) -> JsonObject | None:
        if job.loop:
            last = book.get("last")
            return None if last is None else {**last, "at": last["finishedAt"]}
        page = await self._requests.history(job.name, limit=_RECENT)
        return next((_tick(one) for one in page.items if one.data["status"] != "due"), None)


def _tick(document: Document) -> JsonObject:
    data = SCHEDULES.upgraded(document.data)
    visible = {name: value for name, value in data.items() if name not in ("schema", "kind", "owner", "until")}
    return {"id": document.id, **visible, "executionId": execution_of(document)}
