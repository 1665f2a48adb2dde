"""Entities, their aliases and their links: shapes, and the pure changes between them.

An entity is one document in partition `tenantId:type`:

    {tenantId, type, data, externalIds {connectionId: id}, links {connectionId: link}, version, createdAt, updatedAt, changedAt,
     deleted, dirtySince?, schema}
    link {base, remoteVersion, event, want, pushed}

`version` counts contents. A link owes a push while `pushed < want`; `dirtySince` is there while any link does (decision 1: the
outbox is the entity). `base` is what both sides last agreed on, `remoteVersion` orders what a connection told us, `changedAt` is
when the content became so at its source. An alias `x~hash(connectionId, externalId)` beside the entity finds it by point read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from syncd.domain.collections import ENTITIES
from syncd.domain.ids import digest
from syncd.domain.jsonbody import canonical, same
from syncd.domain.merge import Rules, merge
from syncd.domain.times import DAY, iso, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncd.domain.events import Operation
    from syncd.domain.jsontypes import JsonObject

Direction = Literal["pull", "push", "both"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
Effect = Literal["created", "updated", "unchanged", "deleted", "outdated"]
#: At the same moment an update stands over the creation that it follows, and a deletion over both.
_RANK: dict[Operation, int] = {"create": 0, "update": 1, "delete": 2}
#: A provider's time that lies further in our future is taken for this: otherwise one wrong clock would freeze an entity.
_FUTURE = DAY
_LAST_WRITE_WINS = Rules()


def entity_partition(tenant_id: str, entity_type: str) -> str:
    return f"{tenant_id}:{entity_type}"


def alias_id(connection_id: str, external_id: str) -> str:
    return f"x~{digest(connection_id, external_id)}"


def alias(connection_id: str, external_id: str, entity_id: str) -> JsonObject:
    # No `deleted` and no `updatedAt`: lists of entities ask for these and so leave aliases out.
    return {
        "kind": "alias",
        "connectionId": connection_id,
        "externalId": external_id,
        "entityId": entity_id,
        "schema": ENTITIES.schema,
    }


def is_alias(identifier: str) -> bool:
    return identifier.startswith("x~")


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A connection of the tenant that lists the entity's type."""

    connection_id: str
    direction: Direction = "both"

    @property
    def takes_pushes(self) -> bool:
        return self.direction != "pull"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """What one connection says about one of its objects, from an event, a page or a push's answer."""

    connection_id: str
    external_id: str
    operation: Operation
    data: JsonObject
    occurred_at: float
    """From `moment`."""
    remote_version: str
    """From `remote_version`."""
    event_id: str | None = None
    partial: bool = False


def moment(occurred_at: float | None, received_at: float) -> float:
    """When a provider's object became so, as far as it can be believed."""
    return received_at if occurred_at is None else min(occurred_at, received_at + _FUTURE)


def remote_version(occurred_at: float, operation: Operation, received_at: float, data: JsonObject) -> str:
    """A text whose order is the order in which the provider's states follow each other, whatever order they reach us in: by the
    provider's time, then create < update < delete, then receipt, then (so that the order is total) content."""
    return f"{iso(occurred_at)}~{_RANK[operation]}~{iso(received_at)}~{digest(canonical(data))[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    effect: Effect
    entity: JsonObject | None
    """What to store; None where nothing is."""
    conflicts: tuple[str, ...] = ()


def receive(
    entity: JsonObject | None,
    incoming: Incoming,
    *,
    tenant_id: str,
    entity_type: str,
    subscribers: Sequence[Subscriber],
    now: float,
    rules: Rules = _LAST_WRITE_WINS,
) -> Change:
    """The entity after what a connection said. Applying the same thing again changes nothing, and so does anything older than
    what the connection already said."""
    connection = incoming.connection_id
    if entity is None:
        entity = _blank(tenant_id, entity_type, now)
        fresh = True
    else:
        entity = {**entity, "links": dict(entity["links"]), "externalIds": dict(entity["externalIds"])}
        fresh = False
    link: JsonObject = dict(entity["links"].get(connection, {}))
    known = link.get("remoteVersion")
    if known is not None and incoming.remote_version <= known:
        # Our own event once more (its effect is here, and its row is still open) or something older.
        return Change(effect="unchanged" if incoming.remote_version == known else "outdated", entity=None)
    link["remoteVersion"] = incoming.remote_version
    if incoming.event_id is not None:
        link["event"] = incoming.event_id
    entity["externalIds"][connection] = incoming.external_id
    entity["links"][connection] = link
    if incoming.operation == "delete":
        return _received_deletion(entity, incoming, subscribers=subscribers, now=now, fresh=fresh)
    return _received_content(entity, incoming, subscribers=subscribers, now=now, rules=rules, fresh=fresh)


