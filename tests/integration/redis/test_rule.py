"""The script against the domain's rule and against a log of admissions. The time is the test's; everything else is real."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.ratelimit import Ledger
from syncd.domain.slidingwindow import LOG_PAIRS
from syncd.ports.limiter import Level
from syncd.testing.clock import FrozenClock
from tests.integration.redis.admissions import Admissions
from tests.integration.redis.limiters import opened
from tests.integration.redis.server import RedisServer

LEVELS = [Level("a", 3, 8.0), Level("b", 5, 2.0), Level("c", 1, 1.0), Level("d", 7, 16.0)]
eighths = st.integers(0, 40).map(lambda n: n / 8)
chosen = st.lists(st.sampled_from(LEVELS), min_size=1, max_size=4, unique=True)
steps = st.one_of(
    st.tuples(st.just("take"), chosen, st.integers(1, 3), st.booleans()),
    st.tuples(st.just("redeem"), st.integers(0, 30), st.sampled_from(["on time", "late", "early", "much too late"])),
    st.tuples(st.just("release"), st.integers(0, 30)),
    st.tuples(st.just("charge"), chosen, st.integers(0, 9)),
)


@dataclass(frozen=True)
class Held:
    booking: str
    reservation: str
    at: float
    levels: list[Level]
    cost: int


class Both:
    """A limiter and the domain's ledger, told the same: they must answer the same."""

    def __init__(self, server: RedisServer) -> None:
        self.now = 1_000_000.0
        self.clock = FrozenClock()
        self.life = 0
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        limiter = opened(server.url, clock=self.clock, tag="rule", fallback_share=0.0, time_source=lambda: self.now)
        self.limiter = self.runner.run(self.stack.enter_async_context(limiter))

    def close(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    def begin(self) -> None:
        """Keys and a ledger that nobody has used."""
        self.life += 1
        self.now += 1000
        self.ledger, self.log, self.held = Ledger(boot="t"), Admissions(), list[Held]()

    def renamed(self, levels: list[Level]) -> list[Level]:
        return [Level(f"{self.life}:{level.key}", level.limit, level.window) for level in levels]

    async def take(self, levels: list[Level], cost: int, reserve: bool, held: Held | None = None) -> None:
        if any(cost > level.limit for level in levels):
            return
        allowed, remaining, at, booking = self.ledger.take(
            self.now, levels, cost=cost, reserve=reserve, booking=held and held.booking
        )
        told = await self.limiter.take(
            self.renamed(levels), cost=cost, reserve=reserve, reservation=held and held.reservation
        )
        assert (told.allowed, told.remaining, told.queued) == (allowed, remaining, booking is not None)
        assert told.reset_at - self.clock.now() == pytest.approx(at - self.now, abs=1e-4)
        if allowed:
            self.log.add(self.now, levels, cost)
        elif booking is not None:
            assert told.reservation is not None
            self.held.append(Held(booking, told.reservation, at, levels, cost))

    async def redeem(self, index: int, moment: str) -> None:
        if self.held:
            held = self.held.pop(index % len(self.held))
            grace = min(5.0, *(level.window / 4 for level in held.levels))
            late = {"on time": 0.0, "late": grace, "early": -0.25, "much too late": grace + 0.5}[moment]
            self.now = max(self.now, held.at + late)
            await self.take(held.levels, held.cost, False, held)

    async def release(self, index: int) -> None:
        if self.held:
            held = self.held.pop(index % len(self.held))
            self.ledger.release(held.booking)
            await self.limiter.release(held.reservation)

    async def charge(self, levels: list[Level], cost: int) -> None:
        self.ledger.charge(self.now, levels, cost)
        await self.limiter.charge(self.renamed(levels), cost)


@pytest.fixture
def both(shared: RedisServer) -> Iterator[Both]:
    both = Both(shared)
    yield both
    both.close()


@given(st.lists(st.tuples(eighths, steps), max_size=60))
def test_the_script_decides_as_the_domains_rule_does(both: Both, story: list[tuple[float, tuple[Any, ...]]]) -> None:
    async def follow() -> None:
        for passed, (what, *arguments) in story:
            both.now += passed
            await getattr(both, what)(*arguments)

    both.begin()
    both.runner.run(follow())


def test_a_long_busy_life_with_bookings_never_exceeds_a_limit(both: Both) -> None:
    """Hypothesis finds short counter-examples; this finds those that need a crowd."""

    async def live(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(400):
            both.now += rng.choice((0, 0, 0, 0.125, 0.5, 2.0))
            if rng.random() < 0.6:
                await both.take(rng.sample(LEVELS, rng.randint(1, 3)), rng.choice((1, 1, 2, 3)), rng.random() < 0.7)
            elif rng.random() < 0.1:
                await both.release(rng.randint(0, 30))
            else:
                both.held.sort(key=lambda held: held.at)
                moment = rng.choice(("on time", "on time", "late", "early", "much too late"))
                await both.redeem(rng.choice((0, 0, 0, rng.randint(0, 30))), moment)

    for seed in range(12):
        both.begin()
        both.runner.run(live(seed))
        assert len(both.log.log) == 4
        for level in LEVELS:
            assert both.log.most(level) <= level.limit


def test_a_large_log_is_merged_takes_constant_memory_and_errs_only_towards_refusing(
    both: Both, shared: RedisServer
) -> None:
    level = Level("k", 9000, 64.0)

    # What was merged counts for one cell too long at most.
    wider = Level(level.key, level.limit, level.window * (1 + 1 / LOG_PAIRS))

    async def crowd() -> None:
        for n in range(4_000):
            # When the last thousand come, the window is full, and what was merged begins to leave it.
            both.now += 1 / 128 if n != 3000 else 64.0 - 1900 / 128
            cost = 3 if n < 3000 else 1 if n % 2 else 10
            if n == 3000:
                cost = level.limit - both.log.within(level, both.now) - 50
            if (await both.limiter.take([level], cost=cost)).allowed:
                both.log.add(both.now, [level], cost)
            else:
                assert both.log.within(wider, both.now) + cost > level.limit

    both.begin()
    both.runner.run(crowd())
    assert 8900 < both.log.most(level) <= 9000
    pairs = int(str(shared.run("LLEN", "{rule}:w:k:log"))) // 2
    assert pairs < len([at for at, _ in both.log.log["k"] if at > both.now - 64.0]) / 1.5
    assert pairs <= 2 * LOG_PAIRS
    assert int(str(shared.run("MEMORY", "USAGE", "{rule}:w:k:log"))) < 64 * 1024


def test_a_booked_crowd_is_planned_and_admitted_within_the_limit(both: Both) -> None:
    level = Level("crowd", 50, 60.0)

    async def crowd() -> None:
        for _ in range(50):
            await both.take([level], 1, False)
        for _ in range(400):
            await both.take([level], 1, True)
        for held in sorted(both.held, key=lambda held: held.at):
            both.now = held.at
            await both.take(held.levels, held.cost, False, held)

    both.begin()
    both.runner.run(crowd())
    assert both.log.total(level) == 450
    assert both.log.most(level) == 50
