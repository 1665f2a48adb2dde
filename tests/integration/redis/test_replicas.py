"""Several processes at one limit, their clocks off by minutes; and blocks taken ahead."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from contextlib import AsyncExitStack

import pytest

from syncd.adapters.redis.checking import prepare_redis
from syncd.adapters.redis.leases import LEASE
from syncd.domain.adaptive import Adaptive, adapted
from syncd.ports.limiter import Level
from tests.integration.redis.admissions import Admissions
from tests.integration.redis.clocks import OwnTime
from tests.integration.redis.limiters import opened
from tests.integration.redis.server import RedisServer

LIMIT, WINDOW, SECONDS = 40, 0.5, 2.5


def most_at_once(admitted: list[tuple[float, float]], window: float) -> int:
    """The most that were certainly admitted in one window: each one somewhere between being sent and answered."""
    admitted = sorted(admitted)
    return max(
        sum(answered <= begins + window for sent, answered in admitted if sent >= begins) for begins, _ in admitted
    )


@pytest.mark.slow
@pytest.mark.parametrize("block", [0, 10], ids=["each unit asked for", "blocks taken ahead"])
async def test_five_processes_whose_clocks_disagree_never_get_more_than_the_limit_in_any_window(
    shared: RedisServer, block: int
) -> None:
    tag = f"hammered-{block}"
    await prepare_redis(url=shared.url, tag=tag)
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.integration.redis.hammer", shared.url, tag),
            *map(str, (offset, SECONDS, LIMIT, WINDOW, block)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for offset in (0.0, 600.0, -600.0, 3601.5, -86400.0)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    got = [[(sent, answered) for sent, answered in json.loads(answer)] for answer, _ in answers]
    everything = [one for some in got for one in some]
    assert most_at_once(everything, WINDOW) <= LIMIT
    took = max(answered for _, answered in everything) - min(sent for sent, _ in everything)
    assert len(everything) <= LIMIT * (took // WINDOW + 2)
    assert len(everything) > LIMIT, "nothing was admitted after the first window"
    assert len([some for some in got if some]) >= 3


@pytest.mark.parametrize("seed", range(5))
async def test_units_taken_ahead_are_counted_for_the_window_and_the_lease(shared: RedisServer, seed: int) -> None:
    """A unit may be spent at the end of its lease, so it counts from there."""
    rng, time, log = random.Random(seed), OwnTime(), Admissions()
    levels = [Level("api:t1:a", 60, 4.0), Level("api:t1", 100, 4.0)]
    async with AsyncExitStack() as stack:
        limiters = [
            await stack.enter_async_context(
                opened(
                    shared.url,
                    clock=time,
                    tag=f"ahead-{seed}",
                    fallback_share=0.0,
                    block=block,
                    time_source=time.monotonic,
                )
            )
            for block in (20, 20, 5, 0)
        ]
        for _ in range(1200):
            limiter = rng.choice(limiters)
            cost = rng.choice((1, 1, 1, 3))
            if (await limiter.take(levels, cost=cost)).allowed:
                log.add(time.elapsed, levels, cost)
            time.elapsed += rng.choice((0.0, 0.0, 0.01, 0.02, 0.3, LEASE * 0.99))
    for level in levels:
        assert log.most(level) <= level.limit
    assert log.most(levels[0]) > 30
    assert log.total(levels[0]) > 500


async def test_a_unit_spent_at_the_end_of_its_lease_is_in_no_window_with_more_than_the_limit(
    shared: RedisServer,
) -> None:
    time, log = OwnTime(), Admissions()
    level = Level("api:t1", 100, 4.0)
    async with (
        opened(shared.url, clock=time, tag="late", fallback_share=0.0, block=10, time_source=time.monotonic) as leasing,
        opened(shared.url, clock=time, tag="late", fallback_share=0.0, time_source=time.monotonic) as filler,
    ):
        for _ in range(12):
            assert (await leasing.take([level])).allowed
            log.add(time.elapsed, [level])
        assert leasing._leases is not None
        [stock] = leasing._leases._stocks.values()
        assert stock.units > 1, "nothing is left of the block"
        time.elapsed += LEASE * 0.99
        while stock.units:
            assert (await leasing.take([level])).allowed
            log.add(time.elapsed, [level])
        for passed in (3.005, 0.2, 0.7, 0.3):
            time.elapsed += passed
            while (await filler.take([level])).allowed:
                log.add(time.elapsed, [level])
    assert log.total(level) > 100
    assert log.most(level) <= 100


async def test_most_of_what_is_taken_ahead_needs_no_round_trip_and_nothing_idle_is_taken(shared: RedisServer) -> None:
    time = OwnTime()
    level = Level("api:t1", 10_000, 60.0)
    async with (
        opened(shared.url, clock=time, tag="few", fallback_share=0.0, block=100, time_source=time.monotonic) as leasing,
        opened(shared.url, clock=time, tag="few", fallback_share=0.0, time_source=time.monotonic) as exact,
    ):
        before = leasing._calls
        decisions = await asyncio.gather(*(leasing.take([level]) for _ in range(1000)))
        assert all(decision.allowed for decision in decisions)
        assert leasing._calls - before < 60
        wasted = 9_000 - (await exact.take([level])).remaining - 1
        assert 0 <= wasted <= 101
        for _ in range(20):
            time.elapsed += 2.0
            await leasing.take([level])
        assert 10_000 - 1000 - wasted - 22 - (await exact.take([level])).remaining <= 110


async def test_a_crowd_at_an_empty_block_hears_each_of_its_own_turn(shared: RedisServer) -> None:
    time = OwnTime()
    level = Level("api:t1", 30, 60.0)
    async with opened(shared.url, clock=time, fallback_share=0.0, block=10, time_source=time.monotonic) as limiter:
        decisions = await asyncio.gather(*(limiter.take([level], reserve=True) for _ in range(50)))
        assert sum(decision.allowed for decision in decisions) == 30
        turns = [decision for decision in decisions if not decision.allowed]
        assert all(turn.queued for turn in turns)
        assert len({turn.reservation for turn in turns}) == len({turn.reset_at for turn in turns}) == 20
        for turn in sorted(turns, key=lambda turn: turn.reset_at):
            time.elapsed += max(0.0, turn.reset_at - time.now())
            assert (await limiter.take([level], reservation=turn.reservation)).allowed


async def test_a_pace_that_a_provider_asks_for_is_kept_by_all_replicas_and_taken_back(shared: RedisServer) -> None:
    time, adaptive = OwnTime(), Adaptive()

    def paced() -> list[Level]:
        return [Level("api:t1:github", adapted(40, adaptive.factor("t1", "github")), 60.0), Level("api:t1", 1000, 60.0)]

    async with (
        opened(shared.url, clock=time, tag="paced", fallback_share=0.0, time_source=time.monotonic) as one,
        opened(shared.url, clock=time, tag="paced", fallback_share=0.0, time_source=time.monotonic) as two,
    ):
        assert all([(await one.take(paced())).allowed for _ in range(10)])
        assert adaptive.saw("t1", "github", 0.95)
        assert sum([(await limiter.take(paced())).allowed for _ in range(20) for limiter in (one, two)]) == 10
        assert adaptive.saw("t1", "github", 0.8)
        assert sum([(await limiter.take(paced())).allowed for _ in range(20) for limiter in (one, two)]) == 10
        assert adaptive.saw("t1", "github", 0.1)
        assert sum([(await limiter.take(paced())).allowed for _ in range(20) for limiter in (one, two)]) == 10
