"""The rate limiter: one decision over all levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Level:
    """At most `limit` units in any `window` seconds under `key`."""

    key: str
    limit: int
    window: float = 60.0


class Decision(NamedTuple):
    """A tuple, because it is made for every request: a frozen dataclass takes longer to make than to decide.

    `allowed`: every level was charged. Otherwise none was, and `retry_after` seconds is when it may be this caller's turn;
    with a `reservation` that turn is held: ask again with it at `reset_at`.
    """

    allowed: bool
    remaining: int
    """Units left in the tightest level."""
    reset_at: float
    """Unix seconds: when the tightest level frees its next unit."""
    retry_after: float = 0.0
    reservation: str | None = None

    @property
    def queued(self) -> bool:
        return not self.allowed and self.reservation is not None


class Limiter(Protocol):
    """Sliding windows, exact where small; approximations err only towards refusing (G8).

    `take` charges all levels or none. It is idempotent under re-send with the same `token`.
    """

    async def take(
        self,
        levels: Sequence[Level],
        *,
        cost: int = 1,
        reserve: bool = False,
        reservation: str | None = None,
        token: str | None = None,
    ) -> Decision:
        """With `reserve`, a refusal books the caller's own turn: units are set aside, so that a crowd is not told the same
        moment. `reservation` redeems one; a redeemed or lapsed one is an ordinary call."""
        ...

    async def charge(self, levels: Sequence[Level], cost: int) -> None:
        """Add points that became known after the response; may exceed the limit, and is then paid off by waiting."""
        ...

    async def release(self, reservation: str) -> None:
        """Give a reservation back. Unknown ones are ignored."""
        ...
