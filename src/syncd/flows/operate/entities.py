"""Entities as operators see and edit them. What an edit means for the connections belongs to `flows/entities`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import ENTITIES
from syncd.domain.errors import Conflict, Invalid, NotFound
from syncd.domain.ids import check_user_id
from syncd.domain.records import entity_partition
from syncd.flows.operate.paging import FIRST_PAGE, Listing, Paging, one_tenant

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.flows.editpreview import EditPreview
    from syncd.flows.entities import Entities
    from syncd.flows.operate.audit import AuditTrail
    from syncd.ports.documents import Document


class EntitiesFlow:
    def __init__(self, *, entities: Entities, audit: AuditTrail, preview: EditPreview) -> None:
        self._entities = entities
        self._preview = preview
        self._audit = audit

    async def list(
        self,
        principal: Principal,
        entity_type: str,
        *,
        tenant_id: str | None = None,
        deleted: bool = False,
        paging: Paging = FIRST_PAGE,
    ) -> Listing:
        """One tenant's entities of one type. A token of one tenant need not name it."""
        tenant = one_tenant(principal, tenant_id)
        check_user_id("type", entity_type)
        if not principal.sees(tenant):
            return Listing(items=[])
        page = await self._entities.list(tenant, entity_type, limit=paging.limit, cursor=paging.cursor, deleted=deleted)
        return Listing(items=[shown(document) for document in page.items], cursor=page.cursor)

    async def get(self, principal: Principal, entity_type: str, entity_id: str) -> JsonObject:
        return shown(await self._find(principal, entity_type, entity_id))

    async def create(self, principal: Principal, entity_type: str, tenant_id: str, data: JsonObject) -> JsonObject:
        """A new one; a push is owed to each connection of the tenant that takes them."""
        tenant = check_user_id("tenantId", tenant_id)
        check_user_id("type", entity_type)
        principal.may_operate_in(tenant)
        async with self._audit.change(
            principal, "entity.create", f"{tenant}:{entity_type}", tenant_id=tenant, after={"data": data}
        ) as change:
            made = await self._entities.create(tenant, entity_type, data)
            change.after = {"id": made.id, "data": data}
        return shown(made)

    async def put(
        self,
        principal: Principal,
        entity_type: str,
        entity_id: str,
        tenant_id: str,
        data: JsonObject,
        *,
        if_match: str | None = None,
    ) -> JsonObject:
        """Replace the content. Raises Conflict where `if_match` is not the current etag."""
        found = await self._editable(principal, entity_type, entity_id, tenant_id)
        tenant = tenant_id
        async with self._audit.change(
            principal,
            "entity.edit",
            entity_id,
            tenant_id=tenant,
            before={"version": found.data["version"], "data": found.data["data"]},
            after={"data": data},
        ):
            return shown(await self._entities.edit(tenant, entity_type, entity_id, data, if_match=if_match))

    async def preview(
        self,
        principal: Principal,
        entity_type: str,
        entity_id: str,
        tenant_id: str,
        data: JsonObject,
        *,
        if_match: str | None = None,
    ) -> JsonObject:
        """What `put` would do: {id, dryRun, and what `EditPreview.edit` says}. Raises as `put`."""
        found = await self._editable(principal, entity_type, entity_id, tenant_id)
        if if_match is not None and found.etag != if_match:
            raise Conflict(f"the entity {entity_id!r} was changed meanwhile; its version is {found.data['version']}")
        if found.data["deleted"] and if_match is None:
            raise NotFound(f"there is no entity {entity_id!r}")
        return {"id": found.id, "dryRun": True, **await self._preview.edit(found, data)}

    async def delete(
        self, principal: Principal, entity_type: str, entity_id: str, *, if_match: str | None = None
    ) -> JsonObject:
        """Leave a tombstone for 30 days; every connection that knows the entity is owed the deletion."""
        principal.may_operate()
        found = await self._find(principal, entity_type, entity_id)
        tenant = found.data["tenantId"]
        async with self._audit.change(
            principal,
            "entity.delete",
            entity_id,
            tenant_id=tenant,
            before={"version": found.data["version"], "data": found.data["data"]},
        ):
            return shown(await self._entities.remove(tenant, entity_type, entity_id, if_match=if_match))

    async def _editable(self, principal: Principal, entity_type: str, entity_id: str, tenant_id: str) -> Document:
        check_user_id("tenantId", tenant_id)
        principal.may_operate()
        found = await self._find(principal, entity_type, entity_id)
        if found.data["tenantId"] != tenant_id:
            raise NotFound(f"the tenant {tenant_id!r} has no entity {entity_id[:200]!r}")
        return found

    async def _find(self, principal: Principal, entity_type: str, entity_id: str) -> Document:
        try:
            found = await self._entities.get(entity_id)
        except Invalid as error:
            raise NotFound(str(error)) from None
        tenant = found.data["tenantId"]
        principal.must_see(tenant, f"entity {entity_id[:200]!r}")
        if found.partition != entity_partition(tenant, entity_type):
            raise NotFound(f"there is no {entity_type[:80]} {entity_id[:200]!r}")
        return found


def shown(document: Document) -> JsonObject:
    """Without what only the merge needs: the content last agreed on with each connection, and records on their way."""
    data = ENTITIES.upgraded(document.data)
    links = {
        connection: {name: value for name, value in link.items() if name != "base"}
        for connection, link in data["links"].items()
    }
    visible = {name: value for name, value in data.items() if name not in ("schema", "conflicts")}
    return {"id": document.id, **visible, "links": links, "etag": document.etag}
