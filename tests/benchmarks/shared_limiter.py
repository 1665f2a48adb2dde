"""`python -m tests.benchmarks.shared_limiter`: take()/s of the limiter that replicas share, three levels, 64 callers at once.

Beside it, on the same private redis-server in the same rounds: redis-py with 64 callers that each send one EVALSHA of an empty
script, as a limiter that does nothing would.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis

from syncd.adapters.embedded.clock import SystemClock
from syncd.ports.limiter import Limiter
from tests.benchmarks.limiter import levels
from tests.integration.redis.limiters import opened
from tests.integration.redis.server import redis_server

CALLERS = 64
COUNT = 5_000
REPEATS = 5
TENANTS = 200
#: Units that a replica takes ahead at most.
BLOCK = 100


async def rate(call: Callable[[int], Awaitable[Any]], count: int = COUNT) -> float:
    async def caller(first: int) -> None:
        for n in range(first, count, CALLERS):
            await call(n)

    began = time.perf_counter()
    await asyncio.gather(*(caller(first) for first in range(CALLERS)))
    return count / (time.perf_counter() - began)


def taking(limiter: Limiter, limit: int) -> Callable[[int], Awaitable[Any]]:
    asked = [levels(tenant, limit) for tenant in range(TENANTS)]

    async def take(n: int) -> None:
        assert (await limiter.take(asked[n % TENANTS])).allowed

    return take


async def measure() -> dict[str, float]:
    """Medians per second of `empty`, `take` and `leased`, and the ratios."""
    found: dict[str, list[float]] = {"empty": [], "take": [], "leased": []}
    with redis_server() as server:
        async with (
            Redis.from_url(server.url) as client,
            opened(server.url, clock=SystemClock()) as limiter,
            opened(server.url, clock=SystemClock(), block=BLOCK) as leasing,
        ):
            sha = await client.script_load("return 1")
            for _ in range(REPEATS):
                found["empty"].append(await rate(lambda _: client.evalsha(sha, 0)))
                found["take"].append(await rate(taking(limiter, 1_000_000)))
                found["leased"].append(await rate(taking(leasing, 1_000_000), 10 * COUNT))
    figures = {name: statistics.median(rates) for name, rates in found.items()}
    return {
        **figures,
        "take ratio": figures["take"] / figures["empty"],
        "leased ratio": figures["leased"] / figures["empty"],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure())))