def _received_content(
    entity: JsonObject, incoming: Incoming, *, subscribers: Sequence[Subscriber], now: float, rules: Rules, fresh: bool
) -> Change:
    connection = incoming.connection_id
    link = entity["links"][connection]
    revived = entity["deleted"]
    merged = merge(
        base=None if revived else link.get("base"),
        stored={} if revived else entity["data"],
        incoming=incoming.data,
        stored_at=parse(entity["changedAt"]),
        incoming_at=incoming.occurred_at,
        partial=incoming.partial,
        rules=rules,
    )
    link["base"] = {**(link.get("base") or {}), **incoming.data} if incoming.partial else incoming.data
    content = merged.changed or fresh or revived
    owes_origin = bool(merged.owed) and any(one.connection_id == connection and one.takes_pushes for one in subscribers)
    if content:
        entity["data"] = merged.data
        entity["deleted"] = False
        entity["changedAt"] = max(entity["changedAt"], iso(incoming.occurred_at))
    if content or owes_origin:
        # Where only the origin differs: it lost what it had from us, and a new version makes that debt visible.
        entity["version"] += 1
        entity["updatedAt"] = iso(now)
    # A partial event that agrees with us says nothing about a push that the origin is still owed.
    if not merged.owed and not (incoming.partial and _owes(link)):
        _settled(entity, connection)
    others = [one.connection_id for one in subscribers if one.takes_pushes and one.connection_id != connection]
    _owe(entity, [*(others if content else ()), *((connection,) if owes_origin else ())], now)
    effect: Effect = "created" if fresh or revived else "updated" if merged.changed else "unchanged"
    return Change(effect=effect, entity=entity, conflicts=tuple(one.field for one in merged.resolutions))


def _received_deletion(
    entity: JsonObject, incoming: Incoming, *, subscribers: Sequence[Subscriber], now: float, fresh: bool
) -> Change:
    connection = incoming.connection_id
    already = entity["deleted"]
    entity["links"][connection].pop("base", None)
    if fresh:
        entity["data"] = incoming.data
    if not already:
        _bury(entity, incoming.occurred_at, now)
        linked = [one.connection_id for one in subscribers if one.takes_pushes and one.connection_id in entity["links"]]
        _owe(entity, [one for one in linked if one != connection], now)
    _settled(entity, connection)
    return Change(effect="unchanged" if already else "deleted", entity=entity)


def edit(
    entity: JsonObject | None,
    data: JsonObject,
    *,
    tenant_id: str,
    entity_type: str,
    subscribers: Sequence[Subscriber],
    now: float,
) -> Change:
    """The entity with `data` put in its place by one of our own users; every subscribed connection is owed a push."""
    if entity is None:
        entity = _blank(tenant_id, entity_type, now)
        effect: Effect = "created"
    elif not entity["deleted"] and same(entity["data"], data):
        return Change(effect="unchanged", entity=None)
    else:
        effect = "created" if entity["deleted"] else "updated"
        entity = {**entity, "links": dict(entity["links"])}
    entity["data"] = data
    entity["deleted"] = False
    entity["version"] += 1
    entity["updatedAt"] = entity["changedAt"] = iso(now)
    _owe(entity, [one.connection_id for one in subscribers if one.takes_pushes], now)
    return Change(effect=effect, entity=entity)


def remove(entity: JsonObject, *, subscribers: Sequence[Subscriber], now: float) -> Change:
    """A tombstone. Connections that know the entity, or are being told of it, are owed the deletion."""
    if entity["deleted"]:
        return Change(effect="unchanged", entity=None)
    entity = {**entity, "links": dict(entity["links"])}
    _bury(entity, now, now)
    _owe(
        entity,
        [one.connection_id for one in subscribers if one.takes_pushes and one.connection_id in entity["links"]],
        now,
    )
    return Change(effect="deleted", entity=entity)


def owed_pushes(entity: JsonObject) -> list[tuple[str, int]]:
    """(connection, wanted version) of every link that owes a push."""
    return [(connection, link["want"]) for connection, link in entity["links"].items() if _owes(link)]


def _owes(link: JsonObject) -> bool:
    return bool(link.get("pushed", 0) < link.get("want", 0))


def _blank(tenant_id: str, entity_type: str, now: float) -> JsonObject:
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


def _bury(entity: JsonObject, occurred_at: float, now: float) -> None:
    entity["deleted"] = True
    entity["version"] += 1
    entity["updatedAt"] = iso(now)
    entity["changedAt"] = iso(occurred_at)


def _settled(entity: JsonObject, connection_id: str) -> None:
    """The connection holds exactly this version."""
    link = entity["links"][connection_id]
    link["want"] = link["pushed"] = entity["version"]
    _mark(entity, None)


def _owe(entity: JsonObject, connection_ids: Sequence[str], now: float) -> None:
    for connection_id in connection_ids:
        entity["links"][connection_id] = {**entity["links"].get(connection_id, {}), "want": entity["version"]}
    _mark(entity, now)


def _mark(entity: JsonObject, now: float | None) -> None:
    """Keep `dirtySince` where any link owes a push, with the time of the oldest debt."""
    if not owed_pushes(entity):
        entity.pop("dirtySince", None)
    elif now is not None:
        entity.setdefault("dirtySince", iso(now))
