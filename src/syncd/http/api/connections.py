"""/api/v1/connections"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.http.models import ConnectionChange, NewConnection
from syncd.http.routes import PAGE, Reply, Route, changed, etag_header

if TYPE_CHECKING:
    from syncd.http.routes import Ask


async def create(ask: Ask) -> Reply:
    body = ask.model(NewConnection)
    made = await ask.services.operate.connections.create(ask.principal, body.fields("credential"), body.credential)
    return Reply(made, 201, etag_header(made))


async def list_all(ask: Ask) -> Reply:
    flow = ask.services.operate.connections
    page = await flow.list(ask.principal, tenant_id=ask.query.get("tenantId"), paging=ask.paging())
    return Reply(page.as_json())


async def get(ask: Ask) -> Reply:
    found = await ask.services.operate.connections.get(ask.principal, ask.path["connectionId"])
    return Reply(found, headers=etag_header(found))


async def update(ask: Ask) -> Reply:
    body = ask.model(ConnectionChange)
    return await changed(
        ask,
        ask.services.operate.connections.update(
            ask.principal, ask.path["connectionId"], body.fields("credential"), body.credential, etag=ask.if_match
        ),
    )


async def delete(ask: Ask) -> Reply:
    await ask.services.operate.connections.delete(ask.principal, ask.path["connectionId"])
    return Reply(status=204)


ROUTES = (
    Route(
        method="POST",
        path="/connections",
        role="operate",
        handler=create,
        summary="Create a connection; its credential goes to the vault",
        answers="the connection, without secrets",
        status=201,
        model=NewConnection,
    ),
    Route(
        method="GET",
        path="/connections",
        role="read",
        handler=list_all,
        summary="List connections",
        answers="a page of connections",
        query=("tenantId", *PAGE),
    ),
    Route(
        method="GET",
        path="/connections/{connectionId}",
        role="read",
        handler=get,
        summary="Show a connection",
        answers="the connection, without secrets",
    ),
    Route(
        method="PATCH",
        path="/connections/{connectionId}",
        role="operate",
        handler=update,
        summary="Change settings, entities, enabled or the credential of a connection",
        answers="the connection, without secrets",
        model=ConnectionChange,
    ),
    Route(
        method="DELETE",
        path="/connections/{connectionId}",
        role="operate",
        handler=delete,
        summary="Delete a connection with its credential",
        answers="nothing",
        status=204,
    ),
)
