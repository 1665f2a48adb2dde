"""The collections of documents, declared once for every backend.

A declaration names the partition, what may be queried and sorted, how long documents live and how older ones are read. Both
backends refuse anything that is not declared here, so that a query that works on one machine works on Cosmos DB too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from syncd.domain.errors import StoreUnusable
from syncd.domain.jsontypes import JsonObject
from syncd.domain.times import DAY

Upgrade = Callable[[JsonObject], JsonObject]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    name: str
    partition: str
    """What the partition key is made of, in words; flows compute it."""
    ttl: float | None = None
    """Seconds that a document lives after its last write, None for ever; a write may say otherwise."""
    paths: tuple[str, ...] = ()
    """Top-level fields that queries may compare and sort by. By ids they always may."""
    scanned: tuple[str, ...] = ()
    """Top-level fields that only cold queries over all partitions compare: nothing is sorted by them, and no index of them makes
    every write dearer."""
    across: tuple[str, ...] = ()
    """Those of `paths` by which queries over all partitions select or sort while many documents must not be looked at."""
    counted: tuple[str, ...] = ()
    """Those of `paths` by which documents are only counted in their partition: a store need not keep them in any order, which for ids
    that are hashes makes every write dearer."""
    schema: int = 1
    """Version of the document's shape that this release writes."""
    upgrades: tuple[Upgrade, ...] = ()
    """upgrades[i] turns shape i+1 into shape i+2. Pure; unknown fields pass through."""

    def upgraded(self, data: JsonObject) -> JsonObject:
        """The document in today's shape. One release newer is read as it is; anything beyond is refused."""
        version = data.get("schema", 1)
        if version == self.schema:
            return data
        if version > self.schema + 1:
            raise StoreUnusable(
                f"a document of {self.name} has schema {version}; this release reads up to {self.schema + 1}: "
                "run the release that wrote it, or a newer one"
            )
        for upgrade in self.upgrades[version - 1 :]:
            data = upgrade(data)
        return data


ENTITIES = Collection(
    name="entities",
    partition="tenantId:type",
    paths=("updatedAt", "dirtySince", "deleted", "connectionId", "creating"),
    across=("dirtySince",),
    scanned=("tenantId",),
    counted=("connectionId",),
)
CONNECTIONS = Collection(name="connections", partition="id", paths=("tenantId", "integrationId"))
REGISTRATIONS = Collection(name="webhooks", partition="id", paths=("tenantId", "connectionId"))
AUDIT_ROWS = Collection(
    name="webhook-audit",
    partition="registrationId:first hex digit of the hash",
    ttl=7 * DAY,
    paths=("timestamp", "status"),
    scanned=("tenantId",),
)
TASKS = Collection(
    name="sync-tasks",
    partition="tenantId",
    paths=("status", "priority", "nextScheduled", "nextRunAt", "checkAt", "createdAt", "connectionId"),
    across=("status", "nextScheduled", "nextRunAt", "checkAt"),
)
RESULTS = Collection(
    name="sync-results",
    partition="integrationId:yyyymm",
    ttl=90 * DAY,
    paths=("createdAt", "taskId"),
    scanned=("tenantId",),
    across=("createdAt", "taskId"),
)
CURSORS = Collection(name="cursors", partition="connectionId", scanned=("tenantId",))
CONFLICTS = Collection(name="conflicts", partition="tenantId", paths=("status", "createdAt", "entityId"))
CREDENTIALS = Collection(name="credentials", partition="tenantId", paths=("status", "expiresAt"))
SCHEDULES = Collection(name="schedules", partition="job", paths=("kind", "status", "at"))
EXECUTIONS = Collection(name="executions", partition="job:yyyymm", ttl=30 * DAY, paths=("startedAt", "status"))
PARKED = Collection(
    name="parked",
    partition="queue:yyyymm of receivedAt",
    paths=("status", "bin", "tenantId", "connectionId", "kind", "parkedAt"),
)
SETTINGS = Collection(name="settings", partition="id", paths=("version",))
ROLLUPS = Collection(name="rollups", partition="scope:yyyymm", ttl=400 * DAY)
#: Kept longer than any message lives (messages.MESSAGE_LIFETIME), so that what still waits of a purged tenant is recognised.
PURGES = Collection(name="purges", partition="tenantId", ttl=30 * DAY)
AUDIT = Collection(name="audit", partition="yyyymmdd", ttl=365 * DAY, paths=("at", "actor"))

COLLECTIONS: dict[str, Collection] = {
    collection.name: collection
    for collection in (
        ENTITIES,
        CONNECTIONS,
        REGISTRATIONS,
        AUDIT_ROWS,
        TASKS,
        RESULTS,
        CURSORS,
        CONFLICTS,
        CREDENTIALS,
        SCHEDULES,
        EXECUTIONS,
        PARKED,
        SETTINGS,
        ROLLUPS,
        PURGES,
        AUDIT,
    )
}

TOMBSTONE_TTL = 30 * DAY
TICK_TTL = 45 * DAY
REJECTED_ROW_TTL = 30 * DAY
