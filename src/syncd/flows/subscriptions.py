"""Which connections of a tenant are told of changes, and which connection an event belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncd.domain.collections import CONNECTIONS
from syncd.domain.errors import Invalid
from syncd.domain.fields import ALL_FIELDS
from syncd.domain.records import DIRECTIONS, Subscriber
from syncd.flows.alone import Alone
from syncd.ports.documents import PAGE_LIMIT, Condition, Query

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.records import Direction
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents
    from syncd.ports.provider import Kind, Providers

#: Tenants whose connections are kept in memory.
_CACHED = 10_000


@dataclass(frozen=True, slots=True)
class _Tenant:
    """The connections of a tenant as they were read, until `until` (monotonic)."""

    until: float
    connections: dict[str, Document]
    subscribers: dict[str, list[Subscriber]]


class Subscriptions:
    """Subscribers are read through a cache of `ttl` seconds: a connection that is seen so much later owes its first content to
    its backfill anyway. What an event does to its own connection is never decided from memory."""

    def __init__(
        self, *, documents: Documents, clock: Clock, providers: Providers | None = None, ttl: float = 5.0
    ) -> None:
        """`providers` None: every connection can be told everything."""
        self._documents = documents
        self._clock = clock
        self._providers = providers
        self._ttl = ttl
        self._cache: dict[str, _Tenant] = {}
        self._reading: Alone[_Tenant] = Alone("connections of a tenant")

    async def subscribers(self, tenant_id: str, entity_type: str) -> list[Subscriber]:
        """The enabled connections of the tenant that list the type."""
        tenant = await self._tenant(tenant_id)
        found = tenant.subscribers.get(entity_type)
        if found is None:
            found = tenant.subscribers[entity_type] = [
                subscriber
                for document in tenant.connections.values()
                if (subscriber := self._subscriber(document, entity_type)) is not None
            ]
        return found

    async def known(self, tenant_id: str, connection_id: str, *, fresh: bool = False) -> Document | None:
        """The tenant's connection, as it was a few seconds ago, or with `fresh` as it is."""
        if fresh:
            found = await self._documents.get(CONNECTIONS, connection_id, connection_id)
            return found if found is not None and found.data["tenantId"] == tenant_id else None
        return (await self._tenant(tenant_id)).connections.get(connection_id)

    def _subscriber(self, document: Document, entity_type: str) -> Subscriber | None:
        direction = direction_of(document.data, entity_type)
        if direction is None or not document.data.get("enabled", True):
            return None
        if self._providers is None:
            return Subscriber(document.id, direction)
        kind = kind_of(self._providers, document.data, entity_type)
        if kind is None or not (kind.updates or kind.deletes or kind.creates != "none"):
            return Subscriber(document.id, "pull", ALL_FIELDS if kind is None else kind.fields)
        return Subscriber(document.id, direction, kind.fields)

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
        connections = (await self._read(tenant_id)).connections.values()
        candidates = [one for one in connections if one.data["integrationId"] == integration_id]
        return candidates[0] if len(candidates) == 1 else None

    async def _tenant(self, tenant_id: str) -> _Tenant:
        cached = self._cache.get(tenant_id)
        if cached is not None and cached.until > self._clock.monotonic():
            return cached
        # Of a crowd that finds the memory too old one reads, and the others wait for it.
        return await self._reading.run(tenant_id, lambda: self._read(tenant_id))

    async def _read(self, tenant_id: str) -> _Tenant:
        now = self._clock.monotonic()
        found: dict[str, Document] = {}
        cursor: str | None = None
        while True:
            page = await self._documents.query(
                CONNECTIONS,
                Query(across=True, where=(Condition("tenantId", "eq", tenant_id),), limit=PAGE_LIMIT, cursor=cursor),
            )
            found |= {one.id: one for one in page.items}
            cursor = page.cursor
            if cursor is None:
                break
        self._cache.pop(tenant_id, None)
        tenant = self._cache[tenant_id] = _Tenant(now + self._ttl, found, {})
        if len(self._cache) > _CACHED:
            del self._cache[next(iter(self._cache))]
        return tenant


def kind_of(providers: Providers, connection: JsonObject, entity_type: str) -> Kind | None:
    """What can be done with the type at the connection; None: nothing, or its settings do not say."""
    provider = providers.get(connection["integrationId"])
    if provider is None or provider.records is None:
        return None
    try:
        return provider.records.kinds(connection.get("settings", {})).get(entity_type)
    except Invalid:
        return None


def direction_of(connection: JsonObject, entity_type: str) -> Direction | None:
    """Which way the connection syncs the type; None where it does not list it."""
    rules = connection.get("entities", {}).get(entity_type)
    if not isinstance(rules, dict):
        return None
    direction = rules.get("direction")
    return direction if direction in DIRECTIONS else "pull"
