"""Which of the records that a provider sends are one thing, and which of those stands.

    external_id    One id, one entity (of the connection). The later record stands: by `updated_at` where both say it, at one
                   time a deletion over an update, else by position. Copies and earlier states are duplicates.
    latest_wins    As external_id, but a position never stands against a time: a record without `updated_at` does not replace one
                   that has it, and one that is earlier than what this connection last said of the id (`said`) is a duplicate
                   before it is merged. It does not reach across connections: two accounts of one provider number their objects
                   alike. What becomes of two connections' changes to one entity is the conflict rule's affair.
    content_hash   As external_id, and an id that is *not known yet* whose content another id holds already is a duplicate: it is
                   not stored. An id that has its entity keeps it, whatever its content becomes. A field `id`, `_id`, ... that
                   holds the external id is no content, nor are `ignoreFields`.
    composite_key  As external_id, and records with equal values in `keyFields` are one entity, whatever their ids: the key is the
                   identity, the id only the address. The later `updated_at` stands; without times, the id that a run met first
                   (so that two copies at the provider do not take turns). A record that lacks a key field, or has null or an
                   empty text in it, is identified by its id: two contacts without an address are not one. Values are compared
                   exactly, as JSON.

For the last two a flow keeps one document per key beside the entities, id `key_id(connection, key)`, with a `Claim` in it:

  1. `keys = [identity.key_of(record) ...]` of the page; read the key documents by point reads.
  2. `dedupe(..., claims=...)` with the claims found. content_hash: leave out those whose holder is deleted or has other content
     by now (`key_of` what the connection last sent is another key), and pass as `known` the ids that have an entity.
  3. For each kept record with a key, in the batch of its entity: put the key document (compare-and-set; who loses reads again).
     composite_key: the entity is the one the key document names, else a new one; an alias of the external id points to it, for
     events without content. Only the deletion of the key's holder deletes the entity.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar, get_args

from syncd.domain.errors import Invalid
from syncd.domain.ids import digest
from syncd.domain.jsonbody import canonical, same

if TYPE_CHECKING:
    from syncd.domain.jsontypes import Json, JsonObject

Strategy = Literal["external_id", "content_hash", "composite_key", "latest_wins"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
#: `copy`: the same once more. `superseded`: another record of the same id or key is later. `outdated`: the connection said something
#: later before. `same_content`, `same_key`: another id holds it.
Reason = Literal["copy", "superseded", "outdated", "same_content", "same_key"]


class Described(Protocol):
    """What is looked at of a provider's record."""

    @property
    def external_id(self) -> str: ...

    @property
    def data(self) -> JsonObject: ...

    @property
    def updated_at(self) -> float | None:
        """Unix seconds, by the provider's clock."""
        ...

    @property
    def deleted(self) -> bool: ...


R = TypeVar("R", bound=Described)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What makes two records of one entity type one thing."""

    strategy: Strategy = "external_id"
    key_fields: tuple[str, ...] = ()
    """Of composite_key. A dot goes into objects, where there is no field of the whole name."""
    ignored: frozenset[str] = frozenset()
    """Top-level fields that are no content, for content_hash: times, counters, the object's own addresses."""

    @classmethod
    def of_connection(cls, entity_rules: JsonObject) -> Identity:
        """From `dedupe`, `keyFields` and `ignoreFields` of a connection's `entities.<type>`. Raises Invalid, with paths below
        the given object."""
        strategy = entity_rules.get("dedupe", "external_id")
        if strategy not in STRATEGIES:
            raise _wrong("dedupe", f"must be one of {', '.join(STRATEGIES)}")
        key_fields = _names(entity_rules, "keyFields")
        if strategy == "composite_key" and not key_fields:
            raise _wrong("keyFields", "composite_key needs at least one field")
        return cls(strategy=strategy, key_fields=key_fields, ignored=frozenset(_names(entity_rules, "ignoreFields")))

    def key_of(self, record: Described) -> str | None:
        """The same text exactly for records that are one thing beside their ids; None where the id alone says it."""
        if record.deleted:
            return None
        if self.strategy == "content_hash":
            return digest("content", canonical(_normal(self._content(record))))
        if self.strategy == "composite_key":
            values = [_value(record.data, name) for name in self.key_fields]
            if any(value is None or value == "" for value in values):
                return None
            return digest("key", *(canonical(_normal(value)) for value in values))
        return None

    def _content(self, record: Described) -> JsonObject:
        return {
            name: value
            for name, value in record.data.items()
            if name not in self.ignored and not (name.strip("_").lower() == "id" and str(value) == record.external_id)
        }


def key_id(connection_id: str, key: str) -> str:
    """The id of the document that says who holds the key, beside the entities as `x~` aliases are."""
    return f"k~{digest(connection_id, key)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who holds a key: what a key document keeps of the record that stood last."""

    external_id: str
    updated_at: float | None
    run: str
    """Of which run; any text that is another for each."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A record that is not kept."""

    position: int
    external_id: str
    reason: Reason
    of: str
    """The external id that stands."""


@dataclass(frozen=True, slots=True)
class Deduped(Generic[R]):
    kept: Sequence[R]
    """In the page's order. With `duplicates` it is the whole page."""
    duplicates: Sequence[Duplicate] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    """external id -> key, of the kept records that have one: what the run now claims."""


_EXTERNAL_ID = Identity()
_NOTHING: Mapping[str, float] = {}
_NO_CLAIMS: Mapping[str, Claim] = {}


