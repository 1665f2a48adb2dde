"""`python -m tests.benchmarks.limiter`: take()/s of the embedded limiter with three levels, through the async port.

Prints the median of repeats for three kinds of load: admitted (tenants with room), refused (a saturated tenant, no bookings)
and reserved (a crowd that books turns and redeems them).
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import time

from syncd.adapters.embedded.clock import SystemClock
from syncd.adapters.embedded.limiter import EmbeddedLimiter
from syncd.ports.limiter import Level
from syncd.testing.clock import FrozenClock

REPEATS = 5
TENANTS = 200


def levels(tenant: int, limit: int) -> tuple[Level, Level, Level]:
    """As the product asks: (tenant, integration), (tenant, integration, operation), tenant."""
    return (
        Level(f"tenant-{tenant}:github", limit),
        Level(f"tenant-{tenant}:github:push", limit),
        Level(f"tenant-{tenant}", limit),
    )


async def admitted(count: int = 200_000) -> float:
    limiter = EmbeddedLimiter(clock=SystemClock())
    asked = [levels(tenant, 5000) for tenant in range(TENANTS)]
    began = time.perf_counter()
    for n in range(count):
        decision = await limiter.take(asked[n % TENANTS])
        assert decision.allowed
    return count / (time.perf_counter() - began)


async def refused(count: int = 100_000) -> float:
    limiter = EmbeddedLimiter(clock=SystemClock())
    asked = [levels(tenant, 5) for tenant in range(TENANTS)]
    for each in asked:
        for _ in range(5):
            await limiter.take(each)
    began = time.perf_counter()
    for n in range(count):
        decision = await limiter.take(asked[n % TENANTS])
        assert not decision.allowed
    return count / (time.perf_counter() - began)


async def reserved(crowd: int = 5_000) -> float:
    """One tenant, 1,000 a minute, 5,000 callers that all book and come back at their turn."""
    clock = FrozenClock()
    limiter = EmbeddedLimiter(clock=clock)
    asked = levels(0, 1000)
    for _ in range(1000):
        await limiter.take(asked)
    began = time.perf_counter()
    turns = [await limiter.take(asked, reserve=True) for _ in range(crowd)]
    spent = time.perf_counter() - began
    for turn in sorted(turns, key=lambda turn: turn.reset_at):
        await clock.set(max(clock.now(), turn.reset_at))
        began = time.perf_counter()
        decision = await limiter.take(asked, reservation=turn.reservation)
        spent += time.perf_counter() - began
        assert decision.allowed
    return 2 * crowd / spent


async def main() -> None:
    results = {}
    for name, load in (("admitted", admitted), ("refused", refused), ("reserved", reserved)):
        rates = []
        for _ in range(REPEATS):
            gc.collect()
            rates.append(await load())
        results[name] = round(statistics.median(rates))
    print(
        json.dumps({"benchmark": "limiter, three levels, in process", "take_per_second": results, "repeats": REPEATS})
    )


if __name__ == "__main__":
    asyncio.run(main())
