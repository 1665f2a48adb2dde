"""What every backend of the port `Limiter` keeps."""

from __future__ import annotations

import asyncio

import pytest

from syncd.domain.errors import Invalid
from syncd.ports.limiter import Level, Limiter
from syncd.testing.clock import FrozenClock

MINUTE = Level("tenant:github", 3, 60.0)


async def test_requests_within_the_limit_are_admitted_and_count_down(limiter: Limiter) -> None:
    decisions = [await limiter.take([MINUTE]) for _ in range(3)]
    assert [decision.allowed for decision in decisions] == [True] * 3
    assert [decision.remaining for decision in decisions] == [2, 1, 0]
    assert all(decision.retry_after == 0 and not decision.queued for decision in decisions)


async def test_a_refusal_says_when_and_that_is_when_it_is_admitted(limiter: Limiter, frozen: FrozenClock) -> None:
    for _ in range(3):
        await limiter.take([MINUTE])
        await frozen.advance(10)
    refused = await limiter.take([MINUTE])
    assert not refused.allowed
    assert not refused.queued
    assert refused.remaining == 0
    assert refused.retry_after == pytest.approx(30, abs=0.001)
    assert refused.reset_at == pytest.approx(frozen.now() + 30, abs=0.001)
    await frozen.advance(29.9)
    assert not (await limiter.take([MINUTE])).allowed
    await frozen.set(refused.reset_at)
    assert (await limiter.take([MINUTE])).allowed
    assert not (await limiter.take([MINUTE])).allowed


async def test_all_levels_are_charged_or_none(limiter: Limiter) -> None:
    wide, narrow = Level("tenant", 10), Level("tenant:op", 1)
    assert (await limiter.take([wide, narrow])).allowed
    for _ in range(20):
        assert not (await limiter.take([wide, narrow])).allowed
    assert (await limiter.take([wide], cost=9)).allowed
    assert not (await limiter.take([wide])).allowed


async def test_the_tightest_level_is_reported(limiter: Limiter, frozen: FrozenClock) -> None:
    await limiter.take([Level("a", 5, 60.0)])
    await frozen.advance(15)
    decision = await limiter.take([Level("a", 5, 60.0), Level("b", 100, 10.0)])
    assert decision.remaining == 3
    assert decision.reset_at == pytest.approx(frozen.now() + 45, abs=0.001)


async def test_a_cost_above_one_needs_room_for_all_of_it(limiter: Limiter, frozen: FrozenClock) -> None:
    level = Level("points", 10, 60.0)
    assert (await limiter.take([level], cost=7)).allowed
    assert not (await limiter.take([level], cost=4)).allowed
    assert (await limiter.take([level], cost=3)).allowed
    await frozen.advance(60)
    assert (await limiter.take([level], cost=10)).allowed


async def test_a_cost_that_can_never_pass_is_invalid_rather_than_refused_for_ever(limiter: Limiter) -> None:
    with pytest.raises(Invalid, match="11 units"):
        await limiter.take([Level("points", 10)], cost=11)
    with pytest.raises(Invalid):
        await limiter.take([Level("points", 10)], cost=0)
    with pytest.raises(Invalid):
        await limiter.charge([Level("points", 10)], -1)


async def test_keys_do_not_share_their_units(limiter: Limiter) -> None:
    assert (await limiter.take([Level("a", 1)])).allowed
    assert (await limiter.take([Level("b", 1)])).allowed
    assert not (await limiter.take([Level("a", 1)])).allowed


async def test_a_crowd_of_refused_callers_gets_a_turn_each_and_is_admitted_at_it(
    limiter: Limiter, frozen: FrozenClock
) -> None:
    for _ in range(3):
        await limiter.take([MINUTE])
    turns = await asyncio.gather(*[limiter.take([MINUTE], reserve=True) for _ in range(30)])
    assert all(turn.queued for turn in turns)
    assert len({turn.reservation for turn in turns}) == 30
    assert len({turn.reset_at for turn in turns}) == 30
    for turn in sorted(turns, key=lambda turn: turn.reset_at):
        await frozen.set(turn.reset_at)
        assert not (await limiter.take([MINUTE])).allowed, "somebody without a reservation got in first"
        assert (await limiter.take([MINUTE], reservation=turn.reservation)).allowed


