"""Write down what merges resolved, and what waits for a person.

Record before the entity is written: killed in between, the merge is done again and says the same; the other way round an open
conflict could be held in the entity with no record that a person would find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import CONFLICTS
from syncd.domain.conflicts import RESOLVED_TTL, conflict_id, document_of
from syncd.domain.errors import Conflict, Overloaded
from syncd.domain.jsonbody import canonical, same
from syncd.ports.documents import BATCH_BYTES, BATCH_LIMIT, FOREVER, Create, Document, Replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from syncd.domain.conflicts import ConflictRecord
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

    async def record(self, tenant_id: str, records: Sequence[ConflictRecord]) -> list[str]:
        """Their ids, in order; durable when it returns. Doing it again changes nothing.

        A merge that was done again, because its entity was changed meanwhile, may have found something else: its record
        replaces the earlier one, unless a person has decided there.
        """
        now = self._clock.now()
        ids = [conflict_id(tenant_id, one.entity_id, one.connection_id, one.remote_version) for one in records]
        found = {
            identifier: document_of(tenant_id, one, now)
            for identifier, one in zip(ids, records, strict=True)
            if one.resolutions
        }
        for batch in _batches(found):
            await self._write(tenant_id, batch)
        return ids

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
