"""Container groups: one container that runs once, somewhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from syncd.domain.secrets import Secret

GroupState = Literal["creating", "running", "succeeded", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSpec:
    """`name`: 1 to 63 lower-case letters, digits and '-'; whoever creates derives it, so that the same work has the same name."""

    name: str
    image: str
    cpu: float
    """Cores; at least 1 is understood everywhere."""
    memory_gb: float
    """Rounded up to tenths."""
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    """Environment variables that are never shown again."""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupInfo:
    name: str
    state: GroupState | None
    """None where a listing does not tell: `get` does."""
    tags: Mapping[str, str]
    exit_code: int | None = None
    restarts: int = 0
    """A platform may run a container again that failed, whatever was asked: its work has to bear that."""
    reason: str = ""
    """Why it failed or is not running yet, in the platform's words."""


class Containers(Protocol):
    """May raise Throttled (rates and quotas: come back after `retry_after`), Overloaded, Unavailable, TimedOut, ServerFault, and
    Rejected for what the platform will never run."""

    async def create(self, spec: GroupSpec) -> GroupInfo:
        """Returns when it is accepted, not when it runs. A name that exists is not run again: what is there is returned."""
        ...

    async def get(self, name: str) -> GroupInfo:
        """Raises NotFound."""
        ...

    async def list(self) -> list[GroupInfo]:
        """All that exist, finished ones too, also those that somebody else made in the same place."""
        ...

    async def logs(self, name: str, *, tail: int = 1000) -> str:
        """The last lines; platforms keep little once it has ended. Raises NotFound. Empty where there are none yet."""
        ...

    async def delete(self, name: str) -> bool:
        """False where there was none. Stops it where it runs; it may be listed for some seconds more."""
        ...
