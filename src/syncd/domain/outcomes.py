"""The closed set of ways in which a unit of work can end. One executor turns them into queue calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from syncd.domain.errors import Bin


@dataclass(frozen=True, slots=True)
class Done:
    """The effects are durable; the message is completed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Continue:
    """A slice is over and progress is durable. Same origin, next hop, no attempt counted, `expiresAt` renewed."""

    body: bytes | None = None
    """A new body for the next hop; None keeps the old one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """It failed and may succeed later. Counts an attempt."""

    after: float
    """Seconds."""
    reason: str
    label: str = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snooze:
    """It was not its turn. Counts no attempt."""

    until: float
    """Unix seconds."""
    reason: str
    reservation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """Set aside as a document, for a person or a later replay. Never lost, never tried again by itself."""

    bin: Bin
    reason: str


Outcome = Done | Continue | Retry | Snooze | Park
DONE = Done()
