"""What people ask of a connection now: a pull, a look at what it would do, everything told both ways, deletions let through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.errors import Conflict, Invalid
from syncd.domain.ids import check_user_id
from syncd.domain.tasks import SyncTask
from syncd.flows.operate.asking import asking
from syncd.flows.operate.connections import find_connection
from syncd.flows.preview import Preview, Wanted
from syncd.flows.subscriptions import direction_of, kind_of

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.flows.deleteguard import DeleteGuard
    from syncd.flows.operate.audit import AuditTrail
    from syncd.flows.operate.tasks import TasksFlow
    from syncd.ports.documents import Document, Documents
    from syncd.ports.provider import Providers


class OnDemandFlow:
    def __init__(
        self,
        *,
        documents: Documents,
        providers: Providers,
        tasks: TasksFlow,
        preview: Preview,
        guard: DeleteGuard,
        audit: AuditTrail,
    ) -> None:
        self._documents = documents
        self._providers = providers
        self._tasks = tasks
        self._preview = preview
        self._guard = guard
        self._audit = audit

    async def pull(self, principal: Principal, identifier: str, fields: JsonObject) -> JsonObject:
        """The task that pulls, with high priority. `fields`: entityType?, since?, full?. Raises Conflict where the connection is disabled,
        Invalid where there is nothing to pull."""
        connection = await self._find(principal, identifier)
        self._types(connection, fields.get("entityType"), pulled=True)
        return await self._task(principal, connection, {**fields, "syncMode": "pull", "priority": "high"})

    async def preview(self, principal: Principal, identifier: str, fields: JsonObject) -> JsonObject:
        """What `pull` would do with the first records: {connectionId, dryRun, types [of `Preview.merge`]}. Writes nothing. Raises as
        `pull`, and what `asking` raises."""
        connection = await self._find(principal, identifier)
        since = SyncTask(fields).since
        if since is None and fields.get("since") is not None:
            raise Invalid("since: must be an ISO 8601 time", errors={"since": "must be an ISO 8601 time"})
        types: list[JsonObject] = []
        for name in self._types(connection, fields.get("entityType"), pulled=True):
            wanted = self._wanted(connection, name, full=bool(fields.get("full")), since=since)
            with asking(connection):
                begins, read = await self._preview.read(wanted)
            types.append(await self._preview.merge(wanted, begins, read))
        return {"connectionId": connection.id, "dryRun": True, "types": types}

    async def backfill(self, principal: Principal, identifier: str, fields: JsonObject) -> JsonObject:
        """The task that reads everything and then tells the connection everything that it does not have, each as far as the types'
        directions let it. `fields`: entityType?. Raises as `pull`."""
        connection = await self._find(principal, identifier)
        self._types(connection, fields.get("entityType"), pulled=False)
        return await self._task(principal, connection, {**fields, "syncMode": "bidirectional", "full": True})

    async def allow_deletes(self, principal: Principal, identifier: str, fields: JsonObject) -> JsonObject:
        """Let the next run that deletes too much go through (G10), of one type or of all that are pulled: {connectionId, entityTypes}."""
        principal.may_operate()
        connection = await find_connection(self._documents, principal, identifier)
        types = self._types(connection, fields.get("entityType"), pulled=True, by_webhook=True)
        tenant = connection.data["tenantId"]
        after: JsonObject = {"entityTypes": types}
        async with self._audit.change(principal, "connection.allow-deletes", identifier, tenant_id=tenant, after=after):
            for name in types:
                await self._guard.allow(tenant, connection.id, name)
        return {"connectionId": connection.id, **after}

    async def _find(self, principal: Principal, identifier: str) -> Document:
        principal.may_operate()
        connection = await find_connection(self._documents, principal, identifier)
        if not connection.data.get("enabled", True):
            raise Conflict(f"the connection {identifier!r} is disabled: enable it first")
        return connection

    async def _task(self, principal: Principal, connection: Document, fields: JsonObject) -> JsonObject:
        data = connection.data
        about = {
            "tenantId": data["tenantId"],
            "integrationId": data["integrationId"],
            "connectionId": connection.id,
        }
        return await self._tasks.create(principal, {**fields, **about})

    def _types(self, connection: Document, asked: str | None, *, pulled: bool, by_webhook: bool = False) -> list[str]:
        """The types that are meant. `pulled`: only those that are read; `by_webhook`: also those of which only webhooks tell. Raises
        Invalid where there are none."""
        listed = connection.data.get("entities", {})
        if asked is not None:
            check_user_id("entityType", asked)
            direction = direction_of(connection.data, asked)
            if direction is None:
                raise _no_type(f"{connection.id} does not list {asked!r}; it lists {', '.join(listed) or 'nothing'}")
            if pulled and direction == "push":
                raise _no_type(f"{connection.id} is only pushed {asked}, never pulled")
            if not by_webhook and kind_of(self._providers, connection.data, asked) is None:
                integration = connection.data["integrationId"]
                raise _no_type(
                    f"{integration} has no {asked} to ask for, or the connection's settings do not say where"
                )
            return [asked]
        found = [
            name
            for name in listed
            if (by_webhook or kind_of(self._providers, connection.data, name) is not None)
            and not (pulled and direction_of(connection.data, name) == "push")
        ]
        if not found:
            raise _no_type(f"{connection.id} lists nothing that can be {'pulled' if pulled else 'synced'}")
        return found

    def _wanted(self, connection: Document, name: str, *, full: bool, since: float | None) -> Wanted:
        provider = self._providers.get(connection.data["integrationId"])
        kind = kind_of(self._providers, connection.data, name)
        assert provider is not None
        assert provider.records is not None
        assert kind is not None
        return Wanted(connection=connection, records=provider.records, kind=kind, full=full, since=since)


def _no_type(text: str) -> Invalid:
    return Invalid(text, errors={"entityType": text})
