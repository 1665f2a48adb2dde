"""A clock that moves only when a test says so."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

#: Turns of the event loop given to what was woken, so that a chain of tasks (sleeper, queue, consumer) comes to rest.
_TURNS = 25


class FrozenClock:
    """Implements the port `Clock`. Sleepers wake in the order of their deadlines, each at exactly its own time."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._origin = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None], bool]] = []
        self._order = count()

    def now(self) -> float:
        return self._origin + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float, *, beside: bool = False) -> None:
        """`beside`: the sleeper is no part of what is tested, and not counted by `sleeping`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), woken, beside))
        await woken

    @property
    def sleeping(self) -> int:
        """How many wait for this clock now."""
        return sum(not woken.done() and not beside for _, _, woken, beside in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass. Who wakes on the way may sleep again and wakes again when that ends in time too."""
        if seconds < 0:
            raise ValueError("time does not run backwards; step_wall() moves the wall clock alone")
        await settled()
        target = self._elapsed + seconds
        while self._sleepers and self._sleepers[0][0] <= target:
            deadline, _, woken, _ = heapq.heappop(self._sleepers)
            self._elapsed = max(self._elapsed, deadline)
            if not woken.done():
                woken.set_result(None)
                await settled()
        self._elapsed = target
        await settled()

    async def set(self, now: float) -> None:
        """Let time pass until the wall clock shows `now`."""
        await self.advance(now - self.now())

    def step_wall(self, seconds: float) -> None:
        """Move what `now()` shows, either way, without any time passing: somebody set the clock."""
        self._origin += seconds

    def stall(self, seconds: float) -> None:
        """Let time pass with nobody woken, as when a handler blocks the loop; sleepers wake late at the next `advance`."""
        self._elapsed += seconds


async def settled() -> None:
    """Let every task that can run do so, as far as it gets without waiting for time or another thread."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
