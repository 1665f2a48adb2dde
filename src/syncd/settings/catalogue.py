"""Every key that exists, read from the models: its default, unit, meaning, what is allowed, and its environment name.

A key is a path: `("http", "port")`, `("queues", "sync-inbound", "max_receivers")`, `("aci", "environment", "FOO")`. Written, it is
joined by dots. The models are the only place where keys are declared; everything else asks here.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path as FilePath
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from syncd.domain.jsontypes import Json
from syncd.domain.secrets import Secret
from syncd.settings.root import Settings
from syncd.settings.sections.jobs import JOBS
from syncd.settings.sections.queues import QUEUES
from syncd.settings.sections.section import Section
from syncd.settings.values import Form

Path = tuple[str, ...]

#: Sections of sections: the names that exist, None where any name may.
NAMED: dict[str, Mapping[str, Mapping[str, object]] | None] = {"queues": QUEUES, "jobs": JOBS, "providers": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    path: Path
    meaning: str
    default: Json
    unit: str
    allowed: str
    secret: bool
    restart: bool
    early: bool
    later: bool
    mapping: bool
    """A table of free names: its children are the keys that carry values."""

    @property
    def dotted(self) -> str:
        return ".".join(self.path)

    @property
    def environment_name(self) -> str:
        return environment_name(self.path)


@dataclass(frozen=True, slots=True)
class Table:
    """Not a value: `names` may follow; None: any name."""

    names: tuple[str, ...] | None
    open: bool = field(default=False)


def environment_name(path: Path) -> str:
    return "SYNCD_" + "__".join(part.replace("-", "_").upper() for part in path)


def _unwrapped(annotation: Json, metadata: Iterable[Json]) -> tuple[Json, list[Json]]:
    """The type without Annotated and None, and all its metadata, outermost first."""
    found = list(metadata)
    while True:
        origin: Json = get_origin(annotation)
        if origin is Annotated:
            annotation, *more = get_args(annotation)
            found += more
        elif origin in {Union, types.UnionType}:
            inner = [argument for argument in get_args(annotation) if argument is not type(None)]
            if len(inner) != 1:
                return annotation, found
            annotation = inner[0]
        else:
            return annotation, found


def _bounds(metadata: Iterable[Json]) -> str:
    least = next((mark.ge for mark in metadata if hasattr(mark, "ge")), None)
    most = next((mark.le for mark in metadata if hasattr(mark, "le")), None)
    if least is not None and most is not None:
        return f", from {least:.12g} to {most:.12g}"
    if least is not None:
        return f", at least {least:.12g}"
    return f", at most {most:.12g}" if most is not None else ""


def _allowed(annotation: Json, metadata: list[Json], extra: Mapping[str, Json]) -> str:
    if extra.get("allowed"):
        return str(extra["allowed"])
    bounds = _bounds(metadata)
    if bounds and extra.get("unit") in {"s", "bytes"}:
        bounds += " s" if extra["unit"] == "s" else " bytes"
    words = next((mark.words for mark in reversed(metadata) if isinstance(mark, Form)), None)
    origin: Json = get_origin(annotation)
    if origin is Literal:
        words = "one of: " + ", ".join(str(choice) for choice in get_args(annotation))
    return (words or "a value of another type") + bounds


def _is_mapping(annotation: Json) -> bool:
    origin: Json = get_origin(annotation)
    return origin is Mapping


def _is_secret(annotation: Json) -> bool:
    if annotation is Secret:
        return True
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return any(_is_secret(_unwrapped(info.annotation, [])[0]) for info in annotation.model_fields.values())
    return any(_is_secret(_unwrapped(argument, [])[0]) for argument in get_args(annotation))


def _key(path: Path, info: FieldInfo, default: Json) -> Key:
    annotation, metadata = _unwrapped(info.annotation, info.metadata)
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    return Key(
        path=path,
        meaning=info.description or "",
        default=default,
        unit=str(extra.get("unit", "")),
        allowed=_allowed(annotation, metadata, extra),
        secret=_is_secret(annotation),
        restart=bool(extra.get("restart")),
        early=bool(extra.get("early")),
        later=bool(extra.get("later")),
        mapping=_is_mapping(annotation),
    )


def _model_of(section: str) -> type[Section]:
    annotation, _ = _unwrapped(Settings.model_fields[section].annotation, [])
    if _is_mapping(annotation):
        annotation = get_args(annotation)[1]
    assert isinstance(annotation, type)
    assert issubclass(annotation, Section)
    return annotation


@cache
def sections() -> tuple[str, ...]:
    return tuple(Settings.model_fields)


@cache
def fields_of(section: str) -> dict[str, FieldInfo]:
    return dict(_model_of(section).model_fields)


@cache
def keys() -> dict[Path, Key]:
    """Every key with a fixed name; `providers.<name>.*` stands for any provider, and a mapping for its children."""
    found: dict[Path, Key] = {}
    for section in sections():
        names = NAMED.get(section, {})
        for name in names if names is not None else ("<name>",):
            for field_name, info in fields_of(section).items():
                default = (names or {}).get(name, {}).get(field_name, info.default)
                path = (section, name, field_name)
                found[path] = _key(path, info, default)
        if section not in NAMED:
            for field_name, info in fields_of(section).items():
                found[section, field_name] = _key((section, field_name), info, info.default)
    return found


def find(path: Path) -> Key | Table | None:
    """What stands at a path: a key, a table that holds keys, or nothing."""
    if not path:
        return Table(sections())
    if path in keys():
        key = keys()[path]
        return Table(None, open=True) if key.mapping else key
    section = path[0]
    if section not in sections():
        return None
    if len(path) == 1:
        names = NAMED.get(section, ())
        return Table(tuple(fields_of(section)) if names == () else None if names is None else tuple(names))
    if section in NAMED:
        return _find_named(path)
    mapping = keys().get(path[:2])
    return _child(mapping, path) if mapping is not None and mapping.mapping and len(path) == 3 else None


def _find_named(path: Path) -> Key | Table | None:
    names = NAMED[path[0]]
    if names is not None and path[1] not in names:
        return None
    if len(path) == 2:
        return Table(tuple(fields_of(path[0])))
    generic = keys().get((path[0], "<name>", *path[2:]))
    return _child(generic, path) if generic is not None else None


def _child(key: Key, path: Path) -> Key:
    return Key(
        path=path,
        meaning=key.meaning,
        default=None,
        unit=key.unit,
        allowed=key.allowed,
        secret=key.secret,
        restart=key.restart,
        early=key.early,
        later=key.later,
        mapping=False,
    )


def nearest(path: Path) -> str | None:
    """The known key that was most likely meant."""
    parent = find(path[:-1])
    if isinstance(parent, Table) and parent.names:
        close = difflib.get_close_matches(path[-1].lower(), parent.names, 1, 0.6)
        if close:
            return ".".join((*path[:-1], close[0]))
    dotted = {".".join(known): known for known in keys()}
    same_name = [text for text, known in dotted.items() if known[-1] == path[-1].lower()]
    return next(iter(difflib.get_close_matches(".".join(path).lower(), same_name or list(dotted), 1, 0.4)), None)


@cache
def _environment_names() -> dict[str, Path]:
    return {environment_name(path): path for path in keys() if "<name>" not in path}


def nearest_environment_name(name: str) -> str | None:
    return next(iter(difflib.get_close_matches(name.upper(), list(_environment_names()), 1, 0.6)), None)


def path_of_environment_name(name: str) -> Path | None:
    """The key that a `SYNCD_<SECTION>__<KEY>` name means, None where there is none. Names of `-` are written with `_`."""
    known = _environment_names().get(name)
    if known is not None:
        return known
    section, *rest = name.removeprefix("SYNCD_").split("__")
    section = section.lower()
    if not all(rest):
        return None
    if section == "providers" and len(rest) == 2:
        path: Path = (section, rest[0].lower(), rest[1].lower())
    elif len(rest) == 2:
        child = rest[1] if section == "aci" else rest[1].lower().replace("_", "-")
        path = (section, rest[0].lower(), child)
    else:
        return None
    return path if isinstance(find(path), Key) else None


def written(value: Json) -> Json:
    """A value as people read it: paths and tuples as text and lists, secrets never."""
    if isinstance(value, Secret):
        return "***"
    if isinstance(value, FilePath):
        return str(value)
    if isinstance(value, Section):
        return {name: written(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {name: written(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [written(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
