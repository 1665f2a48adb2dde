"""/api/v1/entities/{type}"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.http.models import EntityEdit, NewEntity
from syncd.http.routes import PAGE, Reply, Route, changed, etag_header

if TYPE_CHECKING:
    from syncd.http.routes import Ask


async def list_all(ask: Ask) -> Reply:
    page = await ask.services.operate.entities.list(
        ask.principal,
        ask.path["type"],
        tenant_id=ask.query.get("tenantId"),
        deleted=ask.flag("deleted"),
        paging=ask.paging(),
    )
    return Reply(page.as_json())


async def create(ask: Ask) -> Reply:
    body = ask.model(NewEntity)
    made = await ask.services.operate.entities.create(ask.principal, ask.path["type"], body.tenant_id, body.data)
    return Reply(made, 201, etag_header(made))


async def get(ask: Ask) -> Reply:
    found = await ask.services.operate.entities.get(ask.principal, ask.path["type"], ask.path["entityId"])
    return Reply(found, headers=etag_header(found))


async def put(ask: Ask) -> Reply:
    body = ask.model(EntityEdit)
    if ask.flag("dryRun"):
        flow = ask.services.operate.entities
        return await changed(
            ask,
            flow.preview(
                ask.principal,
                ask.path["type"],
                ask.path["entityId"],
                body.tenant_id,
                body.data,
                if_match=ask.if_match,
            ),
        )
    return await changed(
        ask,
        ask.services.operate.entities.put(
            ask.principal,
            ask.path["type"],
            ask.path["entityId"],
            body.tenant_id,
            body.data,
            if_match=ask.if_match,
        ),
    )


async def delete(ask: Ask) -> Reply:
    return await changed(
        ask,
        ask.services.operate.entities.delete(
            ask.principal, ask.path["type"], ask.path["entityId"], if_match=ask.if_match
        ),
    )


_ALL = "/entities/{type}"
_ONE = f"{_ALL}/{{entityId}}"
ROUTES = (
    Route(
        method="GET",
        path=_ALL,
        role="read",
        handler=list_all,
        summary="List a tenant's entities of one type; deleted=true lists the tombstones",
        answers="a page of entities",
        query=("tenantId", "deleted", *PAGE),
    ),
    Route(
        method="POST",
        path=_ALL,
        role="operate",
        handler=create,
        summary="Create an entity; connections that take pushes are sent it",
        answers="the entity",
        status=201,
        model=NewEntity,
    ),
    Route(
        method="GET",
        path=_ONE,
        role="read",
        handler=get,
        summary="Show an entity",
        answers="the entity",
    ),
    Route(
        method="PUT",
        path=_ONE,
        role="operate",
        handler=put,
        summary="Replace an entity's content, with If-Match only where nobody changed it meanwhile; dryRun=true writes nothing "
        "and answers with what would be sent to whom",
        answers="the entity",
        model=EntityEdit,
        query=("dryRun",),
    ),
    Route(
        method="DELETE",
        path=_ONE,
        role="operate",
        handler=delete,
        summary="Delete an entity; connections that know it are sent the deletion",
        answers="its tombstone",
    ),
)
