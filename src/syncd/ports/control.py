"""What HTTP and the command line may ask of the running daemon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from syncd.domain.jsontypes import JsonObject


@dataclass(frozen=True, slots=True)
class Component:
    name: str
    status: Literal["ok", "degraded", "failed"]
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    live: bool
    ready: bool
    phase: Literal["starting", "running", "draining"]
    version: str
    generation: int
    roles: tuple[str, ...]
    components: tuple[Component, ...]
    last_reload_error: str | None = None


class Control(Protocol):
    def health(self) -> Health: ...

    async def reload(self) -> JsonObject:
        """Build and take up the next generation. The diff: changed keys, those that need a restart, those shadowed by the
        process environment. Raises Invalid with every error found; nothing changed then."""
        ...

    def nudge(self, what: str) -> None:
        """A hint that there is work: `ticks`, `planner`. Coalesced; the periodic pass is the net."""
        ...

    def effective_settings(self) -> JsonObject:
        """Redacted, each value with where it came from."""
        ...
