"""Where something of a tenant is: its documents page by page, how many there are, and what still waits in queues."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncd.domain.collections import (
    AUDIT_ROWS,
    CONFLICTS,
    CONNECTIONS,
    CREDENTIALS,
    CURSORS,
    ENTITIES,
    PARKED,
    REGISTRATIONS,
    RESULTS,
    TASKS,
)
from syncd.domain.collections import Collection as Documented
from syncd.domain.times import parse
from syncd.ports.documents import BATCH_LIMIT, PAGE_LIMIT, Condition, Query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents
    from syncd.ports.queue import Queue
    from syncd.ports.vault import Vault

#: Collections that hold what came of a tenant's work, by the names under which they are counted, in the order in which a purge
#: empties them. Aliases, which lie beside entities, have a count of their own.
EMPTIED: dict[str, Documented] = {
    "tasks": TASKS,
    "entities": ENTITIES,
    "conflicts": CONFLICTS,
    "results": RESULTS,
    "cursors": CURSORS,
    "events": AUDIT_ROWS,
    "parked": PARKED,
}
#: What must outlast all that it leads to.
_LEADING: dict[str, Documented] = {
    "registrations": REGISTRATIONS,
    "connections": CONNECTIONS,
    "credentials": CREDENTIALS,
}
#: Messages of each queue that are looked at, oldest first, and how many at a time: their bodies come along.
MOST_PEEKED = 10_000
_PEEKED = 200
_MOST_ALIASES = 1_000_000
_ALIASES = (Condition("deleted", "absent"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """`whole`: nothing was left uncounted for want of time."""

    counts: dict[str, int]
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Messages of a tenant in queues. `whole`: every message of every queue was looked at."""

    queued: int
    leased: int
    whole: bool


class Survey:
    """`queues`: the names of all queues of the deployment."""

    def __init__(
        self,
        *,
        documents: Documents,
        queue: Queue,
        vault: Vault,
        clock: Clock,
        queues: Collection[str],
        most_peeked: int = MOST_PEEKED,
    ) -> None:
        self._documents = documents
        self._queue = queue
        self._vault = vault
        self._clock = clock
        self._queues = queues
        self._most_peeked = most_peeked

    async def pages(self, collection: Documented, tenant_id: str) -> AsyncIterator[list[Document]]:
        """Pages of the tenant's documents, each of one partition and at most a batch long. Whoever gets a page may remove it."""
        if collection.partition == "tenantId":
            async for page in self._partition(collection, tenant_id, ()):
                yield page
            return
        mine = (Condition("tenantId", "eq", tenant_id),)
        cursor: str | None = None
        seen: set[str] = set()
        while True:
            found = await self._documents.query(collection, Query(across=True, where=mine, limit=1, cursor=cursor))
            for first in found.items:
                if first.partition in seen:
                    continue
                seen.add(first.partition)
                if collection is ENTITIES:
                    # Aliases do not say whose they are; the entities beside them do, and so go after them.
                    async for page in self._partition(collection, first.partition, _ALIASES):
                        yield page
                async for page in self._partition(collection, first.partition, mine):
                    yield page
            cursor = found.cursor
            if cursor is None:
                return

    async def _partition(
        self, collection: Documented, partition: str, where: Sequence[Condition]
    ) -> AsyncIterator[list[Document]]:
        cursor: str | None = None
        while True:
            page = await self._documents.query(
                collection, Query(partition=partition, where=where, limit=BATCH_LIMIT, cursor=cursor)
            )
            if page.items:
                yield page.items
            cursor = page.cursor
            if cursor is None:
                return

    async def counts(self, tenant_id: str, *, budget: float) -> Counted:
        """How much there is of everything, as a purge would count it but for bodies in blobs. Stops after `budget` seconds."""
        deadline = self._clock.monotonic() + budget
        counts: Counter[str] = Counter()
        for name, collection in (_LEADING | EMPTIED).items():
            counts[name] = 0
            partitions: set[str] = set()
            async for page in self._all(collection, tenant_id):
                counts[name] += len(page)
                partitions |= {found.partition for found in page}
                for found in page:
                    for secret in secret_names(collection, found):
                        counts["vaultVersions"] += len(await self._vault.versions(secret))
                if self._clock.monotonic() >= deadline:
                    return Counted(counts=dict(counts), whole=False)
            if collection is ENTITIES:
                for partition in partitions:
                    counts["aliases"] += await self._documents.count(
                        ENTITIES, partition, _ALIASES, at_most=_MOST_ALIASES
                    )
        return Counted(counts=dict(counts), whole=True)

    async def _all(self, collection: Documented, tenant_id: str) -> AsyncIterator[list[Document]]:
        """As many at a time as the store gives, for looking only."""
        cursor: str | None = None
        while True:
            if collection.partition == "tenantId":
                query = Query(partition=tenant_id, limit=PAGE_LIMIT, cursor=cursor)
            else:
                mine = (Condition("tenantId", "eq", tenant_id),)
                query = Query(across=True, where=mine, limit=PAGE_LIMIT, cursor=cursor)
            page = await self._documents.query(collection, query)
            yield page.items
            cursor = page.cursor
            if cursor is None:
                return

    async def waiting(self, tenant_id: str) -> Waiting:
        queued = leased = 0
        whole = True
        for queue in self._queues:
            after: str | None = None
            for _ in range(0, self._most_peeked, _PEEKED):
                found = await self._queue.peek(queue, limit=_PEEKED, after=after)
                mine = [one for one in found if one.envelope.tenant_id == tenant_id]
                queued += len(mine)
                leased += sum(one.state == "leased" for one in mine)
                if len(found) < _PEEKED:
                    break
                after = found[-1].position
            else:
                whole = False
        return Waiting(queued=queued, leased=leased, whole=whole)


def secret_names(collection: Documented, found: Document) -> list[str]:
    """The names in the vault of what a registration or a credential keeps there."""
    if collection is REGISTRATIONS:
        return sorted({version["name"] for version in found.data["secretVersions"]})
    return [found.data["vaultName"]] if collection is CREDENTIALS else []


def is_being_refreshed(credential: Document, now: float) -> bool:
    """Is there an intent in it (flows/tokens) whose holder may still store what it is granted?"""
    intent = credential.data.get("refresh")
    return intent is not None and not intent.get("lost") and parse(intent["until"]) > now
