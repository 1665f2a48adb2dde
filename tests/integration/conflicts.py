"""Conflicts to record, and an entity whose fields wait for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from syncd.domain.collections import ENTITIES
from syncd.domain.conflicts import ConflictRecord, conflict_id, document_of
from syncd.domain.errors import NotFound
from syncd.domain.jsontypes import Json, JsonObject
from syncd.domain.merge import ABSENT, Resolution, Rule
from syncd.flows.conflicts import ConflictLog
from syncd.ports.documents import Create, Document, Documents, Replace

ENTITY = "t:contact.1"


class Holding:
    """The part `Resolver` of the entities, over the real store: `held` says which conflict each field waits for."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self.killed = False

    async def hold(self, data: JsonObject, held: Mapping[str, str]) -> None:
        await self._documents.write(ENTITIES, "t:contact", [Create(ENTITY, {"data": data, "held": dict(held)})])

    async def stored(self) -> Document:
        found = await self._documents.get(ENTITIES, "t:contact", ENTITY)
        if found is None:
            raise NotFound("gone")
        return found

    async def resolve(
        self,
        tenant_id: str,
        entity_type: str,
        entity_id: str,
        connection_id: str,
        values: Mapping[str, Json],
        conflict_id: str,
    ) -> Document:
        assert (tenant_id, entity_type, entity_id, connection_id) == ("t", "contact", ENTITY, "crm")
        found = await self.stored()
        data, held = dict(found.data["data"]), dict(found.data["held"])
        for name, value in values.items():
            if held.get(name) != conflict_id:
                continue
            del held[name]
            data.pop(name, None)
            if value is not ABSENT:
                data[name] = value
        [written] = await self._documents.write(
            ENTITIES, "t:contact", [Replace(ENTITY, {"data": data, "held": held}, found.etag)]
        )
        assert written is not None
        if self.killed:
            self.killed = False
            raise KeyboardInterrupt
        return written


def field(name: str, *, theirs: Any = "theirs", rule: Rule = Rule.MANUAL) -> Resolution:
    return Resolution(
        field=name,
        rule=rule,
        taken="open" if rule is Rule.MANUAL else "theirs",
        base="was",
        ours="ours",
        theirs=theirs,
        result="ours" if rule is Rule.MANUAL else theirs,
    )


async def written_down(log: ConflictLog, records: Sequence[ConflictRecord]) -> list[str]:
    """Records of one tenant's entities; their ids, in order."""
    [tenant] = {one.entity_id.partition(":")[0] for one in records}
    ids = [conflict_id(tenant, one.entity_id, one.connection_id, one.remote_version) for one in records]
    now = log._clock.now()
    await log.keep(tenant, {one: document_of(tenant, found, now) for one, found in zip(ids, records, strict=True)})
    return ids


def record(*fields: Resolution, version: str = "1", entity: str = ENTITY) -> ConflictRecord:
    return ConflictRecord(
        entity_id=entity,
        entity_type="contact",
        connection_id="crm",
        integration_id="rest",
        remote_version=version,
        resolutions=fields,
    )
