"""Scheduled jobs as operators see and steer them. When a job is due, and who runs it, belong to `flows/ticks`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from syncd.domain.errors import Invalid
from syncd.domain.times import parse
from syncd.flows.operate.paging import FIRST_PAGE, Listing, Paging

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.flows.operate.audit import AuditTrail
    from syncd.ports.control import Control


class Scheduling(Protocol):
    """The part of the scheduler that people use. All raise NotFound for an unknown job."""

    async def overview(self) -> Sequence[JsonObject]:
        """{name, schedule, enabled, paused, nextAt, lastRun: {at, status, executionId} | null, ...} of each job."""
        ...

    async def run_now(self, job: str, *, at: float | None = None) -> str:
        """Create a due tick and return the id of its execution."""
        ...

    async def history(self, job: str, *, limit: int, cursor: str | None) -> Listing: ...

    async def pause(self, job: str) -> JsonObject: ...

    async def resume(self, job: str) -> JsonObject: ...


class JobsFlow:
    def __init__(self, *, scheduling: Scheduling, control: Control, audit: AuditTrail) -> None:
        self._scheduling = scheduling
        self._control = control
        self._audit = audit

    async def list(self, principal: Principal) -> Sequence[JsonObject]:
        principal.must_be_everywhere("jobs")
        return await self._scheduling.overview()

    async def run(self, principal: Principal, job: str, *, at: str | None = None) -> JsonObject:
        """Make it due now, or for the nominal time `at`. Answers with the id of its execution."""
        self._may(principal)
        try:
            moment = None if at is None else parse(at)
        except ValueError:
            raise Invalid("at is not a time in ISO 8601", errors={"at": "as 2023-11-14T03:00:00Z"}) from None
        async with self._audit.change(principal, "job.run", job, after={"at": at}) as change:
            execution_id = await self._scheduling.run_now(job, at=moment)
            change.after = {"at": at, "executionId": execution_id}
        self._control.nudge("ticks")
        return {"executionId": execution_id}

    async def history(self, principal: Principal, job: str, *, paging: Paging = FIRST_PAGE) -> Listing:
        """Its runs, newest first."""
        principal.must_be_everywhere("jobs")
        return await self._scheduling.history(job, limit=paging.limit, cursor=paging.cursor)

    async def pause(self, principal: Principal, job: str) -> JsonObject:
        """No tick becomes due until it is resumed; one that runs goes on."""
        self._may(principal)
        async with self._audit.change(principal, "job.pause", job, after={"paused": True}):
            return await self._scheduling.pause(job)

    async def resume(self, principal: Principal, job: str) -> JsonObject:
        """Due again from now on; what passed meanwhile is not made up for."""
        self._may(principal)
        async with self._audit.change(principal, "job.resume", job, after={"paused": False}):
            shown = await self._scheduling.resume(job)
        self._control.nudge("ticks")
        return shown

    def _may(self, principal: Principal) -> None:
        principal.may_operate()
        principal.must_be_everywhere("jobs")
