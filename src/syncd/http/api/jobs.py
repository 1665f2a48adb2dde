"""/api/v1/jobs"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.http.models import RunJob
from syncd.http.routes import PAGE, Reply, Route

if TYPE_CHECKING:
    from syncd.http.routes import Ask


async def list_all(ask: Ask) -> Reply:
    return Reply({"items": list(await ask.services.operate.jobs.list(ask.principal)), "cursor": None})


async def get(ask: Ask) -> Reply:
    return Reply(await ask.services.operate.jobs.get(ask.principal, ask.path["job"]))


async def run(ask: Ask) -> Reply:
    at = ask.model(RunJob).at
    return Reply(await ask.services.operate.jobs.run(ask.principal, ask.path["job"], at=at), 202)


async def history(ask: Ask) -> Reply:
    page = await ask.services.operate.jobs.history(ask.principal, ask.path["job"], paging=ask.paging())
    return Reply(page.as_json())


async def pause(ask: Ask) -> Reply:
    return Reply(await ask.services.operate.jobs.pause(ask.principal, ask.path["job"]))


async def resume(ask: Ask) -> Reply:
    return Reply(await ask.services.operate.jobs.resume(ask.principal, ask.path["job"]))


ROUTES = (
    Route(
        method="GET",
        path="/jobs",
        role="read",
        handler=list_all,
        summary="List jobs with their schedule, next and last run",
        answers="all jobs",
    ),
    Route(
        method="GET",
        path="/jobs/{job}",
        role="read",
        handler=get,
        summary="Show a job",
        answers="the job",
    ),
    Route(
        method="POST",
        path="/jobs/{job}/run",
        role="operate",
        handler=run,
        summary="Run a job now, or for a nominal time",
        answers="executionId",
        status=202,
        model=RunJob,
    ),
    Route(
        method="GET",
        path="/jobs/{job}/history",
        role="read",
        handler=history,
        summary="List a job's ticks, newest first, those that were missed among them",
        answers="a page of ticks",
        query=PAGE,
    ),
    Route(
        method="POST",
        path="/jobs/{job}/pause",
        role="operate",
        handler=pause,
        summary="Pause a job; a run under way goes on",
        answers="the job",
    ),
    Route(
        method="POST",
        path="/jobs/{job}/resume",
        role="operate",
        handler=resume,
        summary="Resume a job; what passed meanwhile is not made up for",
        answers="the job",
    ),
)
