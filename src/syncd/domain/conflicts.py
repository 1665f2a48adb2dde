"""Recorded conflicts: what both sides had changed, what became of each field, and what a person decides.

A record is one document in partition tenantId, one for what a connection said at one version of its object:

    {tenantId, entityId, entityType, connectionId, integrationId?, remoteVersion, fields, moreFields?, status, createdAt,
     resolvedAt?, resolvedBy?, schema}
    field {field, rule, taken, base?, ours?, theirs?, result?, omitted?}

`status` is `open` while any field is. `taken` is `ours | theirs | merged | open` as the merge says it; a person's decision makes it
`ours | theirs | value`, and what was decided or went elsewhere meanwhile `superseded`. A side or result that is left out was not
there: the field was absent, unless `omitted` names it, because it was too large to be kept here; `moreFields` counts the fields
that had no place at all. `resolvedBy` is `rule`, or the name of the person's token. The order of `remoteVersion` is the order of
what the connection said.

A record lies in another partition than its entity, and no batch spans both. So the entity carries it, as `conflicts` {id: record}, from
the compare-and-set that made it until it is written down: what a lost one would have said was never so, and is told to nobody.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from syncd.domain.collections import CONFLICTS
from syncd.domain.errors import Invalid
from syncd.domain.ids import digest, located
from syncd.domain.jsonbody import canonical
from syncd.domain.merge import ABSENT
from syncd.domain.records import mark_dirty
from syncd.domain.times import DAY, iso

if TYPE_CHECKING:
    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.domain.merge import Resolution

STATUSES = ("open", "resolved")
BY_RULE = "rule"
#: Seconds that a record is kept after its resolution; open ones stay.
RESOLVED_TTL = 90 * DAY
#: Bytes of JSON of one side of a field that is kept, and of all that a merge records at once. What a person then decides comes on
#: top, a request's worth at most, and together they stay below what a document may have.
VALUE_BYTES = 100_000
RECORD_BYTES = 800_000
#: Bytes of JSON that an entity may have together with what it carries, of the 2,000,000 of a document; and what a record has all the
#: same, to name its fields.
_CARRIED_BYTES = 1_900_000
_LEAST_BYTES = 50_000
#: In the order in which they get the room that there is: those first that a person may take.
_SIDES = ("theirs", "ours", "base", "result")
#: Of a field without its name and its values.
_FIELD_BYTES = 150

Decided = Literal["ours", "theirs", "value", "superseded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictRecord:
    """What one merge found."""

    entity_id: str
    entity_type: str
    connection_id: str
    integration_id: str | None = None
    remote_version: str
    resolutions: Sequence[Resolution]

    @property
    def is_open(self) -> bool:
        return any(one.taken == "open" for one in self.resolutions)


def conflict_id(tenant_id: str, entity_id: str, connection_id: str, remote_version: str) -> str:
    """The same for the same words of the connection, so that recording them twice is one."""
    return located(tenant_id, digest(entity_id, connection_id, remote_version))


def carrying(entity: JsonObject, record: ConflictRecord, now: float) -> JsonObject:
    """The entity with the record of what its change resolved. It is looked at by maintenance until that is written down."""
    tenant_id = entity["tenantId"]
    identifier = conflict_id(tenant_id, record.entity_id, record.connection_id, record.remote_version)
    room = max(_LEAST_BYTES, _CARRIED_BYTES - len(canonical(entity).encode()))
    found = document_of(tenant_id, record, now, room=min(RECORD_BYTES, room))
    entity = {**entity, "conflicts": {**entity.get("conflicts", {}), identifier: found}}
    entity.setdefault("dirtySince", iso(now))
    return entity


def without(entity: JsonObject, written: Container[str]) -> JsonObject | None:
    """The entity without the records that are written down; None where it carries none of them."""
    carried = entity.get("conflicts", {})
    left = {identifier: found for identifier, found in carried.items() if identifier not in written}
    if len(left) == len(carried):
        return None
    entity = {**entity, "conflicts": left}
    if not left:
        del entity["conflicts"]
    mark_dirty(entity, None)
    return entity


def document_of(tenant_id: str, record: ConflictRecord, now: float, *, room: int = RECORD_BYTES) -> JsonObject:
    """`room`: bytes of JSON that its fields may have."""
    fields, left_out = _bounded((one.as_json() for one in record.resolutions), room)
    document: JsonObject = {
        "tenantId": tenant_id,
        "entityId": record.entity_id,
        "entityType": record.entity_type,
        "connectionId": record.connection_id,
        "integrationId": record.integration_id,
        "remoteVersion": record.remote_version,
        "fields": fields,
        "status": "open" if record.is_open else "resolved",
        "createdAt": iso(now),
        "schema": CONFLICTS.schema,
    }
    if left_out:
        document["moreFields"] = left_out
    if record.integration_id is None:
        del document["integrationId"]
    if not record.is_open:
        document |= {"resolvedAt": document["createdAt"], "resolvedBy": BY_RULE}
    return document


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person wants of one field."""

    taken: Literal["ours", "theirs", "value"]
    value: Json = ABSENT
    """Of `value`; ABSENT removes the field."""


