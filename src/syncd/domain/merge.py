"""Three-way merge per field: what we hold, what the other side shows, and what both last agreed on.

For each field, the side that changed since `base` wins over the side that did not, whatever the rule. Where both changed it to
different values, the field's rule decides:

    last_write_wins  the later side; at one time the greater value as canonical JSON, which every replica breaks alike whatever
                     order it saw things in
    source_wins      the side that sends: `incoming`
    local_wins       what is stored; the other side is then owed it
    merge_fields     objects key by key, by these same three-way rules; lists as sets (added by either, removed by either), in the
                     order of the later side; anything else as last_write_wins. An object inside a list is one member: edited on
                     both sides it is there twice.
    manual           nobody: the stored value stays and neither side is told until a person decides

A field that is not there is `ABSENT`, which is no JSON value; null is one. In JSON forms an absent value is a key left out.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal

from syncd.domain.errors import Invalid
from syncd.domain.jsonbody import canonical, kind_of, same

if TYPE_CHECKING:
    from collections.abc import Hashable

    from syncd.domain.jsontypes import Json, JsonObject


class Rule(Enum):
    """Who wins a field that both sides changed."""

    LAST_WRITE_WINS = "last_write_wins"
    SOURCE_WINS = "source_wins"
    LOCAL_WINS = "local_wins"
    MERGE_FIELDS = "merge_fields"
    MANUAL = "manual"


_RULES = {rule.value: rule for rule in Rule}
_NAMES = ", ".join(_RULES)


class _Absent:
    """The field is not there; null is a value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<absent>"


ABSENT: Final = _Absent()

Taken = Literal["ours", "theirs", "merged", "open"]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rule of each field of one entity type of one connection."""

    default: Rule = Rule.LAST_WRITE_WINS
    fields: Mapping[str, Rule] = field(default_factory=dict)

    def of(self, name: str) -> Rule:
        return self.fields.get(name, self.default)

    @classmethod
    def of_connection(cls, entity_rules: JsonObject) -> Rules:
        """From a connection's `entities.<type>`: `conflict` is the name of a rule, or {"default": rule, "fields": {field: rule}};
        left out, last_write_wins. Raises Invalid, with paths below the given object."""
        conflict = entity_rules.get("conflict", _DEFAULT)
        if not isinstance(conflict, dict):
            return cls(_rule("conflict", conflict))
        fields = conflict.get("fields", {})
        unknown = sorted(conflict.keys() - {"default", "fields"})
        if unknown:
            raise _wrong(f"conflict.{unknown[0]}", "there is no such key; `default` and `fields` are")
        if not isinstance(fields, dict):
            raise _wrong("conflict.fields", f"must be an object of field: rule; it is {kind_of(fields)}")
        return cls(
            _rule("conflict.default", conflict.get("default", _DEFAULT)),
            {name: _rule(f"conflict.fields.{name}", rule) for name, rule in fields.items()},
        )


_DEFAULT = Rule.LAST_WRITE_WINS.value


def _rule(path: str, name: Json) -> Rule:
    found = _RULES.get(name) if isinstance(name, str) else None
    if found is None:
        raise _wrong(path, f"must be one of {_NAMES}")
    return found


def _wrong(path: str, text: str) -> Invalid:
    return Invalid(f"{path}: {text}", errors={path: text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What became of one field that both sides changed to different values. Any of the four values may be `ABSENT`."""

    field: str
    rule: Rule
    taken: Taken
    """`merged`: the result is neither side's. `open`: a person decides; `result` is what is stored until then."""
    base: Json
    ours: Json
    theirs: Json
    result: Json

    def as_json(self) -> JsonObject:
        """{field, rule, taken, base?, ours?, theirs?, result?}: a key is left out where the field was not there."""
        sides = {"base": self.base, "ours": self.ours, "theirs": self.theirs, "result": self.result}
        present = {name: value for name, value in sides.items() if value is not ABSENT}
        return {"field": self.field, "rule": self.rule.value, "taken": self.taken, **present}


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    data: JsonObject
    """Nobody's own copy: it may be `stored` itself, and shares values with both sides."""
    changed: bool = False
    """`data` is not what we held."""
    owed: frozenset[str] = frozenset()
    """Fields in which the other side must be told: `data` has there what it did not send. Not those that wait for a person."""
    resolutions: tuple[Resolution, ...] = ()
    """One for each field that both sides changed to different values."""


_LAST_WRITE_WINS = Rules()


