"""What a reload changes, what it cannot change, and what the process environment hides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from syncd.domain.jsontypes import Json
from syncd.settings import catalogue
from syncd.settings.catalogue import Key, Path
from syncd.settings.loading import Loaded, Shadowed
from syncd.settings.root import Settings
from syncd.settings.sections.section import Section


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    key: str
    old: Json
    """Redacted; None where it was not set."""
    new: Json
    needs_restart: bool
    """The running process keeps the old value until it is started again."""


def values_of(settings: Settings) -> Iterator[tuple[Path, Json]]:
    """Every key that carries a value, children of mappings included, in the order of the models."""
    for section in catalogue.sections():
        model = getattr(settings, section)
        tables = {(section,): model} if isinstance(model, Section) else {(section, name): model[name] for name in model}
        for above, table in tables.items():
            for name in type(table).model_fields:
                value = getattr(table, name)
                path = (*above, name)
                if _is_mapping(path):
                    yield from (((*path, child), item) for child, item in value.items())
                else:
                    yield path, value


def _is_mapping(path: Path) -> bool:
    return not isinstance(catalogue.find(path), Key)


def diff(old: Settings, new: Settings) -> list[Change]:
    before, after = dict(values_of(old)), dict(values_of(new))
    changes = []
    for path in {**before, **after}:
        was, becomes = before.get(path), after.get(path)
        if was == becomes and (path in before) == (path in after):
            continue
        known = catalogue.find(path)
        changes.append(
            Change(
                key=".".join(path),
                old=catalogue.written(was),
                new=catalogue.written(becomes),
                needs_restart=isinstance(known, Key) and known.restart,
            )
        )
    return changes


def shadowed_changes(old: Loaded, new: Loaded) -> list[Shadowed]:
    """Keys that were edited in a file or env file without effect, because the process environment sets them."""
    return [
        item for item in new.shadowed if item.key not in old.beneath or old.beneath[item.key] != new.beneath[item.key]
    ]
