"""Webhook registrations as operators see them. What a registration is, and its secrets, belong to `flows/registrations`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import CONNECTIONS
from syncd.domain.errors import Invalid
from syncd.flows.operate.paging import FIRST_PAGE, Listing, Paging
from syncd.flows.operate.redaction import redacted
from syncd.flows.registrations import OVERLAP, shown

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.domain.secrets import Secret
    from syncd.flows.operate.audit import AuditTrail
    from syncd.flows.registrations import Issued, NewRegistration, Registrations
    from syncd.ports.documents import Document, Documents


class WebhooksFlow:
    def __init__(self, *, registrations: Registrations, documents: Documents, audit: AuditTrail) -> None:
        self._registrations = registrations
        self._documents = documents
        self._audit = audit

    async def create(self, principal: Principal, new: NewRegistration) -> JsonObject:
        """Raises Invalid with every wrong field, Conflict where the id is taken. `secret` is in the answer only where it was
        made here, this once."""
        principal.may_operate_in(new.tenant_id)
        if new.connection_id is not None:
            await self._check_connection(new)
        after = {"integrationId": new.integration_id, "connectionId": new.connection_id, "scheme": new.scheme}
        async with self._audit.change(principal, "webhook.create", new.id, tenant_id=new.tenant_id, after=after):
            issued = await self._registrations.create(new)
        return _issued(issued)

    async def list(self, principal: Principal, *, tenant_id: str | None = None, paging: Paging = FIRST_PAGE) -> Listing:
        if tenant_id is not None and not principal.sees(tenant_id):
            return Listing(items=[])
        seen = None if principal.tenants == "*" else sorted(principal.tenants)
        page = await self._registrations.list(
            tenant_ids=seen if tenant_id is None else [tenant_id], limit=paging.limit, cursor=paging.cursor
        )
        return Listing(items=[visible(document) for document in page.items], cursor=page.cursor)

    async def get(self, principal: Principal, identifier: str) -> JsonObject:
        return visible(await self.find(principal, identifier))

    async def rotate(
        self, principal: Principal, identifier: str, secret: Secret | None = None, *, overlap: float = OVERLAP
    ) -> JsonObject:
        """A new secret; the one before stays valid for `overlap` seconds."""
        principal.may_operate()
        found = await self.find(principal, identifier)
        async with self._audit.change(
            principal,
            "webhook.rotate",
            identifier,
            tenant_id=found.data["tenantId"],
            after={"given": secret is not None, "overlapSeconds": overlap},
        ):
            return _issued(await self._registrations.rotate(identifier, secret=secret, overlap=overlap))

    async def enable(self, principal: Principal, identifier: str, enabled: bool) -> JsonObject:
        """Disabled, it answers as if it did not exist."""
        principal.may_operate()
        found = await self.find(principal, identifier)
        async with self._audit.change(
            principal,
            "webhook.enable" if enabled else "webhook.disable",
            identifier,
            tenant_id=found.data["tenantId"],
            before={"enabled": found.data["enabled"]},
            after={"enabled": enabled},
        ):
            return visible(await self._registrations.enable(identifier, enabled))

    async def delete(self, principal: Principal, identifier: str) -> None:
        """Events that were accepted are still applied."""
        principal.may_operate()
        found = await self.find(principal, identifier)
        async with self._audit.change(
            principal, "webhook.delete", identifier, tenant_id=found.data["tenantId"], before=shown(found)
        ):
            await self._registrations.delete(identifier)

    async def find(self, principal: Principal, identifier: str) -> Document:
        """Raises NotFound, also for what belongs to a tenant that the principal does not see."""
        found = await self._registrations.get(identifier)
        principal.must_see(found.data["tenantId"], f"webhook registration {identifier[:80]!r}")
        return found

    async def _check_connection(self, new: NewRegistration) -> None:
        identifier = new.connection_id or ""
        found = await self._documents.get(CONNECTIONS, identifier, identifier)
        if found is None or found.data["tenantId"] != new.tenant_id:
            text = f"the tenant {new.tenant_id!r} has no connection {identifier[:80]!r}"
            raise Invalid(f"connectionId: {text}", errors={"connectionId": text})
        if found.data["integrationId"] != new.integration_id:
            text = f"the connection is one to {found.data['integrationId']!r}"
            raise Invalid(f"integrationId: {text}", errors={"integrationId": text})


def visible(document: Document) -> JsonObject:
    rest: JsonObject = redacted(shown(document))
    return {**rest, "etag": document.etag}


def _issued(issued: Issued) -> JsonObject:
    answer = visible(issued.document)
    if issued.secret is not None:
        answer["secret"] = issued.secret.reveal()
    return answer