def merge(
    *,
    base: JsonObject | None,
    stored: JsonObject,
    incoming: JsonObject,
    stored_at: float,
    incoming_at: float,
    partial: bool = False,
    rules: Rules = _LAST_WRITE_WINS,
    held: Container[str] = (),
) -> Merged:
    """Pure. `base` None: the sides never met, so every field that one has is a change of that side. `stored_at` and
    `incoming_at` say when each side became so, in Unix seconds. With `partial`, fields absent from `incoming` are as in `base`:
    they stay as stored, and nothing is owed for them.

    `held` names the fields with a conflict that a person has not decided yet. They stay as stored and are never owed; where the
    other side changed again, that is a further open resolution.
    """
    if same(stored, incoming):
        return Merged(data=stored)
    if base is None:
        base = {}
    data = dict(stored)
    changed = False
    owed: list[str] = []
    resolutions: list[Resolution] = []
    for name, ours, theirs in _differences(stored, incoming, partial):
        was = base.get(name, ABSENT)
        if name in held:
            if not same(theirs, was):
                resolutions.append(_resolution(name, Rule.MANUAL, was, ours, theirs, ours))
            continue
        if same(ours, was):
            winner = theirs
        elif same(theirs, was):
            winner = ours
        else:
            rule = rules.of(name)
            winner = ours if rule is Rule.MANUAL else _decide(rule, was, ours, theirs, stored_at, incoming_at)
            resolutions.append(_resolution(name, rule, was, ours, theirs, winner))
            if rule is Rule.MANUAL:
                continue
        if winner is ours:
            owed.append(name)
            continue
        changed = True
        if winner is ABSENT:
            del data[name]
        else:
            data[name] = winner
        if winner is not theirs:
            owed.append(name)
    return Merged(data=data, changed=changed, owed=frozenset(owed), resolutions=tuple(resolutions))


def _differences(stored: JsonObject, incoming: JsonObject, partial: bool) -> list[tuple[str, Json, Json]]:
    """(field, ours, theirs) in an order that depends on nothing but the arguments."""
    found: list[tuple[str, Json, Json]] = [
        (name, ours, theirs) for name, theirs in incoming.items() if not same(ours := stored.get(name, ABSENT), theirs)
    ]
    if not partial:
        found += [(name, ours, ABSENT) for name, ours in stored.items() if name not in incoming]
    return found


def _resolution(name: str, rule: Rule, was: Json, ours: Json, theirs: Json, result: Json) -> Resolution:
    taken: Taken = "merged"
    if rule is Rule.MANUAL:
        taken = "open"
    elif result is ours:
        taken = "ours"
    elif result is theirs:
        taken = "theirs"
    return Resolution(field=name, rule=rule, taken=taken, base=was, ours=ours, theirs=theirs, result=result)


def _decide(rule: Rule, was: Json, ours: Json, theirs: Json, stored_at: float, incoming_at: float) -> Json:
    """The winner of a field that both changed. It *is* one of the sides where it equals that side."""
    if rule is Rule.SOURCE_WINS:
        return theirs
    if rule is Rule.LOCAL_WINS:
        return ours
    later = _later(ours, theirs, stored_at, incoming_at)
    if rule is Rule.LAST_WRITE_WINS:
        return later
    if isinstance(ours, dict) and isinstance(theirs, dict):
        merged: Json = _merged_objects(was if isinstance(was, dict) else {}, ours, theirs, stored_at, incoming_at)
    elif isinstance(ours, list) and isinstance(theirs, list):
        earlier = ours if later is theirs else theirs
        merged = _merged_lists(was if isinstance(was, list) else [], later, earlier)
    else:
        return later
    if same(merged, ours):
        return ours
    return theirs if same(merged, theirs) else merged


def _later(ours: Json, theirs: Json, stored_at: float, incoming_at: float) -> Json:
    if stored_at != incoming_at:
        return theirs if incoming_at > stored_at else ours
    return max(ours, theirs, key=_weight)


def _weight(value: Json) -> str:
    return "" if value is ABSENT else canonical(value)


def _merged_objects(
    was: JsonObject, ours: JsonObject, theirs: JsonObject, stored_at: float, incoming_at: float
) -> JsonObject:
    data: JsonObject = {}
    for name in dict.fromkeys((*ours, *theirs)):
        before, mine, other = was.get(name, ABSENT), ours.get(name, ABSENT), theirs.get(name, ABSENT)
        if same(mine, other) or same(other, before):
            winner = mine
        elif same(mine, before):
            winner = other
        else:
            winner = _decide(Rule.MERGE_FIELDS, before, mine, other, stored_at, incoming_at)
        if winner is not ABSENT:
            data[name] = winner
    return data


def _merged_lists(was: list[Json], later: list[Json], earlier: list[Json]) -> list[Json]:
    before, leading = {_member(one) for one in was}, {_member(one) for one in later}
    following = {_member(one): one for one in earlier}
    kept = [one for one in later if (key := _member(one)) in following or key not in before]
    return kept + [one for key, one in following.items() if key not in leading and key not in before]


def _member(value: Json) -> Hashable:
    """Equal for two values exactly where they are the same JSON."""
    if isinstance(value, dict):
        return frozenset((name, _member(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return tuple(_member(inner) for inner in value)
    return (type(value) is bool, value)