def open_fields(document: JsonObject) -> list[str]:
    return [one["field"] for one in document["fields"] if one["taken"] == "open"]


def chosen(document: JsonObject, choices: Mapping[str, Choice]) -> dict[str, Json]:
    """The value of each field that `choices` names; ABSENT where it is to go. Raises Invalid naming every choice that cannot be
    taken."""
    fields = {one["field"]: one for one in document["fields"]}
    values: dict[str, Json] = {}
    wrong: dict[str, str] = {}
    for name, choice in choices.items():
        recorded = fields.get(name)
        if recorded is None or recorded["taken"] != "open":
            waiting = ", ".join(open_fields(document)) or "none"
            wrong[f"fields.{name}"] = f"does not wait for a decision; those that do: {waiting}"
        elif choice.taken == "value":
            values[name] = choice.value
        elif choice.taken in recorded.get("omitted", ()):
            wrong[f"fields.{name}"] = f"{choice.taken} was too large to be kept here: give the value itself"
        else:
            values[name] = recorded.get(choice.taken, ABSENT)
    if wrong:
        path, text = next(iter(wrong.items()))
        raise Invalid(f"{path}: {text}", errors=wrong)
    return values


def settled(document: JsonObject, decided: Mapping[str, tuple[Decided, Json]], *, by: str, now: float) -> JsonObject:
    """The record with what became of its open fields; resolved when none is left."""
    fields = []
    for one in document["fields"]:
        if one["taken"] == "open" and one["field"] in decided:
            taken, result = decided[one["field"]]
            one = {name: value for name, value in one.items() if name != "result"} | {"taken": taken}
            omitted = set(one.pop("omitted", ())) - {"result"}
            if result is not ABSENT and len(canonical(result).encode()) > VALUE_BYTES:
                omitted.add("result")
            elif result is not ABSENT:
                one["result"] = result
            if omitted:
                one["omitted"] = sorted(omitted)
        fields.append(one)
    found = {**document, "fields": fields}
    if not open_fields(found):
        found |= {"status": "resolved", "resolvedAt": iso(now), "resolvedBy": by}
    return found


def _bounded(fields: Iterable[JsonObject], room: int) -> tuple[list[JsonObject], int]:
    """Without the values that are too large, and how many fields have no place at all. A person can still be told that they
    differ. Fields that wait for a person come first."""
    kept: list[JsonObject] = []
    left_out = 0
    for one in sorted(fields, key=lambda one: bool(one["taken"] != "open")):
        room -= len(one["field"].encode()) + _FIELD_BYTES
        if room < 0:
            left_out += 1
            continue
        omitted = set(one.get("omitted", ()))
        small = {name: value for name, value in one.items() if name != "omitted"}
        for side in _SIDES:
            if side not in one:
                continue
            size = len(canonical(one[side]).encode())
            if size > min(VALUE_BYTES, room):
                del small[side]
                omitted.add(side)
            else:
                room -= size
        if omitted:
            small["omitted"] = sorted(omitted)
        kept.append(small)
    return kept, left_out
