"""How an entity lies in the store: wrapped, flat, or as the systems before left it. Pure.

    wrapped   {tenantId, type, data {...}, externalIds, links, version, ...}: as `records` describes it
    flat      {...data, tenantId, type, version, createdAt, updatedAt, deleted, dirtySince?, schema, _syncd {externalIds, links, ...}}
    old       {...data, tenantId, createdAt?, updatedAt?}: what the systems in use wrote; it has no version of ours and no links

Flat documents are for those who read the store themselves: each field of the data is a field of the document. A field whose name is
taken (by ours, by a declared path, by Cosmos DB) lies in `_syncd.data` instead, so that nothing is lost and no query of ours meets a
value that is somebody else's.

Old documents have ids of their own. Above the store every entity has an id that says its partition (ids.located); `shown_id` and
`stored_id` are the two directions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import ENTITIES
from syncd.domain.records import is_alias
from syncd.domain.times import iso, parse

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject

#: Paths by which the store finds entities and what stands beside them.
_PATHS = (*ENTITIES.paths, *ENTITIES.scanned, *ENTITIES.across)
#: Fields of ours that queries need, or that people look for first.
_TOP = frozenset({"tenantId", "type", "version", "createdAt", "schema", *_PATHS})
_OURS = "_syncd"
#: What Cosmos DB puts into every document: https://learn.microsoft.com/azure/cosmos-db/resource-model
_SYSTEM = ("_rid", "_self", "_etag", "_attachments", "_ts")
#: Fields of ours that an old document may have, where they are of this type.
_KINDS = {"deleted": bool, "schema": int}
#: Names under which no field of the data may lie at the top. `ttl` would let Cosmos DB expire the document.
_TAKEN = _TOP | {_OURS, "id", "ttl", *_SYSTEM}
#: What an id that is made of another system's must not hold: the dot ends a partition, the others Cosmos DB refuses.
_ESCAPED = {character: f"%{ord(character):02X}" for character in "%./\\?#"}


def is_wrapped(document: JsonObject) -> bool:
    """An entity as flows know it."""
    get = document.get
    return type(get("data")) is dict and type(get("links")) is dict and type(get("externalIds")) is dict


def lies_wrapped(document: JsonObject) -> bool:
    """Does it lie in the store as flows know it? A flat one may have fields of these names too."""
    return is_wrapped(document) and _OURS not in document


def flat(entity: JsonObject) -> JsonObject:
    """A wrapped entity as a flat document. `entity_of` is its inverse."""
    data = entity["data"]
    ours = {name: value for name, value in entity.items() if name not in _TOP and name != "data"}
    if _TAKEN.isdisjoint(data):
        document = dict(data)
    else:
        document = {name: value for name, value in data.items() if name not in _TAKEN}
        ours["data"] = {name: value for name, value in data.items() if name in _TAKEN}
    document |= {name: value for name, value in entity.items() if name in _TOP}
    document[_OURS] = ours
    return document


def entity_of(document: JsonObject, partition: str) -> JsonObject | None:
    """The entity of a flat or an old document; None for one that is to be taken as it is."""
    ours = document.get(_OURS)
    if type(ours) is dict and "links" in ours:
        return _of_flat(document, ours)
    tenant_id, _, entity_type = partition.partition(":")
    if document.get("tenantId") != tenant_id or is_wrapped(document):
        return None
    return _of_old(document, tenant_id, entity_type)


def _of_flat(document: JsonObject, ours: JsonObject) -> JsonObject:
    entity = {name: value for name, value in document.items() if name in _TOP}
    data = {name: value for name, value in document.items() if name not in _TAKEN}
    data |= ours.get("data", {})
    return {**entity, **ours, "data": data}


def _of_old(document: JsonObject, tenant_id: str, entity_type: str) -> JsonObject:
    """A field under a name of ours is ours only where it can be: an `updatedAt` that is no time, or a `type` that is another than the
    entity's, is part of the data."""
    data: JsonObject = {}
    ours: JsonObject = {"createdAt": iso(0), "updatedAt": iso(0), "deleted": False}
    for name, value in document.items():
        if name in ("createdAt", "updatedAt") and (moment := _time(value)) is not None:
            ours[name] = moment
        elif type(value) is _KINDS.get(name):
            ours[name] = value
        elif not (name in _SYSTEM or name in ("id", "tenantId") or (name == "type" and value == entity_type)):
            data[name] = value
    ours.setdefault("schema", ENTITIES.schema)
    return {
        "tenantId": tenant_id,
        "type": entity_type,
        "data": data,
        "externalIds": {},
        "links": {},
        "version": 0,
        "changedAt": ours["updatedAt"],
        **ours,
    }


def _time(value: object) -> str | None:
    try:
        return iso(parse(value)) if isinstance(value, str) else None
    except (ValueError, OverflowError, OSError):
        return None


def shown_id(partition: str, stored: str) -> str:
    """The id above the store. One of ours, which begins with its partition, is the same."""
    if stored.startswith(f"{partition}."):
        return stored
    return f"{partition}.{''.join(_ESCAPED.get(character, character) for character in stored)}"


def stored_id(partition: str, shown: str) -> str | None:
    """Where an old document may lie that is shown under this id; None for an id that can be none of such."""
    if is_alias(shown) or not shown.startswith(f"{partition}."):
        return None
    stored = shown[len(partition) + 1 :]
    for character, escape in _ESCAPED.items():
        if character != "%":
            stored = stored.replace(escape, character)
    return stored.replace(_ESCAPED["%"], "%")
