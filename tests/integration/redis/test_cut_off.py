"""A replica without Redis, and one whose Redis has forgotten. The time is the test's, Redis and the sockets are real."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from syncd.adapters.redis.limiter import RedisLimiter
from syncd.domain.errors import Invalid
from syncd.ports.limiter import Level
from tests.integration.redis.admissions import Admissions
from tests.integration.redis.clocks import OwnTime, WrongClock
from tests.integration.redis.events import Events
from tests.integration.redis.limiters import opened
from tests.integration.redis.proxy import proxy_to
from tests.integration.redis.server import RedisServer

MINUTE = Level("api:t1", 100, 60.0)
#: A tenth is left free for ten replicas: one unit each.
SHARED, OWN = 90, 1


async def admitted(limiter: RedisLimiter, level: Level = MINUTE, tries: int = 120) -> int:
    return sum([(await limiter.take([level])).allowed for _ in range(tries)])


async def known_for_a_window(time: OwnTime, *limiters: RedisLimiter) -> None:
    """A young process waits one window before it uses its share."""
    time.elapsed += 61


async def test_redis_admits_what_is_not_left_free(shared: RedisServer) -> None:
    time = OwnTime()
    async with opened(shared.url, clock=time, time_source=time.monotonic) as limiter:
        assert await admitted(limiter) == SHARED
        small = Level("small", 9, 60.0)
        assert await admitted(limiter, small, 10) == 9, "a share of less than a unit leaves nothing free"
        with pytest.raises(Invalid, match=r"91 units .* 10 of them kept"):
            await limiter.take([MINUTE], cost=91)


@pytest.mark.parametrize("fault", ["killed", "paused"])
async def test_without_redis_a_replica_spends_its_share_and_no_more_however_often_it_returns(
    server: RedisServer, fault: str
) -> None:
    time, events = OwnTime(), Events()
    patience = 1.0 if fault == "paused" else 20.0  # a connection that breaks is noticed at once
    async with opened(server.url, clock=time, observe=events, time_source=time.monotonic, timeout=patience) as limiter:
        await known_for_a_window(time)
        assert await admitted(limiter) == SHARED
        log = OWN
        for outage in range(1, 4):
            if fault == "killed":
                server.kill()
            else:
                server.pause()
            assert await admitted(limiter, tries=20) == log
            log = 0  # its own window is not reset by coming back
            await events.come("limiter_lost", outage)
            assert limiter.health().status == "degraded"
            assert "its own share" in limiter.health().detail
            refused = await limiter.take([MINUTE])
            assert not refused.allowed
            assert 0 < refused.retry_after <= 7.5
            if fault == "killed":
                server.start()
            else:
                server.resume()
            await events.come("limiter_returned", outage)
            assert await admitted(limiter) == 0, "a burst on return"
        time.elapsed += 62
        assert await admitted(limiter) == SHARED


async def test_a_process_that_starts_cut_off_waits_one_window_before_it_uses_its_share(server: RedisServer) -> None:
    server.kill()
    time, events = OwnTime(), Events()
    async with opened(server.url, clock=time, observe=events, prepared=False, time_source=time.monotonic) as limiter:
        assert events.names == ["limiter_lost"]
        assert await admitted(limiter, tries=5) == 0
        time.elapsed += 59
        assert await admitted(limiter, tries=5) == 0
        time.elapsed += 1
        assert await admitted(limiter, tries=5) == OWN
        server.start()
        await events.come("limiter_returned")
        # A Redis that remembers nothing: one window, and a second for what may have been taken ahead.
        assert await admitted(limiter) == 0
        time.elapsed += 60
        assert await admitted(limiter) == OWN
        time.elapsed += 1
        assert await admitted(limiter) == SHARED


async def test_all_replicas_and_redis_together_stay_within_the_limit(server: RedisServer) -> None:
    """Partitions at random: each of ten replicas is cut off and comes back, and Redis is flushed now and then."""
    time, log = OwnTime(), Admissions()
    level = Level("api:t1", 200, 60.0)
    async with AsyncExitStack() as stack:
        gates = [await stack.enter_async_context(proxy_to(server.port)) for _ in range(10)]
        heard = [Events() for _ in gates]
        limiters = [
            await stack.enter_async_context(
                opened(gate.url, clock=time, observe=events, tag="t", time_source=time.monotonic)
            )
            for gate, events in zip(gates, heard, strict=True)
        ]
        await known_for_a_window(time)
        away: set[int] = set()
        for step in range(60):
            n = step * 7 % 10
            if n in away:
                away.remove(n)
                gates[n].target = server.port
                await heard[n].come("limiter_returned", heard[n].names.count("limiter_lost"))
            elif step % 3:
                away.add(n)
                gates[n].target = 1
                gates[n].cut()
                await heard[n].come("limiter_lost", heard[n].names.count("limiter_returned") + 1)
            if step % 20 == 19:
                server.run("FLUSHALL")
            for turn in range(60):
                limiter = limiters[(step + turn) % 10]
                if (await limiter.take([level])).allowed:
                    log.add(time.elapsed, [level])
            time.elapsed += (0.5, 3.0, 20.0, 70.0)[step % 4]
    assert log.most(level) <= 200
    assert log.total(level) > 2000


async def test_what_fails_closed_is_refused_while_redis_is_away(server: RedisServer) -> None:
    time, events = OwnTime(), Events()
    async with (
        opened(server.url, clock=time, observe=events, time_source=time.monotonic, fail_closed=["api:t1"]) as some,
        opened(server.url, clock=time, observe=events, time_source=time.monotonic, fail_closed=True) as every,
    ):
        await known_for_a_window(time)
        server.kill()
        await events.come("limiter_lost", 2)
        other = Level("api:t2", 100, 60.0)
        assert await admitted(some, tries=5) == 0
        assert await admitted(some, other, tries=5) == OWN
        assert await admitted(every, other, tries=5) == 0


async def test_points_spent_while_cut_off_are_waited_off_when_redis_is_back(server: RedisServer) -> None:
    time, events = OwnTime(), Events()
    async with (
        proxy_to(server.port) as gate,
        opened(gate.url, clock=time, observe=events, tag="t", time_source=time.monotonic) as limiter,
        opened(server.url, clock=time, tag="t", time_source=time.monotonic) as another,
    ):
        gate.target = 1
        gate.cut()
        await events.come("limiter_lost")
        for _ in range(3):
            await limiter.charge([MINUTE], 40)
        assert await admitted(another, tries=5) == 5
        gate.target = server.port
        await events.come("limiter_returned")
        assert await admitted(limiter, tries=5) == 0
        assert await admitted(another, tries=5) == 0
        time.elapsed += 61
        assert await admitted(another) == SHARED


async def test_a_call_sent_again_with_its_token_while_cut_off_is_decided_once(server: RedisServer) -> None:
    time, events = OwnTime(), Events()
    async with opened(server.url, clock=time, observe=events, time_source=time.monotonic) as limiter:
        await known_for_a_window(time)
        server.kill()
        await events.come("limiter_lost")
        first = await limiter.take([MINUTE], token="unit-1")
        assert first.allowed
        assert await limiter.take([MINUTE], token="unit-1") == first
        assert not (await limiter.take([MINUTE], token="unit-2")).allowed


async def test_with_the_machines_time_a_killed_redis_is_used_again_within_ten_seconds(server: RedisServer) -> None:
    events = Events()
    second = Level("quick", 100, 0.5)
    async with opened(server.url, clock=WrongClock(0), observe=events) as limiter:
        assert await admitted(limiter, second, 5) == 5
        server.kill()
        await events.come("limiter_lost")
        server.start()
        await events.come("limiter_returned")
        async with asyncio.timeout(10):
            while not (await limiter.take([second])).remaining > 50:  # its own share is one
                await asyncio.sleep(0.05)  # Redis's clock is the one that counts here, and it cannot be moved
