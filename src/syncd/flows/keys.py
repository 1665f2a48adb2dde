"""Records that are one thing beside their ids (domain/dedupe): who holds a key is said by a document beside the entities.

    k~hash(connection, key) {kind, heldFor, entityId, externalId, at?, run, schema, idleSince?}

It is written in the batch of its entity, by compare-and-set, so that two that meet over one key make one entity. It is believed only
where the entity agrees: its connection last sent exactly this key. So whatever changes an entity otherwise need not know of keys.
One that is believed no more is cleared away in the end (flows/idlekeys), unless it is claimed again. Types whose ids alone say it
(external_id) never come here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncd.domain.collections import ENTITIES, TOMBSTONE_TTL
from syncd.domain.dedupe import Claim, Deduped, Identity, dedupe, key_id
from syncd.domain.errors import Conflict, Overloaded
from syncd.domain.records import alias, alias_id, bury, mark_dirty
from syncd.domain.times import parse
from syncd.ports.documents import BATCH_LIMIT, Create, Replace, Upsert

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from syncd.domain.dedupe import R
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.receiving import Incoming
    from syncd.ports.documents import Document, Documents, Write

_ATTEMPTS = 12
#: What a link says of one id.
_OF_ONE_ID = ("remoteVersion", "remoteTag", "event", "former")
#: Characters of a link's remoteVersion that say the time.
_TIME = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Keying:
    """How a connection's records of one type are told apart. `run`: any text that is another for each pull and each event."""

    identity: Identity
    run: str

    @classmethod
    def of(cls, identity: Identity, run: str) -> Keying | None:
        return None if identity.strategy == "external_id" else cls(identity=identity, run=run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """The key of one record. `document`: as it was found; `entity`: the one that the key names, for composite_key."""

    identifier: str
    document: Document | None
    entity: Document | None
    claim: Claim

    def write(self, connection_id: str, entity_id: str) -> Write | None:
        """What says that the record holds the key from now on; None where it is said already."""
        data: JsonObject = {
            "kind": "key",
            # Not `connectionId`: by that name aliases are counted.
            "heldFor": connection_id,
            "entityId": entity_id,
            "externalId": self.claim.external_id,
            "at": self.claim.updated_at,
            "run": self.claim.run,
            "schema": ENTITIES.schema,
        }
        if self.document is None:
            return Create(self.identifier, data)
        before = self.document.data
        # Where there are times, they decide, and the run says nothing.
        names = ("entityId", "externalId", "at") + (("run",) if self.claim.updated_at is None else ())
        # One that is to be cleared away is always written: whoever clears it has lost by that.
        if "idleSince" not in before and all(before.get(name) == data[name] for name in names):
            return None
        return Replace(self.identifier, data, self.document.etag)


@dataclass(frozen=True, slots=True)
class Keys:
    """What is known of the keys of a page, or of one event."""

    keying: Keying
    found: Mapping[str, Keyed]
    """By external id, of the records that have a key and stand."""
    holders: Mapping[str, Document]
    """External id -> the entity, of those ids in other pages that stand for records of this one."""

    def placed(self, incoming: Incoming, found: Document | None) -> Document | None:
        """The entity that the record belongs to. `found`: the one that its id led to."""
        keyed = self.found.get(incoming.external_id)
        if keyed is not None and keyed.entity is not None:
            return keyed.entity
        # An id that only stood beside another in that entity, and has another key by now.
        return None if self.stands_beside(incoming, found) and not says_little(incoming) else found

    def stands_beside(self, incoming: Incoming, found: Document | None) -> bool:
        """Is the entity held by another id of the same connection?"""
        if self.keying.identity.strategy != "composite_key" or found is None:
            return False
        holder: str = found.data["externalIds"].get(incoming.connection_id, incoming.external_id)
        return holder != incoming.external_id

    def writes(self, incoming: Incoming, entity_id: str) -> list[Write]:
        keyed = self.found.get(incoming.external_id)
        write = None if keyed is None else keyed.write(incoming.connection_id, entity_id)
        return [] if write is None else [write]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """An event, as what is looked at of a record."""

    external_id: str
    data: JsonObject
    updated_at: float | None
    deleted: bool

    @classmethod
    def of(cls, incoming: Incoming, found: Document | None) -> Heard:
        """A partial event together with what its connection said before."""
        data = incoming.data
        if incoming.partial and found is not None:
            data = {**(found.data["links"].get(incoming.connection_id, {}).get("base") or {}), **data}
        return cls(
            external_id=incoming.external_id,
            data=data,
            # What is gone is gone, whether its sender says when or not.
            updated_at=incoming.occurred_at if incoming.timed or incoming.operation == "delete" else None,
            deleted=incoming.operation == "delete",
        )


def says_little(incoming: Incoming) -> bool:
    """Too little to know its key by itself."""
    return incoming.partial or incoming.operation == "delete"


async def look(
    documents: Documents, partition: str, connection_id: str, keying: Keying, records: Sequence[R]
) -> tuple[Deduped[R], Keys]:
    """The records that stand, and what is known of their keys."""
    identity, run = keying.identity, keying.run
    keys = list({key for one in records if (key := identity.key_of(one)) is not None})
    names = [(partition, key_id(connection_id, key)) for key in keys]
    said = dict(zip(keys, await documents.get_many(ENTITIES, names) if names else [], strict=True))
    owners = await entities_of(documents, partition, [one.data["entityId"] for one in said.values() if one is not None])
    claims: dict[str, Claim] = {}
    named: dict[str, Document] = {}
    holders: dict[str, Document] = {}
    for key, document in said.items():
        entity = None if document is None else owners.get(document.data["entityId"])
        if document is None or entity is None or not is_believed(document, entity, identity):
            continue
        named[key] = entity
        if not entity.data["deleted"]:
            data = document.data
            claims[key] = Claim(external_id=data["externalId"], updated_at=data["at"], run=data["run"])
            holders[data["externalId"]] = entity
    known: Collection[str] = ()
    heard: Mapping[str, float] = {}
    if identity.strategy != "composite_key":
        known, heard = await _known(documents, partition, connection_id, {one.external_id for one in records})
    deduped = dedupe(
        records,
        identity,
        run=run,
        claims=claims,
        known=known,
        said=heard if identity.strategy == "latest_wins" else {},
    )
    standing = {one.external_id: one for one in deduped.kept}
    composite = identity.strategy == "composite_key"
    found = {
        one: Keyed(
            identifier=key_id(connection_id, key),
            document=said[key],
            entity=named.get(key) if composite else None,
            claim=Claim(external_id=one, updated_at=standing[one].updated_at, run=run),
        )
        for one, key in deduped.keys.items()
    }
    return deduped, Keys(keying, found, holders)


async def address(documents: Documents, partition: str, connection_id: str, places: Iterable[tuple[str, str]]) -> None:
    """Let the ids that stand beside others in an entity lead to it, for events without content: (external id, entity id)."""
    wanted = dict(places)
    names = [(partition, alias_id(connection_id, one)) for one in wanted]
    found = await documents.get_many(ENTITIES, names) if names else []
    writes: list[Write] = []
    for (one, entity_id), pointer in zip(wanted.items(), found, strict=True):
        if pointer is not None and pointer.data["entityId"] == entity_id:
            continue
        if pointer is not None:
            await detach(documents, partition, connection_id, one, pointer.data["entityId"])
        # Not live: it counts no entity, its holder's does.
        writes.append(Upsert(alias_id(connection_id, one), alias(connection_id, one, entity_id, live=False)))
    for start in range(0, len(writes), BATCH_LIMIT):
        await documents.write(ENTITIES, partition, writes[start : start + BATCH_LIMIT])


async def detach(documents: Documents, partition: str, connection_id: str, external_id: str, entity_id: str) -> None:
    """The object belongs to another entity from now on. This one is kept for the other connections that have it, and is a tombstone
    where there is none. Done before anything leads to the new one, so that it is done again after a crash."""
    for _ in range(_ATTEMPTS):
        found = await documents.get(ENTITIES, partition, entity_id)
        if found is None or found.data["externalIds"].get(connection_id) != external_id:
            return
        entity = dict(found.data)
        for name in ("externalIds", "links"):
            entity[name] = {one: value for one, value in entity[name].items() if one != connection_id}
        if not entity["externalIds"] and not entity["deleted"]:
            at = parse(entity["changedAt"])
            bury(entity, at, max(at, parse(entity["updatedAt"])))
        mark_dirty(entity, None)
        try:
            await documents.write(ENTITIES, partition, [Replace(entity_id, entity, found.etag)])
        except Conflict:
            continue
        return
    raise Overloaded(f"an entity of {partition} is being changed by too many at once", retry_after=1.0)


def former_holder(entity: Document, connection_id: str) -> Write:
    """The alias of the id that stood until now: it leads to the entity still, and does not count as another."""
    former = entity.data["externalIds"][connection_id]
    ttl = TOMBSTONE_TTL if entity.data["deleted"] else None
    return Upsert(alias_id(connection_id, former), alias(connection_id, former, entity.id, live=False), ttl=ttl)


def under_new_holder(entity: JsonObject, connection_id: str) -> JsonObject:
    """The entity, ready for the word of another id of the connection: the order of one object's states says nothing about
    another's. Which of the two stands was decided by the key."""
    link = entity["links"].get(connection_id, {})
    link = {name: value for name, value in link.items() if name not in _OF_ONE_ID}
    return {**entity, "links": {**entity["links"], connection_id: link}}


async def entities_of(documents: Documents, partition: str, identifiers: Iterable[str]) -> dict[str, Document]:
    names = [(partition, one) for one in set(identifiers)]
    found = await documents.get_many(ENTITIES, names) if names else []
    return {one.id: one for one in found if one is not None}


def is_believed(document: Document, entity: Document, identity: Identity) -> bool:
    """Is a key's document still of what its connection last sent of the entity? A tombstone has forgotten, and is believed."""
    if entity.data["deleted"]:
        return identity.strategy == "composite_key"
    connection_id: str = document.data["heldFor"]
    base = entity.data["links"].get(connection_id, {}).get("base")
    external_id = entity.data["externalIds"].get(connection_id)
    if base is None or external_id is None:
        return False
    key = identity.key_of(Heard(external_id=external_id, data=base, updated_at=None, deleted=False))
    return key is not None and key_id(connection_id, key) == document.id


async def _known(
    documents: Documents, partition: str, connection_id: str, external_ids: Iterable[str]
) -> tuple[set[str], dict[str, float]]:
    """The ids that have an entity, and when the connection last said something of them where it said when."""
    names = {one: (partition, alias_id(connection_id, one)) for one in external_ids}
    pointers = await documents.get_many(ENTITIES, list(names.values())) if names else []
    led = {one: str(pointer.data["entityId"]) for one, pointer in zip(names, pointers, strict=True) if pointer}
    entities = await entities_of(documents, partition, led.values())
    said: dict[str, float] = {}
    for one, identifier in led.items():
        link = entities[identifier].data["links"].get(connection_id, {}) if identifier in entities else {}
        if "remoteVersion" in link and not link.get("untimed"):
            said[one] = parse(link["remoteVersion"][:_TIME])
    return {one for one, identifier in led.items() if identifier in entities}, said
