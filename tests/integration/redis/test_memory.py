"""A Redis that forgets, restarts, fails over, or has its clock set. What may have been forgotten is waited out."""

from __future__ import annotations

import asyncio

import pytest

from syncd.adapters.redis.limiter import RedisLimiter
from syncd.adapters.redis.memory import server_facts
from syncd.ports.limiter import Level
from tests.integration.redis.clocks import OwnTime, WrongClock
from tests.integration.redis.events import Events
from tests.integration.redis.limiters import opened
from tests.integration.redis.proxy import proxy_to
from tests.integration.redis.server import RedisServer, redis_server

MINUTE = Level("api:t1", 50, 60.0)


async def admitted(limiter: RedisLimiter, tries: int = 60) -> int:
    return sum([(await limiter.take([MINUTE])).allowed for _ in range(tries)])


async def test_after_a_flush_nothing_is_admitted_until_what_was_forgotten_has_left_the_window(
    server: RedisServer,
) -> None:
    time, events = OwnTime(), Events()
    async with opened(
        server.url, clock=time, observe=events, time_source=time.monotonic, fallback_share=0.0
    ) as limiter:
        assert await admitted(limiter, 30) == 30
        time.elapsed += 10
        # Answers come in order: no beat with the time of before is on its way any more, with which the new life would begin.
        assert await admitted(limiter, 1) == 1
        server.run("FLUSHALL")
        assert await admitted(limiter) == 0
        await events.come("limiter_forgot")
        assert limiter.health().status == "degraded"
        refused = await limiter.take([MINUTE])
        assert 51 <= refused.retry_after <= 66
        time.elapsed += 60.9
        assert await admitted(limiter) == 0
        time.elapsed += 0.2
        assert await admitted(limiter) == 50
        assert limiter.health().status == "ok"
    assert events.names.count("limiter_lost") == 0


async def test_a_flush_of_the_scripts_costs_nothing(server: RedisServer) -> None:
    time, events = OwnTime(), Events()
    async with opened(
        server.url, clock=time, observe=events, time_source=time.monotonic, fallback_share=0.0
    ) as limiter:
        for _ in range(3):
            decisions = await asyncio.gather(*(limiter.take([MINUTE]) for _ in range(10)))
            assert all(decision.allowed for decision in decisions)
            server.run("SCRIPT", "FLUSH")
        assert await admitted(limiter) == 20
    assert events.names == []


@pytest.mark.parametrize(("told", "seconds"), [(b"0", 0.0), (b"1", 0.0), (b"2", 1.0), (b"86400", 86399.0)])
def test_redis_runs_for_at_least_a_second_less_than_it_tells(told: bytes, seconds: float) -> None:
    info = b"# Server\r\nrun_id:abc\r\nuptime_in_seconds:" + told + b"\r\nuptime_in_days:0\r\n"
    assert server_facts(info) == (b"abc", seconds)


async def test_a_redis_restarted_with_what_it_had_saved_long_ago_is_not_believed(server: RedisServer) -> None:
    """Its start marker is there, but half of the charges are not, and nobody is left who knows of them."""
    async with opened(server.url, clock=WrongClock(0), tag="saved", fallback_share=0.0) as limiter:
        assert await admitted(limiter, 20) == 20
        server.run("SAVE")
        assert await admitted(limiter, 20) == 20
    server.kill()
    server.start()
    assert server.run("EXISTS", "{saved}:life") == 1
    events = Events()
    async with opened(server.url, clock=WrongClock(0), tag="saved", observe=events, fallback_share=0.0) as limiter:
        assert [(name, facts["reason"]) for name, facts in events.heard] == [("limiter_forgot", "restarted")]
        assert limiter.health().status == "degraded"
        assert await admitted(limiter) == 0


@pytest.mark.parametrize("behind", [False, True])
async def test_a_failover_is_said_and_lost_charges_are_waited_out_where_they_are_known(
    server: RedisServer, behind: bool
) -> None:
    time, events = OwnTime(), Events()
    server.run("CONFIG", "SET", "repl-diskless-sync-delay", "0")
    with redis_server("--replicaof", "127.0.0.1", str(server.port)) as replica:
        async with (
            proxy_to(server.port) as gate,
            opened(gate.url, clock=time, observe=events, time_source=time.monotonic, fallback_share=0.0) as limiter,
        ):
            assert await admitted(limiter, 20) == 20
            replica.follow(server)
            if behind:
                replica.run("REPLICAOF", "NO", "ONE")
            assert await admitted(limiter, 20) == 20
            if not behind:
                replica.follow(server)
                replica.run("REPLICAOF", "NO", "ONE")
            gate.target = replica.port
            server.kill()
            await events.come("limiter_forgot" if behind else "limiter_failed_over")
            assert limiter.health().status == "degraded"
            if behind:
                assert await admitted(limiter) == 0
                time.elapsed += 62
                assert await admitted(limiter) == 50
            else:
                assert await admitted(limiter) == 10


async def test_setting_redis_clock_back_opens_no_window_and_stops_none(shared: RedisServer) -> None:
    time, redis_time = OwnTime(), OwnTime()
    async with opened(shared.url, clock=time, time_source=redis_time.monotonic, fallback_share=0.0) as limiter:
        assert await admitted(limiter) == 50
        redis_time.elapsed -= 3600
        assert await admitted(limiter) == 0
        for clock in (time, redis_time):
            clock.elapsed += 30
        assert await admitted(limiter) == 0
        for clock in (time, redis_time):
            clock.elapsed += 30
        assert await admitted(limiter) == 50


async def test_setting_redis_clock_forward_is_seen_and_waited_out(shared: RedisServer) -> None:
    time, redis_time, events = OwnTime(), OwnTime(), Events()
    async with opened(
        shared.url, clock=time, observe=events, time_source=redis_time.monotonic, fallback_share=0.0
    ) as limiter:
        assert await admitted(limiter) == 50
        redis_time.elapsed += 600
        await events.come("limiter_forgot")
        assert events.heard[-1][1]["reason"] == "clock"
        assert await admitted(limiter) == 0
        redis_time.elapsed += 62
        time.elapsed += 62
        assert await admitted(limiter) == 50


async def test_the_time_is_redis_own_wherever_the_replicas_clocks_stand(shared: RedisServer) -> None:
    ahead, behind = WrongClock(600), WrongClock(-600)
    async with (
        opened(shared.url, clock=ahead, tag="clocks", fallback_share=0.0) as one,
        opened(shared.url, clock=behind, tag="clocks", fallback_share=0.0) as two,
    ):
        assert await admitted(one, 25) == 25
        assert await admitted(two) == 25
        for limiter, clock in ((one, ahead), (two, behind)):
            refused = await limiter.take([MINUTE])
            assert not refused.allowed
            assert 50 < refused.retry_after <= 60.1
            assert refused.reset_at == pytest.approx(clock.now() + refused.retry_after, abs=10)


async def test_a_booked_turn_is_redeemed_on_another_replica(shared: RedisServer) -> None:
    time = OwnTime()
    async with (
        opened(shared.url, clock=time, tag="turns", time_source=time.monotonic, fallback_share=0.0) as one,
        opened(shared.url, clock=time, tag="turns", time_source=time.monotonic, fallback_share=0.0) as two,
    ):
        assert await admitted(one) == 50
        turn = await one.take([MINUTE], reserve=True)
        assert turn.queued
        time.elapsed += turn.retry_after
        assert await admitted(one) == 49
        assert (await two.take([MINUTE], reservation=turn.reservation)).allowed
