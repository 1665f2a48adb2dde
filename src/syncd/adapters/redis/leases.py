"""Units taken ahead in blocks, so that most decisions need no round trip.

A block is taken from Redis at one moment and handed out here for at most `LEASE` seconds after; Redis counts it from then on for the
window *and* the lease, so wherever in the lease a unit is spent, no window sees more than the limit. The price: what is not handed
out is lost until it leaves the window, and each unit counts a second longer. So blocks begin small and grow with use, and none is
more than a tenth of the tightest limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from syncd.ports.clock import Clock
from syncd.ports.limiter import Decision, Level

#: The script counts with this figure after Redis has lost its memory (`LEASE` in decide.lua). Seconds.
LEASE = 1.0
#: Sets of levels with a block; beyond it those whose lease is over are forgotten.
_MOST = 10_000

#: Asks Redis for at least what was wanted and at most so many units: the decision, and how many there were.
Ask = Callable[[int], Awaitable[tuple[Decision, int]]]


@dataclass(slots=True)
class _Stock:
    units: int = 0
    until: float = 0.0
    spent: int = 0
    """Of this block."""
    waiting: int = 0
    """Units that callers wait for while somebody asks."""
    decision: Decision | None = None
    asking: asyncio.Future[bool] | None = None


class Leases:
    def __init__(self, *, block: int, clock: Clock) -> None:
        self._block = block
        self._clock = clock
        self._stocks: dict[tuple[Level, ...], _Stock] = {}

    async def take(self, levels: tuple[Level, ...], cost: int, ask: Ask) -> Decision:
        stock = self._stocks.get(levels) or self._opened(levels)
        while True:
            if stock.decision is not None and stock.units >= cost and self._clock.monotonic() < stock.until:
                stock.units -= cost
                stock.spent += cost
                return stock.decision._replace(remaining=stock.decision.remaining + stock.units)
            if stock.asking is None:
                return await self._refill(stock, levels, cost, ask)
            stock.waiting += cost
            try:
                admitted = await asyncio.shield(stock.asking)
            finally:
                stock.waiting -= cost
            if not admitted:
                return (await ask(0))[0]  # each hears of its own turn

    async def _refill(self, stock: _Stock, levels: tuple[Level, ...], cost: int, ask: Ask) -> Decision:
        now = self._clock.monotonic()
        # Twice what was spent if the block was used up before its time; else what a lease had use for, or those who wait.
        wanted = max(stock.waiting, stock.spent * 2 if now < stock.until else stock.spent)
        most = max(1, min(self._block, min(level.limit for level in levels) // 10))
        asking = stock.asking = asyncio.get_running_loop().create_future()
        admitted = False
        try:
            decision, granted = await ask(cost + min(wanted, most))
            if decision.allowed:
                stock.units, stock.spent, stock.until, stock.decision = granted - cost, cost, now + LEASE, decision
                admitted = True
                decision = decision._replace(remaining=decision.remaining + stock.units)
            return decision
        finally:
            stock.asking = None
            asking.set_result(admitted)

    def _opened(self, levels: tuple[Level, ...]) -> _Stock:
        if len(self._stocks) >= _MOST:
            now = self._clock.monotonic()
            self._stocks = {
                key: stock for key, stock in self._stocks.items() if stock.asking is not None or stock.until > now
            }
        return self._stocks.setdefault(levels, _Stock())
