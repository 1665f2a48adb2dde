"""One process that asks for as much as it can get, and says what it got and when.

    python -m tests.integration.redis.hammer URL TAG OFFSET SECONDS LIMIT WINDOW BLOCK

OFFSET: by how much its clocks are wrong, seconds. Prints `ready`, waits for a line, and then prints a JSON list of [sent, answered] for
each admitted unit, by the clock that all processes share (CLOCK_MONOTONIC).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from syncd.adapters.redis.limiter import RedisLimiter, open_redis_limiter
from syncd.ports.limiter import Level
from syncd.ports.observe import ignore
from tests.integration.redis.clocks import WrongClock

CALLERS = 8


async def caller(limiter: RedisLimiter, number: int, levels: list[Level], ends: float) -> list[tuple[float, float]]:
    """Every other caller books its turns."""
    got: list[tuple[float, float]] = []
    reservation = None
    while (sent := time.monotonic()) < ends:
        decision = await limiter.take(levels, reserve=number % 2 == 0, reservation=reservation)
        if decision.allowed:
            got.append((sent, time.monotonic()))
            reservation = None
        else:
            reservation = decision.reservation
            # Redis's own clock is what is tried here, and it cannot be moved.
            await asyncio.sleep(min(decision.retry_after, 0.02))
    return got


async def main(url: str, tag: str, offset: float, seconds: float, limit: int, window: float, block: int) -> None:
    levels = [Level("api:t1", limit, window), Level("api:t1:github", limit * 2, window)]
    async with open_redis_limiter(
        url=url, clock=WrongClock(offset), observe=ignore, tag=tag, fallback_share=0.0, block=block
    ) as limiter:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        ends = time.monotonic() + seconds
        got = await asyncio.gather(*(caller(limiter, number, levels, ends) for number in range(CALLERS)))
    sys.stdout.write(json.dumps([one for some in got for one in some]) + "\n")


if __name__ == "__main__":
    url, tag, *numbers = sys.argv[1:]
    offset, seconds, limit, window, block = map(float, numbers)
    asyncio.run(main(url, tag, offset, seconds, int(limit), window, int(block)))
