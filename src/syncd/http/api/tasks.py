"""/api/v1/tasks"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.http.models import NewTask
from syncd.http.routes import PAGE, Reply, Route, etag_header

if TYPE_CHECKING:
    from syncd.http.routes import Ask


async def create(ask: Ask) -> Reply:
    made = await ask.services.operate.tasks.create(ask.principal, ask.model(NewTask).fields())
    return Reply(made, 201, etag_header(made))


async def list_all(ask: Ask) -> Reply:
    page = await ask.services.operate.tasks.list(
        ask.principal,
        tenant_id=ask.query.get("tenantId"),
        status=ask.query.get("status"),
        connection_id=ask.query.get("connectionId"),
        paging=ask.paging(),
    )
    return Reply(page.as_json())


async def get(ask: Ask) -> Reply:
    found = await ask.services.operate.tasks.get(ask.principal, ask.path["taskId"])
    return Reply(found, headers=etag_header(found))


async def cancel(ask: Ask) -> Reply:
    return Reply(await ask.services.operate.tasks.cancel(ask.principal, ask.path["taskId"]))


async def retry(ask: Ask) -> Reply:
    return Reply(await ask.services.operate.tasks.retry(ask.principal, ask.path["taskId"]))


ROUTES = (
    Route(
        method="POST",
        path="/tasks",
        role="operate",
        handler=create,
        summary="Create a sync task",
        answers="the task, with status pending",
        status=201,
        model=NewTask,
    ),
    Route(
        method="GET",
        path="/tasks",
        role="read",
        handler=list_all,
        summary="List tasks, newest first",
        answers="a page of tasks",
        query=("tenantId", "status", "connectionId", *PAGE),
    ),
    Route(
        method="GET",
        path="/tasks/{taskId}",
        role="read",
        handler=get,
        summary="Show a task",
        answers="the task",
    ),
    Route(
        method="POST",
        path="/tasks/{taskId}/cancel",
        role="operate",
        handler=cancel,
        summary="Cancel a task: at once where it waits, at its next checkpoint where it runs",
        answers="the task",
    ),
    Route(
        method="POST",
        path="/tasks/{taskId}/retry",
        role="operate",
        handler=retry,
        summary="Begin a task that has ended or is parked anew, in its next generation",
        answers="the task, with status pending",
    ),
)
