"""/api/v1/connections"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.http.models import ConnectionChange, NewConnection, OneType, Pull
from syncd.http.routes import PAGE, Reply, Route, changed, etag_header

if TYPE_CHECKING:
    from syncd.http.routes import Ask


async def create(ask: Ask) -> Reply:
    body = ask.model(NewConnection)
    made = await ask.services.operate.connections.create(
        ask.principal, body.fields("credential", "force"), body.credential, force=body.force
    )
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
            ask.principal,
            ask.path["connectionId"],
            body.fields("credential", "force"),
            body.credential,
            etag=ask.if_match,
            force=body.force,
        ),
    )


async def delete(ask: Ask) -> Reply:
    await ask.services.operate.connections.delete(ask.principal, ask.path["connectionId"])
    return Reply(status=204)


async def test(ask: Ask) -> Reply:
    return Reply(await ask.services.operate.connection_tests.test(ask.principal, ask.path["connectionId"]))


async def pull(ask: Ask) -> Reply:
    flow, fields = ask.services.operate.on_demand, ask.model(Pull).fields()
    if ask.flag("dryRun"):
        return Reply(await flow.preview(ask.principal, ask.path["connectionId"], fields))
    return Reply(await flow.pull(ask.principal, ask.path["connectionId"], fields), 202)


async def backfill(ask: Ask) -> Reply:
    fields = ask.model(OneType).fields()
    return Reply(await ask.services.operate.on_demand.backfill(ask.principal, ask.path["connectionId"], fields), 202)


async def allow_deletes(ask: Ask) -> Reply:
    fields = ask.model(OneType).fields()
    return Reply(await ask.services.operate.on_demand.allow_deletes(ask.principal, ask.path["connectionId"], fields))


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
    Route(
        method="POST",
        path="/connections/{connectionId}/test",
        role="operate",
        handler=test,
        summary="Try a connection with one cheap call: 429 and 503 with Retry-After, 502 and 504 where the provider or its "
        "credential is at fault, 400 where the settings are",
        answers="status ok, and what the provider tells about the account",
    ),
    Route(
        method="POST",
        path="/connections/{connectionId}/pull",
        role="operate",
        handler=pull,
        summary="Pull now; dryRun=true reads the first records, writes nothing and answers 200 with what would change",
        answers="the task that pulls",
        status=202,
        model=Pull,
        query=("dryRun",),
    ),
    Route(
        method="POST",
        path="/connections/{connectionId}/backfill",
        role="operate",
        handler=backfill,
        summary="Read everything, then tell the connection everything that it does not have",
        answers="the task that does it",
        status=202,
        model=OneType,
    ),
    Route(
        method="POST",
        path="/connections/{connectionId}/allow-deletes",
        role="operate",
        handler=allow_deletes,
        summary="Let the next run through that was held because it deletes too much",
        answers="the types that it is for",
        model=OneType,
    ),
)
