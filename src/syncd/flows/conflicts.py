"""Write down what merges resolved, and what waits for a person.

    merged -> entity stored, carrying its records (compare-and-set) -> records written down -> entity without them

What was recorded before its entity could be of a merge that never was: its compare-and-set lost, and what was merged instead found no
conflict. Recorded after it, it would be lost with the process. So the entity carries it in between. Killed there, it is written down by
whoever meets the entity next: the same message once more, or maintenance. Twice is one: the id is that of what was said. An entity
that is gone when its records are there was purged meanwhile, and they go after it; one that is still there is removed by the purge
together with them, which looks for records after entities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from syncd.domain.collections import CONFLICTS, ENTITIES
from syncd.domain.conflicts import RESOLVED_TTL, without
from syncd.domain.errors import Conflict, Overloaded, SyncdError
from syncd.domain.ids import partition_of
from syncd.domain.jsonbody import canonical, same
from syncd.flows.steps import entity_writes
from syncd.ports.documents import BATCH_BYTES, BATCH_LIMIT, FOREVER, Create, Delete, Document, Replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from syncd.domain.jsontypes import JsonObject
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents, Write
    from syncd.ports.observe import Observe

_ATTEMPTS = 8
#: A batch's own names and ids beside its documents.
_ROOM = BATCH_BYTES * 3 // 4


class ConflictLog:
    def __init__(self, *, documents: Documents, clock: Clock, observe: Observe) -> None:
        self._documents = documents
        self._clock = clock
        self._observe = observe

    async def write_down(self, entities: Iterable[tuple[str, JsonObject]]) -> int:
        """What these (id, entity as stored) carry, and how many do. Durable when it returns."""
        carriers = [(identifier, entity) for identifier, entity in entities if "conflicts" in entity]
        if not carriers:
            return 0
        found: dict[str, dict[str, JsonObject]] = {}
        for _, entity in carriers:
            found.setdefault(entity["tenantId"], {}).update(entity["conflicts"])
        for tenant_id, records in found.items():
            await self.keep(tenant_id, records)
        failed: list[SyncdError] = []
        async with anyio.create_task_group() as group:
            for identifier, entity in carriers:
                group.start_soon(self._unload, identifier, entity, failed)
        if failed:
            raise failed[0]
        return len(carriers)

    async def keep(self, tenant_id: str, records: Mapping[str, JsonObject]) -> None:
        """Records by id (domain/conflicts). Doing it again changes nothing; said otherwise than before, one replaces the earlier,
        unless a person has decided there."""
        for batch in _batches(records):
            await self._write(tenant_id, batch)

    async def _unload(self, identifier: str, carrier: JsonObject, failed: list[SyncdError]) -> None:
        """`failed`: raised when all are back; out of the group it would come in a group of errors."""
        written: Mapping[str, JsonObject] = carrier["conflicts"]
        try:
            for _ in range(_ATTEMPTS):
                found = await self._documents.get(ENTITIES, partition_of(identifier), identifier)
                if found is None:
                    await self._forget(carrier["tenantId"], list(written))
                    return
                entity = without(found.data, written)
                if entity is None:
                    return
                try:
                    await self._documents.write(ENTITIES, found.partition, entity_writes(identifier, found, entity))
                except Conflict:
                    continue
                return
        except SyncdError as error:
            failed.append(error)

    async def _forget(self, tenant_id: str, records: Sequence[str]) -> None:
        for start in range(0, len(records), BATCH_LIMIT):
            deletes = [Delete(identifier) for identifier in records[start : start + BATCH_LIMIT]]
            await self._documents.write(CONFLICTS, tenant_id, deletes)

    async def _write(self, tenant_id: str, wanted: Mapping[str, JsonObject]) -> None:
        writes: list[Write] = [Create(identifier, data, ttl=_ttl(data)) for identifier, data in wanted.items()]
        for _ in range(_ATTEMPTS):
            try:
                await self._documents.write(CONFLICTS, tenant_id, writes)
            except Conflict:
                stored = await self._documents.get_many(CONFLICTS, [(tenant_id, identifier) for identifier in wanted])
                pairs = zip(wanted.items(), stored, strict=True)
                writes = [one for (identifier, data), was in pairs if (one := _over(identifier, data, was)) is not None]
                if not writes:
                    return
            else:
                for one in writes:
                    assert isinstance(one, Create | Replace)
                    self._observe("conflict_recorded", entity_type=one.data["entityType"], status=one.data["status"])
                return
        raise Overloaded(f"the conflicts of {tenant_id} are being changed by too many at once", retry_after=1.0)


def _over(identifier: str, data: JsonObject, was: Document | None) -> Write | None:
    if was is None:
        return Create(identifier, data, ttl=_ttl(data))
    if _decided(was.data) or same(was.data["fields"], data["fields"]):
        return None
    return Replace(identifier, {**data, "createdAt": was.data["createdAt"]}, was.etag, ttl=_ttl(data))


def _decided(document: JsonObject) -> bool:
    """Has a person decided a part of it?"""
    return any(one["rule"] == "manual" and one["taken"] != "open" for one in document["fields"])


def _ttl(document: JsonObject) -> float:
    return FOREVER if document["status"] == "open" else RESOLVED_TTL


def _batches(documents: Mapping[str, JsonObject]) -> Iterator[dict[str, JsonObject]]:
    batch: dict[str, JsonObject] = {}
    room = _ROOM
    for identifier, document in documents.items():
        size = len(canonical(document).encode())
        if batch and (len(batch) == BATCH_LIMIT or size > room):
            yield batch
            batch, room = {}, _ROOM
        batch[identifier] = document
        room -= size
    if batch:
        yield batch
