"""Sync tasks: what is to be synced, once or on a schedule. The planner takes them up; here they are made, seen, cancelled and begun anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import CONNECTIONS, TASKS
from syncd.domain.errors import Conflict, Invalid, NotFound
from syncd.domain.ids import check_user_id, located, partition_of, ulid
from syncd.domain.times import iso
from syncd.flows.operate.paging import FIRST_PAGE, Listing, Paging, listing, one_tenant, tenant_conditions
from syncd.ports.documents import Condition, Create, Replace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.flows.operate.audit import AuditTrail
    from syncd.ports.clock import Clock
    from syncd.ports.control import Control
    from syncd.ports.documents import Document, Documents

SYNC_MODES = ("pull", "push", "bidirectional")
PRIORITIES = ("high", "normal", "low")
STATUSES = ("pending", "queued", "running", "succeeded", "partial", "failed", "cancelled", "parked")
#: A task in one of these has ended; only a schedule or a retry begins its next generation.
ENDED = frozenset({"succeeded", "partial", "failed", "cancelled"})
#: How often a change reads again when a worker changes the task at the same moment.
_TRIES = 5


class TasksFlow:
    """`providers`: the integrations that this installation knows."""

    def __init__(
        self,
        *,
        documents: Documents,
        clock: Clock,
        audit: AuditTrail,
        control: Control,
        providers: Collection[str],
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._audit = audit
        self._control = control
        self._providers = providers

    async def create(self, principal: Principal, fields: JsonObject) -> JsonObject:
        """`fields`: tenantId, integrationId, connectionId, syncMode, priority, entityType?. Status `pending`; the planner
        is nudged. Raises Invalid naming every field that is wrong."""
        tenant_id = check_user_id("tenantId", fields.get("tenantId"))
        principal.may_operate_in(tenant_id)
        await self._check(tenant_id, fields)
        now = self._clock.now()
        identifier = located(tenant_id, ulid(now))
        document: JsonObject = {
            "schema": TASKS.schema,
            "type": "sync",
            "tenantId": tenant_id,
            "integrationId": fields["integrationId"],
            "connectionId": fields["connectionId"],
            "syncMode": fields["syncMode"],
            "priority": fields.get("priority", "normal"),
            "enabled": True,
            "status": "pending",
            "attempt": 0,
            "generation": 0,
            "hop": 0,
            "resultId": None,
            "createdAt": iso(now),
            "updatedAt": iso(now),
            "createdBy": principal.name,
        }
        if fields.get("entityType") is not None:
            document["entityType"] = check_user_id("entityType", fields["entityType"])
        async with self._audit.change(principal, "task.create", identifier, tenant_id=tenant_id, after=document):
            [stored] = await self._documents.write(TASKS, tenant_id, [Create(identifier, document)])
        self._control.nudge("planner")
        assert stored is not None
        return shown(stored)

    async def list(
        self,
        principal: Principal,
        *,
        tenant_id: str | None = None,
        status: str | None = None,
        connection_id: str | None = None,
        paging: Paging = FIRST_PAGE,
    ) -> Listing:
        """Newest first. One tenant is one partition; without `tenant_id` all that the principal sees are searched."""
        if status is not None and status not in STATUSES:
            raise Invalid(f"there is no status {status!r}", errors={"status": f"one of {', '.join(STATUSES)}"})
        where = [Condition("status", "eq", status)] if status else []
        if connection_id is not None:
            where.append(Condition("connectionId", "eq", connection_id))
        if tenant_id is None and not principal.everywhere:
            tenant_id = one_tenant(principal, None)
        if tenant_conditions(principal, tenant_id) is None:
            return Listing(items=[])
        return await listing(
            self._documents,
            TASKS,
            partition=tenant_id,
            paging=paging,
            show=shown,
            where=where,
            order="createdAt",
            descending=True,
        )

    async def get(self, principal: Principal, identifier: str) -> JsonObject:
        return shown(await self._find(principal, identifier))

    async def cancel(self, principal: Principal, identifier: str) -> JsonObject:
        """A waiting task ends at once as `cancelled`; a queued or running one is asked to stop at its next checkpoint.
        Raises Conflict where it has ended already."""

        def change(data: JsonObject) -> JsonObject:
            if data["status"] in ENDED:
                raise Conflict(f"the task has ended already: {data['status']}")
            status = "cancelled" if data["status"] == "pending" else data["status"]
            return {**data, "cancelRequested": True, "status": status}

        return await self._changed(principal, "task.cancel", identifier, change)

    async def retry(self, principal: Principal, identifier: str) -> JsonObject:
        """Begin a task that has ended or is parked anew: `pending` in its next generation, so that what is left of the one
        before (a parked message, a late answer) changes nothing any more; its result stays. The planner is nudged.
        Raises Conflict where it waits or is under way."""

        def change(data: JsonObject) -> JsonObject:
            if data["status"] not in ENDED and data["status"] != "parked":
                raise Conflict(f"the task is {data['status']}: only one that has ended or is parked can be tried again")
            begun = {
                "status": "pending",
                "generation": data["generation"] + 1,
                "attempt": 0,
                "hop": 0,
                "resultId": None,
            }
            return {name: value for name, value in data.items() if name != "cancelRequested"} | begun

        retried = await self._changed(principal, "task.retry", identifier, change)
        self._control.nudge("planner")
        return retried

    async def _changed(
        self, principal: Principal, action: str, identifier: str, change: Callable[[JsonObject], JsonObject]
    ) -> JsonObject:
        principal.may_operate()
        for _ in range(_TRIES):
            found = await self._find(principal, identifier)
            data = TASKS.upgraded(found.data)
            document = {**change(data), "updatedAt": iso(self._clock.now())}
            try:
                async with self._audit.change(
                    principal, action, identifier, tenant_id=data["tenantId"], before=data, after=document
                ):
                    [stored] = await self._documents.write(
                        TASKS, found.partition, [Replace(identifier, document, found.etag)]
                    )
            except Conflict:
                continue
            assert stored is not None
            return shown(stored)
        raise Conflict("the task changes faster than this can be decided; try again")

    async def _find(self, principal: Principal, identifier: str) -> Document:
        tenant_id = partition_of(identifier)
        principal.must_see(tenant_id, f"task {identifier!r}")
        found = await self._documents.get(TASKS, tenant_id, identifier)
        if found is None:
            raise NotFound(f"there is no task {identifier!r}")
        return found

    async def _check(self, tenant_id: str, fields: JsonObject) -> None:
        wrong: dict[str, str] = {}
        if fields.get("integrationId") not in self._providers:
            known = ", ".join(sorted(self._providers)) or "none"
            wrong["integrationId"] = f"no provider of this name is installed; installed: {known}"
        if fields.get("syncMode") not in SYNC_MODES:
            wrong["syncMode"] = f"must be one of {', '.join(SYNC_MODES)}"
        if fields.get("priority", "normal") not in PRIORITIES:
            wrong["priority"] = f"must be one of {', '.join(PRIORITIES)}"
        connection_id = check_user_id("connectionId", fields.get("connectionId"))
        connection = await self._documents.get(CONNECTIONS, connection_id, connection_id)
        if connection is None or connection.data["tenantId"] != tenant_id:
            wrong["connectionId"] = f"the tenant {tenant_id!r} has no connection {connection_id!r}"
        elif connection.data["integrationId"] != fields.get("integrationId"):
            wrong.setdefault("integrationId", f"the connection is one to {connection.data['integrationId']!r}")
        if wrong:
            path, text = next(iter(wrong.items()))
            raise Invalid(f"{path}: {text}", errors=wrong)


def shown(document: Document) -> JsonObject:
    return {"id": document.id, **TASKS.upgraded(document.data), "etag": document.etag}
