"""Sync tasks: what is to be synced, once or on a schedule. The planner takes them up; here they are made, seen, cancelled and begun anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import to_thread

from syncd.domain.collections import CONNECTIONS, CURSORS, TASKS
from syncd.domain.errors import Conflict, Invalid, NotFound
from syncd.domain.ids import check_user_id, located, partition_of, ulid
from syncd.domain.tasks import MODES, PRIORITIES, STATUSES, SyncTask, origin_of, schedule_of, stored_as
from syncd.domain.tasksteps import cancelled, retried, ttl_of
from syncd.domain.times import iso
from syncd.flows.operate.paging import FIRST_PAGE, Listing, Paging, listing, one_tenant, tenant_conditions
from syncd.ports.documents import PAGE_LIMIT, Condition, Create, Query, Replace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.flows.operate.audit import AuditTrail
    from syncd.ports.clock import Clock
    from syncd.ports.control import Control
    from syncd.ports.documents import Document, Documents

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
        """`fields`: tenantId, integrationId, connectionId, syncMode, priority?, entityType?, schedule?, timezone?, full?, since?. Status
        `pending`: it runs now, and with a schedule again at each of its times. The planner is nudged. Raises Invalid naming every
        field that is wrong."""
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
        document |= {name: fields[name] for name in ("schedule", "timezone") if fields.get(name) is not None}
        if fields.get("full"):
            document["full"] = True
        if (since := SyncTask(fields).since) is not None:
            document["since"] = iso(since)
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
        wanted = next((one for one in STATUSES if one == status), None)
        if status and wanted is None:
            raise Invalid(f"there is no status {status!r}", errors={"status": f"one of {', '.join(STATUSES)}"})
        where = [Condition("status", "in", stored_as(wanted))] if wanted else []
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
        """As stored, and of one under way `progress` as of its last page, which is newer than what the task itself holds."""
        found = await self._find(principal, identifier)
        task = SyncTask(TASKS.upgraded(found.data))
        if task.status not in ("queued", "running") or task.connection_id is None:
            return shown(found)
        counts: JsonObject = {}
        run = origin_of(found.id, task.generation)
        for cursor in (
            await self._documents.query(CURSORS, Query(partition=task.connection_id, limit=PAGE_LIMIT))
        ).items:
            held = cursor.data.get("run")
            if isinstance(held, dict) and held["id"] == run:  # the delete guard's document beside them names a run only
                for name, count in held["counts"].items():
                    counts[name] = counts.get(name, 0) + count
        return {**shown(found), **({"progress": counts} if counts else {})}

    async def cancel(self, principal: Principal, identifier: str) -> JsonObject:
        """A waiting or parked task ends at once as `cancelled`, and no schedule begins it again; a queued or running one is asked to stop
        at its next checkpoint. Raises Conflict where it has ended already."""
        return await self._changed(
            principal, "task.cancel", identifier, lambda data: cancelled(data, self._clock.now())
        )

    async def retry(self, principal: Principal, identifier: str) -> JsonObject:
        """Begin a task that has ended or is parked anew: `pending` in its next generation, so that what is left of the one
        before (a parked message, a late answer) changes nothing any more; its result stays. The planner is nudged.
        Raises Conflict where it waits or is under way."""

        begun = await self._changed(principal, "task.retry", identifier, lambda data: retried(data, self._clock.now()))
        self._control.nudge("planner")
        return begun

    async def _changed(
        self, principal: Principal, action: str, identifier: str, change: Callable[[JsonObject], JsonObject]
    ) -> JsonObject:
        principal.may_operate()
        for _ in range(_TRIES):
            found = await self._find(principal, identifier)
            data = TASKS.upgraded(found.data)
            document = change(data)
            try:
                async with self._audit.change(
                    principal, action, identifier, tenant_id=found.partition, before=data, after=document
                ):
                    [stored] = await self._documents.write(
                        TASKS, found.partition, [Replace(found.id, document, found.etag, ttl=ttl_of(document))]
                    )
            except Conflict:
                continue
            assert stored is not None
            return shown(stored)
        raise Conflict("the task changes faster than this can be decided; try again")

    async def _find(self, principal: Principal, identifier: str) -> Document:
        tenant_id = partition_of(identifier)
        principal.must_see(tenant_id, f"task {identifier!r}")
        # Ours bear their tenant in their id; those of other systems are shown with it in front.
        keys = [(tenant_id, identifier), (tenant_id, identifier.removeprefix(f"{tenant_id}."))]
        for found in await self._documents.get_many(TASKS, keys):
            if found is not None:
                return found
        raise NotFound(f"there is no task {identifier!r}")

    async def _check(self, tenant_id: str, fields: JsonObject) -> None:
        wrong: dict[str, str] = {}
        if fields.get("integrationId") not in self._providers:
            known = ", ".join(sorted(self._providers)) or "none"
            wrong["integrationId"] = f"no provider of this name is installed; installed: {known}"
        if fields.get("syncMode") not in MODES:
            wrong["syncMode"] = f"must be one of {', '.join(MODES)}"
        if fields.get("priority", "normal") not in PRIORITIES:
            wrong["priority"] = f"must be one of {', '.join(PRIORITIES)}"
        try:
            await to_thread.run_sync(schedule_of, fields)  # the files of its time zone are read
        except Invalid as error:
            wrong["timezone" if "timezone" in error.errors else "schedule"] = str(error)
        if fields.get("timezone") is not None and not fields.get("schedule"):
            wrong["timezone"] = "it says in which zone a schedule is read, and there is none"
        if fields.get("since") is not None:
            wrong |= _check_since(fields)
        connection_id = check_user_id("connectionId", fields.get("connectionId"))
        connection = await self._documents.get(CONNECTIONS, connection_id, connection_id)
        if connection is None or connection.data["tenantId"] != tenant_id:
            wrong["connectionId"] = f"the tenant {tenant_id!r} has no connection {connection_id!r}"
        elif connection.data["integrationId"] != fields.get("integrationId"):
            wrong.setdefault("integrationId", f"the connection is one to {connection.data['integrationId']!r}")
        if wrong:
            path, text = next(iter(wrong.items()))
            raise Invalid(f"{path}: {text}", errors=wrong)


def _check_since(fields: JsonObject) -> dict[str, str]:
    since = SyncTask(fields).since
    if since is None or since < 0:
        return {"since": "must be an ISO 8601 time such as 2026-01-31T03:00:00Z"}
    if fields.get("full"):
        return {"since": "it excludes full, which reads everything"}
    if fields.get("schedule"):
        return {"since": "it is for one run; a schedule goes on from where its last run ended"}
    return {}


def shown(document: Document) -> JsonObject:
    """As stored, with what older documents leave out, and under an id that finds it."""
    data = TASKS.upgraded(document.data)
    task = SyncTask(data)
    ours = document.id.startswith(f"{document.partition}.")
    return {
        "id": document.id if ours else located(document.partition, document.id),
        "attempt": 0,
        "resultId": None,
        **data,
        "status": task.status,
        "syncMode": task.mode,
        "priority": task.priority,
        "etag": document.etag,
    }
