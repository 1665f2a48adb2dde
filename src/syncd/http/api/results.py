"""/api/v1/results"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.http.routes import PAGE, Reply, Route

if TYPE_CHECKING:
    from syncd.http.routes import Ask


async def list_all(ask: Ask) -> Reply:
    page = await ask.services.operate.results.list(
        ask.principal,
        tenant_id=ask.query.get("tenantId"),
        task_id=ask.query.get("taskId"),
        paging=ask.paging(),
    )
    return Reply(page.as_json())


async def get(ask: Ask) -> Reply:
    return Reply(await ask.services.operate.results.get(ask.principal, ask.path["resultId"]))


ROUTES = (
    Route(
        method="GET",
        path="/results",
        role="read",
        handler=list_all,
        summary="List the results of sync tasks, newest first",
        answers="a page of results",
        query=("tenantId", "taskId", *PAGE),
    ),
    Route(
        method="GET",
        path="/results/{resultId}",
        role="read",
        handler=get,
        summary="Show what one run of a task did",
        answers="the result with its counts",
    ),
)
