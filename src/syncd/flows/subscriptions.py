"""Which connections of a tenant are told of changes, and which connection an event belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import CONNECTIONS
from syncd.domain.records import DIRECTIONS, Subscriber
from syncd.ports.documents import PAGE_LIMIT, Condition, Query

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.records import Direction
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents

#: Tenants whose connections are kept in memory.
_CACHED = 10_000


class Subscriptions:
    """Subscribers are read through a cache of `ttl` seconds: a connection that is seen so much later owes its first content to
    its backfill anyway. What an event does to its own connection is never decided from memory."""

    def __init__(self, *, documents: Documents, clock: Clock, ttl: float = 5.0) -> None:
        self._documents = documents
        self._clock = clock
        self._ttl = ttl
        self._cache: dict[str, tuple[float, list[Document]]] = {}

    async def subscribers(self, tenant_id: str, entity_type: str) -> list[Subscriber]:
        """The enabled connections of the tenant that list the type."""
        found: list[Subscriber] = []
        for document in await self._connections(tenant_id):
            direction = direction_of(document.data, entity_type)
            if direction is not None and document.data.get("enabled", True):
                found.append(Subscriber(document.id, direction))
        return found

    async def connection(
        self, tenant_id: str, connection_id: str | None, integration_id: str | None
    ) -> Document | None:
        """The tenant's connection of this id; without an id (or where it is gone) the tenant's only one of the integration."""
        if connection_id is not None:
            found = await self._documents.get(CONNECTIONS, connection_id, connection_id)
            if found is not None:
                return found if found.data["tenantId"] == tenant_id else None
        if integration_id is None:
            return None
        self._cache.pop(tenant_id, None)
        candidates = [one for one in await self._connections(tenant_id) if one.data["integrationId"] == integration_id]
        return candidates[0] if len(candidates) == 1 else None

    async def _connections(self, tenant_id: str) -> list[Document]:
        now = self._clock.monotonic()
        cached = self._cache.get(tenant_id)
        if cached is not None and cached[0] > now:
            return cached[1]
        found: list[Document] = []
        cursor: str | None = None
        while True:
            page = await self._documents.query(
                CONNECTIONS,
                Query(across=True, where=(Condition("tenantId", "eq", tenant_id),), limit=PAGE_LIMIT, cursor=cursor),
            )
            found += page.items
            cursor = page.cursor
            if cursor is None:
                break
        self._cache.pop(tenant_id, None)
        self._cache[tenant_id] = (now + self._ttl, found)
        if len(self._cache) > _CACHED:
            del self._cache[next(iter(self._cache))]
        return found


def direction_of(connection: JsonObject, entity_type: str) -> Direction | None:
    """Which way the connection syncs the type; None where it does not list it."""
    rules = connection.get("entities", {}).get(entity_type)
    if not isinstance(rules, dict):
        return None
    direction = rules.get("direction")
    return direction if direction in DIRECTIONS else "pull"
