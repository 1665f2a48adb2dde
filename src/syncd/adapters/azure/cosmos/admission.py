"""How many requests may be in flight. Halved when the service throttles, one more for every round that it does not.

Retries that pile up make a throttled service slower for everybody: instead of them, whoever comes waits for a place, and all
places wait out what the service asked for (additive increase, multiplicative decrease, as TCP does).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from syncd.domain.errors import Overloaded, Throttled
from syncd.ports.clock import Clock


class Admission:
    """`most`: requests in flight when all is well; `waiting`: callers that may wait for a place, each at most `turn` seconds."""

    def __init__(self, *, clock: Clock, most: int, waiting: int, turn: float) -> None:
        self._clock = clock
        self._most = most
        self._limit = float(most)
        self._queue: deque[asyncio.Future[None]] = deque()
        self._waiting = waiting
        self._turn_limit = turn
        self._resume = 0.0
        self.in_flight = 0

    @property
    def limit(self) -> int:
        return int(self._limit)

    @asynccontextmanager
    async def place(self, deadline: float) -> AsyncIterator[None]:
        """Raises Overloaded where too many wait, or none gets done, and Throttled where the service wants a pause beyond `deadline`, which is
        a time of the monotonic clock."""
        if self.in_flight < self.limit and not self._queue:
            self.in_flight += 1
        else:
            await self._turn()
        try:
            await self._pause(deadline)
            yield
        finally:
            self.in_flight -= 1
            self._admit()

    def throttled(self, retry_after: float) -> None:
        """The service refused. One burst of refusals counts once."""
        now = self._clock.monotonic()
        if now >= self._resume:
            self._limit = max(1.0, self._limit / 2)
        self._resume = max(self._resume, now + retry_after)

    def answered(self) -> None:
        self._limit = min(float(self._most), self._limit + 1 / self._limit)

    async def _pause(self, deadline: float) -> None:
        now = self._clock.monotonic()
        left = self._resume - now
        if left > 0 and now + left > deadline:
            raise Throttled(f"Cosmos DB is throttling; it wants {left:.3g} s of pause", retry_after=left)
        if left > 0:
            await self._clock.sleep(left)

    async def _turn(self) -> None:
        if len(self._queue) >= self._waiting:
            raise Overloaded(f"{len(self._queue)} requests wait for Cosmos DB already", retry_after=1.0)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        try:
            async with asyncio.timeout(self._turn_limit):
                await place
        except (asyncio.CancelledError, TimeoutError) as error:
            if place.done() and not place.cancelled():
                self.in_flight -= 1  # given the place at the moment of giving up
                self._admit()
            if isinstance(error, TimeoutError):
                raise Overloaded(
                    f"{self.in_flight} requests to Cosmos DB are under way, and none was done within {self._turn_limit:g} s",
                    retry_after=1.0,
                ) from error
            raise

    def _admit(self) -> None:
        while self._queue and self.in_flight < self.limit:
            place = self._queue.popleft()
            if not place.done():
                self.in_flight += 1
                place.set_result(None)
