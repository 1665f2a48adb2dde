"""Clocks for limiters over a real Redis."""

from __future__ import annotations

import asyncio
import time


class OwnTime:
    """The test owns the time; whoever sleeps (between attempts to connect, between beats) comes back at once, as often as need be."""

    def __init__(self) -> None:
        self.elapsed = 1_000_000.0

    def now(self) -> float:
        return 1_700_000_000.0 + self.elapsed

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))  # what is slept for is Redis, which is real


class WrongClock:
    """The machine's time, `off` by so many seconds."""

    def __init__(self, off: float) -> None:
        self._off = off

    def now(self) -> float:
        return time.time() + self._off

    def monotonic(self) -> float:
        return time.monotonic() + self._off

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # a clock of real time
