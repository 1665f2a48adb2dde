"""Time, injected everywhere so that tests own it."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds. Never goes backwards within a process: see `adapters/embedded/clock.py`."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        ...

    async def sleep(self, seconds: float) -> None: ...
