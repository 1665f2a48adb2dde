"""Entities, their aliases and their links: shapes, and the pure changes between them. What a push does to them is in `pushing`.

An entity is one document in partition `tenantId:type`:

    {tenantId, type, data, externalIds {connectionId: id}, links {connectionId: link}, version, createdAt, updatedAt, changedAt,
     deleted, conflicts?, dirtySince?, schema}
    link {base, remoteVersion, untimed?, remoteTag?, event?, page?, open?, want, pushed, and what `pushing` adds}

`version` counts contents. A link owes a push while `pushed < want`; `conflicts` are records that are still to be written
down (domain/conflicts); `dirtySince` is there while either is so (decision 1: the outbox is the entity). `base` is what both sides last agreed on, `remoteVersion` orders what a connection told us (`untimed`: by when
we heard of it), `remoteTag` is what a conditional write is conditional on, `open` names the fields that wait for a person with their conflict, `page` is the
page of a pull that changed it last and how, `changedAt` is when the content became so at its source. An alias
`x~hash(connectionId, externalId)` beside the entity finds it by point read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, get_args

from syncd.domain.collections import ENTITIES
from syncd.domain.fields import ALL_FIELDS, Fields
from syncd.domain.ids import digest, digests
from syncd.domain.jsonbody import same
from syncd.domain.merge import ABSENT
from syncd.domain.times import iso
from syncd.domain.values import immutable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.merge import Resolution

Direction = Literal["pull", "push", "both"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
Effect = Literal["created", "updated", "unchanged", "deleted", "outdated"]


def entity_partition(tenant_id: str, entity_type: str) -> str:
    return f"{tenant_id}:{entity_type}"


@lru_cache(maxsize=1024)
def alias_id(connection_id: str, external_id: str) -> str:
    return f"x~{digest(connection_id, external_id)}"


def alias_ids(connection_id: str, external_ids: Iterable[str]) -> list[str]:
    """`alias_id` of each, as a page of records needs them."""
    return [f"x~{one}" for one in digests((connection_id,), external_ids)]


def alias(connection_id: str, external_id: str, entity_id: str, *, live: bool = True) -> JsonObject:
    """`live`: the entity is no tombstone. Aliases are counted by `connectionId` to know how many live entities a connection has."""
    # No `deleted` and no `updatedAt`: lists of entities ask for these and so leave aliases out.
    return {
        "kind": "alias",
        "connectionId" if live else "formerConnectionId": connection_id,
        "externalId": external_id,
        "entityId": entity_id,
        "schema": ENTITIES.schema,
    }


def is_alias(identifier: str) -> bool:
    """Is it one of the documents that stand beside entities: an alias, a key, a mark of a create under way?"""
    return identifier[:2] in ("x~", "k~", "c~")


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A connection of the tenant that lists the entity's type."""

    connection_id: str
    direction: Direction = "both"
    fields: Fields = ALL_FIELDS
    """What it can be told."""

    @property
    def takes_pushes(self) -> bool:
        return self.direction != "pull"


@immutable(kw_only=True)
class Change:
    effect: Effect
    entity: JsonObject | None
    """What to store; None where nothing is."""
    resolutions: tuple[Resolution, ...] = ()
    """Of the fields that both sides had changed."""

    @property
    def conflicts(self) -> tuple[str, ...]:
        return tuple(one.field for one in self.resolutions)


def changed_fields(before: JsonObject, after: JsonObject) -> set[str]:
    if before is after:
        return set()
    if not before:
        return set(after)
    changed = {name for name, value in after.items() if not same(before.get(name, ABSENT), value)}
    return changed | (before.keys() - after.keys())


def concerned(
    entity: JsonObject, subscribers: Iterable[Subscriber], changed: Iterable[str], *, again: bool = False
) -> list[str]:
    """Who must be told: those that can be told a field that changed, and those that do not have the entity."""
    return [
        one.connection_id
        for one in subscribers
        if one.takes_pushes
        and (again or one.connection_id not in entity["externalIds"] or any(one.fields.holds(name) for name in changed))
    ]


def owed_pushes(entity: JsonObject) -> list[tuple[str, int]]:
    """(connection, wanted version) of every link that owes a push and waits for nobody."""
    return [
        (connection, link["want"]) for connection, link in entity["links"].items() if owes(link) and "held" not in link
    ]


def owes(link: JsonObject) -> bool:
    return bool(link.get("pushed", 0) < link.get("want", 0))


def blank(tenant_id: str, entity_type: str, now: float) -> JsonObject:
    return {
        "tenantId": tenant_id,
        "type": entity_type,
        "data": {},
        "externalIds": {},
        "links": {},
        "version": 0,
        "createdAt": iso(now),
        "updatedAt": iso(now),
        "changedAt": iso(0),
        "deleted": False,
        "schema": ENTITIES.schema,
    }


def bury(entity: JsonObject, occurred_at: float, now: float) -> None:
    entity["deleted"] = True
    entity["version"] += 1
    entity["updatedAt"] = iso(now)
    entity["changedAt"] = iso(occurred_at)


#: What a link says of one object of its connection, and not of the next one that stands for the entity there.
_OF_ONE_OBJECT = frozenset({"base", "sent", "remoteVersion", "untimed", "remoteTag", "event", "page", "gone"})
#: Former ids of an object that a link knows.
_FORMER = 8


def succeeding(link: JsonObject, former: str) -> JsonObject:
    """The link of an object that stands for another now: the order of one object's states says nothing about another's."""
    kept = {name: value for name, value in link.items() if name not in _OF_ONE_OBJECT}
    return {**kept, "former": [*(one for one in link.get("former", ()) if one != former), former][-_FORMER:]}


#: What a link keeps only while a push is owed (domain/pushing).
NO_DEBT = ("checkAt", "patience", "held", "error", "create", "sent", "due")


def settle(entity: JsonObject, connection_id: str) -> None:
    """The connection holds exactly this version, however it came by it: nothing is owed, and nothing waits for a person."""
    link = entity["links"][connection_id]
    for name in NO_DEBT:
        link.pop(name, None)
    link["want"] = link["pushed"] = entity["version"]
    mark_dirty(entity, None)


def owe(entity: JsonObject, connection_ids: Sequence[str], now: float) -> None:
    for connection_id in connection_ids:
        entity["links"][connection_id] = {**entity["links"].get(connection_id, {}), "want": entity["version"]}
    mark_dirty(entity, now)


def mark_dirty(entity: JsonObject, now: float | None) -> None:
    """Keep `dirtySince` where any link owes a push or a conflict is to be written down, with the time of the oldest debt."""
    if "conflicts" not in entity and not any(owes(link) for link in entity["links"].values()):
        entity.pop("dirtySince", None)
    elif now is not None:
        entity.setdefault("dirtySince", iso(now))
