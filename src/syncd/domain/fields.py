"""What of an entity's content a connection can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """The fields of a type that a system accepts in writes. Two sides agree where these agree; the others are the system's own to
    say (a count, a link to its pages) and are never sent."""

    writable: frozenset[str] | None = None
    """None: every field that is not read-only."""
    read_only: frozenset[str] = frozenset()

    def holds(self, name: str) -> bool:
        return name not in self.read_only and (self.writable is None or name in self.writable)

    def of(self, data: JsonObject) -> JsonObject:
        """The part of `data` that can be sent."""
        if self.writable is None and not self.read_only:
            return data
        return {name: value for name, value in data.items() if self.holds(name)}


#: Every field can be sent.
ALL_FIELDS = Fields()
