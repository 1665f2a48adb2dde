"""What differs between two states of a content, field by field, as a person is shown it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.jsonbody import canonical
from syncd.domain.records import changed_fields

if TYPE_CHECKING:
    from syncd.domain.jsontypes import Json, JsonObject

#: Characters of JSON of a value that are shown; a longer one is shown by its beginning.
SHOWN = 2000


def diff(before: JsonObject, after: JsonObject) -> list[JsonObject]:
    """[{field, before?, after?}] in the order of names; a side is left out where the field was not there."""
    changes: list[JsonObject] = []
    for name in sorted(changed_fields(before, after)):
        sides = {"before": before, "after": after}
        changes.append({"field": name, **{side: brief(data[name]) for side, data in sides.items() if name in data}})
    return changes


def brief(value: Json) -> Json:
    """The value, or where it is long the beginning of its JSON with its length."""
    text = canonical(value)
    return value if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"
