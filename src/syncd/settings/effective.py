"""What is in force and where it came from: for `config show`, the dashboard and the API. Secrets are never in it."""

from __future__ import annotations

from dataclasses import dataclass

from syncd.domain.jsontypes import Json, JsonObject
from syncd.settings import catalogue
from syncd.settings.catalogue import Key
from syncd.settings.changes import values_of
from syncd.settings.errors import DEFAULT
from syncd.settings.loading import Loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    key: str
    value: Json
    """Redacted: a secret is `***`, one that the vault still holds is `vault:name`."""
    source: str
    unit: str


def effective(loaded: Loaded) -> list[Row]:
    rows = []
    for path, value in values_of(loaded.settings):
        dotted = ".".join(path)
        known = catalogue.find(path)
        waiting = loaded.pending.get(dotted)
        rows.append(
            Row(
                key=dotted,
                value=f"vault:{waiting}" if waiting else catalogue.written(value),
                source=str(loaded.sources.get(dotted, DEFAULT)),
                unit=known.unit if isinstance(known, Key) else "",
            )
        )
    return rows


def effective_json(loaded: Loaded) -> JsonObject:
    """`{key: {value, source}}`."""
    return {row.key: {"value": row.value, "source": row.source} for row in effective(loaded)}
