"""/api/v1/executions"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.http.routes import PAGE, Reply, Route

if TYPE_CHECKING:
    from syncd.http.routes import Ask


async def latest(ask: Ask) -> Reply:
    page = await ask.services.operate.executions.latest(ask.principal, paging=ask.paging())
    return Reply(page.as_json())


async def get(ask: Ask) -> Reply:
    return Reply(await ask.services.operate.executions.get(ask.principal, ask.path["executionId"]))


ROUTES = (
    Route(
        method="GET",
        path="/executions",
        role="read",
        handler=latest,
        summary="List the runs of all jobs, newest first",
        answers="a page of executions",
        query=PAGE,
    ),
    Route(
        method="GET",
        path="/executions/{executionId}",
        role="read",
        handler=get,
        summary="Show one run with its evidence",
        answers="the execution",
    ),
)