def dedupe(
    records: Sequence[R],
    identity: Identity = _EXTERNAL_ID,
    *,
    run: str = "",
    claims: Mapping[str, Claim] = _NO_CLAIMS,
    known: Collection[str] = (),
    said: Mapping[str, float] = _NOTHING,
) -> Deduped[R]:
    """One page. Pure. As long as no object changes its key or content during a run, it makes no difference to who stands in the end
    how the run is cut into pages, if `claims` holds what the pages before claimed.

    `claims`: key -> who holds it, from earlier pages and runs. `known`: external ids that have an entity (content_hash).
    `said`: external id -> the `updated_at` of what the connection last said of it (latest_wins). Across pages, external_id needs
    none of these: an entity's link knows what it was last told, and what is earlier or equal changes nothing there.
    """
    standing, duplicates = _by_id(records, identity.strategy == "latest_wins", said)
    keys: dict[str, str] = {}
    if identity.strategy in ("content_hash", "composite_key"):
        found = {one: key for one in standing if (key := identity.key_of(records[standing[one]])) is not None}
        if identity.strategy == "content_hash":
            keys = _by_content(records, standing, found, claims, known, duplicates)
        else:
            keys = _by_key(records, standing, found, claims, run, duplicates)
    if not duplicates:
        return Deduped(records, (), keys)
    kept = [records[position] for position in sorted(standing.values())]
    return Deduped(kept, tuple(sorted(duplicates, key=lambda one: one.position)), keys)


def _by_id(records: Sequence[R], timed: bool, said: Mapping[str, float]) -> tuple[dict[str, int], list[Duplicate]]:
    """external id -> position of the record that stands for it."""
    standing: dict[str, int] = {}
    duplicates: list[Duplicate] = []
    for position, record in enumerate(records):
        one, at = record.external_id, record.updated_at
        if timed and one in said and (at is None or at < said[one]):
            duplicates.append(Duplicate(position, one, "outdated", one))
            continue
        before = standing.setdefault(one, position)
        if before == position:
            continue
        if _copy(records[before], record):
            duplicates.append(Duplicate(position, one, "copy", one))
        elif _follows(record, records[before], timed):
            duplicates.append(Duplicate(before, one, "superseded", one))
            standing[one] = position
        else:
            duplicates.append(Duplicate(position, one, "superseded", one))
    return standing, duplicates


def _copy(one: Described, other: Described) -> bool:
    return (one.updated_at, one.deleted) == (other.updated_at, other.deleted) and same(one.data, other.data)


def _follows(record: Described, before: Described, timed: bool) -> bool:
    """Does `record`, which comes after `before` in the provider's order, stand over it?"""
    at, was = record.updated_at, before.updated_at
    if at is None or was is None:
        return not timed or was is None
    return at > was or (at == was and record.deleted >= before.deleted)


def _by_content(
    records: Sequence[R],
    standing: dict[str, int],
    found: Mapping[str, str],
    claims: Mapping[str, Claim],
    known: Collection[str],
    duplicates: list[Duplicate],
) -> dict[str, str]:
    # Whoever is in this page holds what the page says, and no more what an earlier one said.
    holders = {key: claim.external_id for key, claim in claims.items() if claim.external_id not in standing}
    for one, key in found.items():
        if one in known or (key in claims and claims[key].external_id == one):
            holders.setdefault(key, one)
    for one, key in found.items():
        holder = holders.setdefault(key, one)
        if holder != one and one not in known:
            duplicates.append(Duplicate(standing.pop(one), one, "same_content", holder))
    return {one: key for one, key in found.items() if one in standing and holders[key] == one}


def _by_key(
    records: Sequence[R],
    standing: dict[str, int],
    found: Mapping[str, str],
    claims: Mapping[str, Claim],
    run: str,
    duplicates: list[Duplicate],
) -> dict[str, str]:
    # Whoever is in this page holds what the page says, and no more what an earlier one said.
    holders = {
        key: claim
        for key, claim in claims.items()
        if claim.external_id not in standing or found.get(claim.external_id) == key
    }
    here: dict[str, str] = {}
    for one, key in found.items():
        at = records[standing[one]].updated_at
        holder = holders.get(key)
        if holder is not None and not _takes_over(one, at, holder, run):
            duplicates.append(Duplicate(standing.pop(one), one, "same_key", holder.external_id))
            continue
        if key in here:
            duplicates.append(Duplicate(standing.pop(here[key]), here[key], "superseded", one))
        here[key] = one
        holders[key] = Claim(external_id=one, updated_at=at, run=run)
    return {one: key for key, one in here.items()}


def _takes_over(one: str, at: float | None, holder: Claim, run: str) -> bool:
    if one == holder.external_id:
        return True
    if at is not None and holder.updated_at is not None:
        return at > holder.updated_at
    return holder.run != run


def _value(data: JsonObject, name: str) -> Json:
    if name in data:
        return data[name]
    first, dot, rest = name.partition(".")
    inner = data.get(first)
    return _value(inner, rest) if dot and isinstance(inner, dict) else None


def _normal(value: Json) -> Json:
    """One form for what JSON calls equal: 1.0 is 1."""
    if isinstance(value, dict):
        return {name: _normal(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_normal(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _names(entity_rules: JsonObject, field_name: str) -> tuple[str, ...]:
    names = entity_rules.get(field_name, [])
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise _wrong(field_name, "must be a list of field names")
    return tuple(names)


def _wrong(path: str, text: str) -> Invalid:
    return Invalid(f"{path}: {text}", errors={path: text})
