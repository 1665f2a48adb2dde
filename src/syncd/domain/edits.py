"""What our own users do to entities: pure changes of their documents, owed to every connection that can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.jsonbody import same
from syncd.domain.merge import ABSENT
from syncd.domain.records import Change, blank, bury, changed_fields, concerned, owe
from syncd.domain.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.domain.records import Effect, Subscriber


def edit(
    entity: JsonObject | None,
    data: JsonObject,
    *,
    tenant_id: str,
    entity_type: str,
    subscribers: Sequence[Subscriber],
    now: float,
) -> Change:
    """The entity with `data` put in its place by one of our own users; every connection that can be told of it is owed a push.
    A field that waited for a person and is changed here is decided."""
    again = False
    stored: JsonObject = {}
    if entity is None:
        entity = blank(tenant_id, entity_type, now)
        effect: Effect = "created"
    elif not entity["deleted"] and same(entity["data"], data):
        return Change(effect="unchanged", entity=None)
    else:
        again = entity["deleted"]
        effect = "created" if again else "updated"
        stored = {} if again else entity["data"]
        entity = {**entity, "links": dict(entity["links"])}
    changed = changed_fields(stored, data)
    _put(entity, data, now)
    for connection, link in list(entity["links"].items()):
        if not changed.isdisjoint(link.get("open", ())):
            entity["links"][connection] = _released(link, changed)
    owe(entity, concerned(entity, subscribers, changed, again=again), now)
    return Change(effect=effect, entity=entity)


def decide(
    entity: JsonObject,
    connection_id: str,
    values: Mapping[str, Json],
    *,
    conflict: str,
    subscribers: Sequence[Subscriber],
    now: float,
) -> Change:
    """The entity with each of `values` (`ABSENT`: without the field) whose field waits for this conflict of the connection."""
    link = entity["links"].get(connection_id, {})
    decided = {name: value for name, value in values.items() if link.get("open", {}).get(name) == conflict}
    if not decided:
        return Change(effect="unchanged", entity=None)
    entity = {**entity, "links": dict(entity["links"])}
    entity["links"][connection_id] = _released(link, decided)
    stored = entity["data"]
    data = {**stored, **decided}
    data = {name: value for name, value in data.items() if value is not ABSENT}
    changed = changed_fields(stored, data)
    _put(entity, data, now)
    base = link.get("base", {})
    # The conflict's own connection has another value exactly where the decision is not what it said.
    differs = [name for name in decided if not same(data.get(name, ABSENT), base.get(name, ABSENT))]
    others = [one for one in subscribers if one.connection_id != connection_id]
    own = [one for one in subscribers if one.connection_id == connection_id]
    owe(entity, [*concerned(entity, others, changed), *concerned(entity, own, differs)], now)
    return Change(effect="updated", entity=entity)


def _released(link: JsonObject, names: Iterable[str]) -> JsonObject:
    held = {name: conflict for name, conflict in link.get("open", {}).items() if name not in set(names)}
    link = {**link, "open": held}
    if not held:
        del link["open"]
    return link


def _put(entity: JsonObject, data: JsonObject, now: float) -> None:
    entity["data"] = data
    entity["deleted"] = False
    entity["version"] += 1
    entity["updatedAt"] = entity["changedAt"] = iso(now)


def remove(entity: JsonObject, *, subscribers: Sequence[Subscriber], now: float) -> Change:
    """A tombstone. Connections that know the entity, or are being told of it, are owed the deletion."""
    if entity["deleted"]:
        return Change(effect="unchanged", entity=None)
    entity = {**entity, "links": dict(entity["links"])}
    bury(entity, now, now)
    owe(
        entity,
        [one.connection_id for one in subscribers if one.takes_pushes and one.connection_id in entity["links"]],
        now,
    )
    return Change(effect="deleted", entity=entity)
