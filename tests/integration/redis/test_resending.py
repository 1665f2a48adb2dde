"""Connections that break, and answers that never come: nothing is charged twice."""

from __future__ import annotations

import asyncio

import pytest

from syncd.ports.limiter import Level
from tests.integration.redis.clocks import OwnTime
from tests.integration.redis.events import Events
from tests.integration.redis.limiters import opened
from tests.integration.redis.proxy import proxy_to
from tests.integration.redis.server import RedisServer

MINUTE = Level("api:t1", 50, 60.0)


@pytest.mark.parametrize("token", [None, "unit-1"])
async def test_a_call_whose_answer_is_lost_is_sent_again_and_charged_once(
    shared: RedisServer, token: str | None
) -> None:
    time, events = OwnTime(), Events()
    async with (
        proxy_to(shared.port) as gate,
        opened(gate.url, clock=time, observe=events, time_source=time.monotonic, fallback_share=0.0) as limiter,
    ):
        assert (await limiter.take([MINUTE])).remaining == 49
        gate.loses_answers = True
        assert (await limiter.take([MINUTE], token=token)).remaining == 48
        assert gate.lost == 1
        assert (await limiter.take([MINUTE])).remaining == 47
        gate.loses_answers = True
        await limiter.charge([MINUTE], 7)
        assert gate.lost == 2
        assert (await limiter.take([MINUTE])).remaining == 39
    assert events.names == []


async def test_a_booking_whose_answer_is_lost_is_made_once(shared: RedisServer) -> None:
    time = OwnTime()
    one = Level("api:t1", 1, 60.0)
    async with (
        proxy_to(shared.port) as gate,
        opened(gate.url, clock=time, time_source=time.monotonic, fallback_share=0.0) as limiter,
    ):
        assert (await limiter.take([one])).allowed
        gate.loses_answers = True
        turn = await limiter.take([one], reserve=True)
        assert gate.lost == 1
        assert turn.retry_after == pytest.approx(60, abs=0.01)
        assert (await limiter.take([one], reserve=True)).retry_after > 119, "the first booking holds one turn"


async def test_a_connection_that_redis_closed_is_opened_again_without_a_word(shared: RedisServer) -> None:
    time, events = OwnTime(), Events()
    async with (
        proxy_to(shared.port) as gate,
        opened(gate.url, clock=time, observe=events, time_source=time.monotonic, fallback_share=0.0) as limiter,
    ):
        for n in range(5):
            assert (await limiter.take([MINUTE])).remaining == 49 - n
            gate.cut()
    assert events.names == []


async def test_many_calls_in_flight_when_the_connection_breaks_are_each_charged_once(shared: RedisServer) -> None:
    time, events = OwnTime(), Events()
    level = Level("api:t1", 1000, 60.0)
    async with (
        proxy_to(shared.port) as gate,
        opened(gate.url, clock=time, observe=events, time_source=time.monotonic, fallback_share=0.0) as limiter,
    ):
        await limiter.take([level])
        gate.loses_answers = True
        decisions = await asyncio.gather(*(limiter.take([level]) for _ in range(500)))
        assert gate.lost == 1
        assert sorted(decision.remaining for decision in decisions) == list(range(499, 999))


async def test_a_caller_that_is_cancelled_disturbs_nobody(shared: RedisServer) -> None:
    time = OwnTime()
    async with opened(shared.url, clock=time, time_source=time.monotonic, fallback_share=0.0) as limiter:
        calls = [asyncio.create_task(limiter.take([MINUTE])) for _ in range(40)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        decisions = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(decision, asyncio.CancelledError) for decision in decisions[::2])
        assert all(not isinstance(decision, BaseException) and decision.allowed for decision in decisions[1::2])
        assert (await limiter.take([MINUTE])).remaining >= 9


async def test_closing_leaves_no_caller_waiting(server: RedisServer) -> None:
    time = OwnTime()
    async with opened(server.url, clock=time, time_source=time.monotonic, timeout=90.0) as limiter:
        server.pause()
        calls = [asyncio.create_task(limiter.take([MINUTE])) for _ in range(10)]
        await asyncio.sleep(0.1)  # until they have been sent: Redis says nothing that could be waited for
    async with asyncio.timeout(30):
        assert not any(decision.allowed for decision in await asyncio.gather(*calls))
