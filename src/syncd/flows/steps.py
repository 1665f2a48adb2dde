"""One record on its way into its entity: what there is of it, what it becomes, and what is to be written for that. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from syncd.domain.collections import TOMBSTONE_TTL
from syncd.domain.conflicts import ConflictRecord, carrying
from syncd.domain.ids import located
from syncd.domain.pushing import creating_id
from syncd.domain.receiving import receive
from syncd.domain.records import Change, alias, alias_id
from syncd.domain.values import immutable
from syncd.flows.keys import former_holder, says_little, under_new_holder
from syncd.ports.documents import BATCH_LIMIT, Create, Delete, Replace, Upsert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.merge import Rules
    from syncd.domain.receiving import Incoming
    from syncd.domain.records import Effect, Subscriber
    from syncd.flows.keys import Keys
    from syncd.ports.documents import Document, Write

_UNCHANGED = Change(effect="unchanged", entity=None)


@immutable(kw_only=True)
class Stored:
    """What became of a change. `version` is that of the entity now."""

    entity_id: str
    effect: Effect
    version: int
    conflicts: Sequence[str] = ()


class Scope(NamedTuple):
    """What a page's records have in common."""

    tenant_id: str
    entity_type: str
    subscribers: Sequence[Subscriber]
    rules: Rules
    keys: Keys | None
    now: float
    partition: str


class Found(NamedTuple):
    """What there is of one record. An alias may point to a tombstone that is gone."""

    alias_id: str
    alias: Document | None
    entity: Document | None


class Step(NamedTuple):
    """One record on its way: what was found, what it becomes, and what is to be written for it."""

    incoming: Incoming
    entity_id: str
    entity: JsonObject
    change: Change
    writes: Sequence[Write]
    leaves: str | None = None
    """The entity that the object's id led to, where its key says another."""
    buries: bool = False
    """It lives until then, and is deleted by this."""

    @property
    def stored(self) -> Stored:
        return Stored(
            entity_id=self.entity_id,
            effect=self.change.effect,
            version=self.entity["version"],
            conflicts=self.change.conflicts,
        )


def step_of(scope: Scope, incoming: Incoming, found: Found, fresh: str) -> Step:
    """`fresh`: the rest of the id that a new entity gets."""
    keys, pointer, entity = scope.keys, found.alias, found.entity
    if keys is not None:
        entity = keys.placed(incoming, entity)
    identifier = located(scope.partition, fresh) if entity is None else entity.id
    said = [] if keys is None else keys.writes(incoming, identifier)
    before = None if entity is None else entity.data
    taken_over = keys is not None and entity is not None and keys.stands_beside(incoming, entity)
    if taken_over:
        assert entity is not None
        if says_little(incoming):
            return Step(incoming, identifier, entity.data, _UNCHANGED, ())
        said.append(former_holder(entity, incoming.connection_id))
        before = under_new_holder(entity.data, incoming.connection_id)
    change = receive(
        before,
        incoming,
        tenant_id=scope.tenant_id,
        entity_type=scope.entity_type,
        subscribers=scope.subscribers,
        now=scope.now,
        rules=scope.rules,
        entity_id=identifier,
    )
    if change.entity is None:
        assert entity is not None
        return Step(incoming, identifier, entity.data, change, said)
    changed = change.entity
    if change.resolutions:
        record = ConflictRecord(
            entity_id=identifier,
            entity_type=scope.entity_type,
            connection_id=incoming.connection_id,
            remote_version=incoming.remote_version,
            resolutions=change.resolutions,
        )
        changed = carrying(changed, record, scope.now)
    deleted = changed["deleted"]
    writes = entity_writes(identifier, entity, changed)
    elsewhere = pointer is not None and pointer.data["entityId"] != identifier
    # One that comes to life or dies has all its aliases written already.
    written = entity is not None and entity.data["deleted"] != deleted
    if not written and (pointer is None or entity is None or elsewhere or taken_over):
        writes.append(_pointer(identifier, found, incoming, deleted=deleted))
    if pointer is None and entity is not None:
        # Our own by content: the next object like it is another one.
        writes.append(Delete(creating_id(identifier, incoming.connection_id)))
    leaves = str(pointer.data["entityId"]) if pointer is not None and elsewhere else None
    return Step(incoming, identifier, changed, change, writes + said, leaves, written and deleted)


def entity_writes(identifier: str, found: Document | None, entity: JsonObject) -> list[Write]:
    """The entity, and its aliases where their life changes with it: they go when the tombstone goes."""
    ttl = TOMBSTONE_TTL if entity["deleted"] else None
    writes: list[Write] = [
        Create(identifier, entity, ttl=ttl) if found is None else Replace(identifier, entity, found.etag, ttl=ttl)
    ]
    if found is not None and entity["deleted"] != found.data["deleted"]:
        writes += [
            # The entity's etag in the same batch decides; an alias says only what the entity says.
            Upsert(
                alias_id(connection, external),
                alias(connection, external, identifier, live=not entity["deleted"]),
                ttl=ttl,
            )
            for connection, external in entity["externalIds"].items()
        ]
        for connection in entity["links"]:
            writes += former_aliases(identifier, entity, connection)
    return writes


def former_aliases(identifier: str, entity: JsonObject, connection_id: str) -> list[Write]:
    """The ids under which the connection had it before: what is still said of these belongs here, and counts no entity."""
    ttl = TOMBSTONE_TTL if entity["deleted"] else None
    return [
        Upsert(alias_id(connection_id, one), alias(connection_id, one, identifier, live=False), ttl=ttl)
        for one in entity["links"].get(connection_id, {}).get("former", ())
    ]


def _pointer(identifier: str, found: Found, incoming: Incoming, *, deleted: bool) -> Write:
    """The alias by which two creators of one entity meet. One that points to a tombstone long gone is taken over."""
    ttl = TOMBSTONE_TTL if deleted else None
    data = alias(incoming.connection_id, incoming.external_id, identifier, live=not deleted)
    if found.alias is None:
        return Create(found.alias_id, data, ttl=ttl)
    return Replace(found.alias_id, data, found.alias.etag, ttl=ttl)


def batches(steps: Sequence[tuple[int, Step]]) -> list[list[tuple[int, Step]]]:
    """Whole records, as many as one atomic batch takes."""
    batches: list[list[tuple[int, Step]]] = []
    room = 0
    for position, step in steps:
        if len(step.writes) > room:
            batches.append([])
            room = BATCH_LIMIT
        batches[-1].append((position, step))
        room -= len(step.writes)
    return batches
