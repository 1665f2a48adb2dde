"""Where something stands inside a JSON value: `data.items`, `emails.0.address`.

A name that holds a dot itself is written with the path as a list: `["data", "a.b"]`. A number is a position where the value is a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from syncd.domain.jsontypes import Json, JsonObject

#: The names on the way. Empty: the value itself.
Path = tuple[str, ...]


class _Absent:
    """Nothing is there; null is a value."""

    def __repr__(self) -> str:
        return "<absent>"


ABSENT: Final = _Absent()


def path_of(value: Json) -> Path:
    """Raises ValueError where it is neither a dotted text nor a list of names."""
    if isinstance(value, str):
        parts = tuple(value.split("."))
    elif isinstance(value, list) and all(isinstance(part, str) for part in value):
        parts = tuple(value)
    else:
        raise ValueError("must be a dotted path, such as data.items, or a list of names")
    if not parts or not all(parts) or len(parts) > 16:
        raise ValueError("must be a dotted path of 1 to 16 names, none of them empty")
    return parts


def shown(path: Path) -> str:
    return ".".join(path) or "the body"


def getter(path: Path) -> Callable[[Json], Json]:
    """Reads what stands there; ABSENT where something on the way is not there or is neither object nor list."""
    if len(path) == 1:
        [only] = path

        def at_once(value: Json) -> Json:
            return value.get(only, ABSENT) if type(value) is dict else _step(value, only)

        return at_once

    def stepwise(value: Json) -> Json:
        for name in path:
            value = value.get(name, ABSENT) if type(value) is dict else _step(value, name)
            if value is ABSENT:
                return ABSENT
        return value

    return stepwise


def _step(value: Json, name: str) -> Json:
    if isinstance(value, list) and name.isascii() and name.isdigit() and len(name) < 7:
        position = int(name)
        return value[position] if position < len(value) else ABSENT
    return ABSENT


def nested(values: Mapping[Path, Json]) -> JsonObject:
    """One object that holds each value at its path. Of two paths where one leads through the other, the later wins."""
    found: JsonObject = {}
    for path, value in values.items():
        inner = found
        for name in path[:-1]:
            following = inner.get(name)
            if not isinstance(following, dict):
                following = inner[name] = {}
            inner = following
        inner[path[-1]] = value
    return found


def without(value: JsonObject, path: Path) -> JsonObject:
    """A copy, as deep as the path goes, that holds nothing there. The value itself where it holds nothing there anyway."""
    name, rest = path[0], path[1:]
    if name not in value:
        return value
    if not rest:
        return {key: inner for key, inner in value.items() if key != name}
    inner = value[name]
    if not isinstance(inner, dict):
        return value
    return {**value, name: without(inner, rest)}