async def test_a_reservation_asked_too_early_keeps_its_turn(limiter: Limiter, frozen: FrozenClock) -> None:
    for _ in range(3):
        await limiter.take([MINUTE])
    turn = await limiter.take([MINUTE], reserve=True)
    await frozen.advance(20)
    early = await limiter.take([MINUTE], reservation=turn.reservation)
    assert not early.allowed
    assert early.reservation == turn.reservation
    assert early.reset_at == pytest.approx(turn.reset_at, abs=0.001)


async def test_a_reservation_is_redeemed_once(limiter: Limiter, frozen: FrozenClock) -> None:
    one = Level("one", 1, 60.0)
    await limiter.take([one])
    turn = await limiter.take([one], reserve=True)
    await frozen.set(turn.reset_at)
    assert (await limiter.take([one], reservation=turn.reservation)).allowed
    assert not (await limiter.take([one], reservation=turn.reservation)).allowed


async def test_a_reservation_that_nobody_redeems_lapses(limiter: Limiter, frozen: FrozenClock) -> None:
    one = Level("one", 1, 60.0)
    await limiter.take([one])
    turn = await limiter.take([one], reserve=True)
    await frozen.set(turn.reset_at)
    assert not (await limiter.take([one])).allowed
    await frozen.advance(30)
    assert (await limiter.take([one])).allowed
    assert not (await limiter.take([one], reservation=turn.reservation)).allowed


async def test_a_reservation_given_back_is_free_for_others(limiter: Limiter, frozen: FrozenClock) -> None:
    one = Level("one", 1, 60.0)
    await limiter.take([one])
    turn = await limiter.take([one], reserve=True)
    assert turn.reservation is not None
    await limiter.release(turn.reservation)
    await limiter.release(turn.reservation)
    await limiter.release("never issued")
    await frozen.set(turn.reset_at)
    assert (await limiter.take([one])).allowed


async def test_a_reservation_of_another_life_is_an_ordinary_call(limiter: Limiter) -> None:
    assert (await limiter.take([MINUTE], reservation="0123456789ab-1")).allowed


async def test_a_decision_sent_again_with_its_token_is_charged_once(limiter: Limiter) -> None:
    first = await limiter.take([MINUTE], token="unit-1")
    assert await limiter.take([MINUTE], token="unit-1") == first
    assert (await limiter.take([MINUTE], token="unit-2")).remaining == 1


async def test_a_refusal_sent_again_with_its_token_books_one_turn_and_redeems_it(
    limiter: Limiter, frozen: FrozenClock
) -> None:
    one = Level("one", 1, 60.0)
    await limiter.take([one])
    turn = await limiter.take([one], reserve=True, token="unit-1")
    again = await limiter.take([one], reserve=True, token="unit-1")
    assert again.reservation == turn.reservation
    await frozen.set(turn.reset_at)
    admitted = await limiter.take([one], reservation=turn.reservation, token="unit-1")
    assert admitted.allowed
    assert await limiter.take([one], reservation=turn.reservation, token="unit-1") == admitted


async def test_what_a_response_cost_is_waited_off(limiter: Limiter, frozen: FrozenClock) -> None:
    points = Level("points", 100, 60.0)
    assert (await limiter.take([points])).allowed
    await limiter.charge([points], 500)
    refused = await limiter.take([points])
    assert not refused.allowed
    assert refused.retry_after == pytest.approx(60, abs=0.001)
    await frozen.advance(60)
    assert (await limiter.take([points], cost=100)).allowed


async def test_setting_the_wall_clock_opens_no_window(limiter: Limiter, frozen: FrozenClock) -> None:
    for _ in range(3):
        await limiter.take([MINUTE])
    for step in (-86400, 2 * 86400, -86400):
        frozen.step_wall(step)
        assert not (await limiter.take([MINUTE])).allowed
