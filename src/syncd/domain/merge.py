"""Three-way merge per field: what we hold, what the other side shows, and what both last agreed on.

For each field, the side that changed since `base` wins over the side that did not. Where both changed it differently, the rule
decides; `last_write_wins` takes the later side, and at equal times the greater value as canonical JSON, which every replica
breaks alike whatever order it saw things in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from syncd.domain.jsonbody import canonical, same

if TYPE_CHECKING:
    from syncd.domain.jsontypes import Json, JsonObject


class Rule(Enum):
    """Who wins a field that both sides changed."""

    LAST_WRITE_WINS = "last_write_wins"


class _Absent:
    """The field is not there; null is a value."""

    def __repr__(self) -> str:
        return "<absent>"


_ABSENT = _Absent()


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    data: JsonObject
    changed: bool
    """`data` is not what we held."""
    differs: bool
    """`data` is not what the other side sent: it is owed a push."""
    conflicts: tuple[str, ...] = ()
    """Fields that both sides changed to different values."""


def merge(
    *,
    base: JsonObject | None,
    stored: JsonObject,
    incoming: JsonObject,
    stored_at: float,
    incoming_at: float,
    partial: bool = False,
    rule: Rule = Rule.LAST_WRITE_WINS,
) -> Merged:
    """Pure. `base` None: the sides never met, so every field that one has is a change of that side. `stored_at` and
    `incoming_at` say when each side became so, in Unix seconds. With `partial`, fields absent from `incoming` are as in `base`.
    """
    base = base or {}
    data: JsonObject = {}
    conflicts: list[str] = []
    changed = differs = False
    # Our order of fields first: a document that did not change reads the same.
    for name in dict.fromkeys((*stored, *incoming, *base)):
        was, ours = base.get(name, _ABSENT), stored.get(name, _ABSENT)
        silent = partial and name not in incoming
        theirs = was if silent else incoming.get(name, _ABSENT)
        winner = ours
        if not _equal(ours, theirs):
            if _equal(ours, was):
                winner = theirs
            elif not _equal(theirs, was):
                conflicts.append(name)
                winner = _decide(rule, ours, theirs, stored_at, incoming_at)
            changed = changed or not _equal(winner, ours)
            differs = differs or not (silent or _equal(winner, theirs))
        if winner is not _ABSENT:
            data[name] = winner
    return Merged(data=data, changed=changed, differs=differs, conflicts=tuple(conflicts))


def _equal(left: Json | _Absent, right: Json | _Absent) -> bool:
    if left is _ABSENT or right is _ABSENT:
        return left is right
    return same(left, right)


def _decide(rule: Rule, ours: Json, theirs: Json, stored_at: float, incoming_at: float) -> Json:
    assert rule is Rule.LAST_WRITE_WINS
    if stored_at != incoming_at:
        return theirs if incoming_at > stored_at else ours
    return max(ours, theirs, key=_weight)


def _weight(value: Json | _Absent) -> str:
    return "" if value is _ABSENT else canonical(value)
