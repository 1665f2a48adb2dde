"""The rule against a brute-force oracle that only knows what was admitted, when. Times are eighths, exact in binary."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.domain.errors import Invalid
from syncd.domain.ratelimit import Ledger
from syncd.domain.slidingwindow import GRACE, LOG_PAIRS
from syncd.ports.limiter import Level


@dataclass
class Log:
    """What really happened: every unit admitted under each key."""

    admitted: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    def add(self, now: float, levels: list[Level], cost: int) -> None:
        for level in set(levels):
            self.admitted.setdefault(level.key, []).append((now, cost))

    def within(self, level: Level, now: float) -> int:
        """Units in (now - window, now]."""
        return sum(units for at, units in self.admitted.get(level.key, []) if at > now - level.window)

    def most(self, level: Level) -> int:
        """The most units in any half-open window; it is enough to look at those that end with an admission."""
        log = self.admitted.get(level.key, [])
        worst = units = oldest = 0
        for end, cost in log:
            units += cost
            while log[oldest][0] <= end - level.window:
                units -= log[oldest][1]
                oldest += 1
            worst = max(worst, units)
        return worst


LEVELS = [Level("a", 3, 8.0), Level("b", 5, 2.0), Level("c", 1, 1.0), Level("d", 7, 16.0)]
eighths = st.integers(0, 40).map(lambda n: n / 8)
chosen = st.lists(st.sampled_from(LEVELS), min_size=1, max_size=4, unique=True)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(eighths, chosen, st.integers(1, 3)), max_size=60))
def test_without_bookings_a_request_is_admitted_exactly_when_every_window_has_room(
    requests: list[tuple[float, list[Level], int]],
) -> None:
    ledger, log, now = Ledger(boot="t"), Log(), 1000.0
    for passed, levels, cost in requests:
        now += passed
        if any(cost > level.limit for level in levels):
            with pytest.raises(Invalid):
                ledger.take(now, levels, cost=cost)
            continue
        room = all(log.within(level, now) + cost <= level.limit for level in levels)
        allowed, remaining, at, booking = ledger.take(now, levels, cost=cost)
        assert allowed is room
        assert booking is None
        if allowed:
            log.add(now, levels, cost)
            assert remaining == min(level.limit - log.within(level, now) for level in levels)
        else:
            assert at > now
            assert all(log.within(level, at) + cost <= level.limit for level in levels)
            just_before = at - 1 / 16
            assert any(log.within(level, just_before) + cost > level.limit for level in levels)
    for level in LEVELS:
        assert log.most(level) <= level.limit


class World:
    """Callers that take, book, redeem, come late and give back, at a clock that only goes forward."""

    def __init__(self) -> None:
        self.ledger, self.log, self.now = Ledger(boot="t"), Log(), 1000.0
        self.held: list[tuple[str, float, list[Level], int]] = []

    def take(self, levels: list[Level], cost: int, reserve: bool) -> None:
        if any(cost > level.limit for level in levels):
            return
        allowed, _, at, booking = self.ledger.take(self.now, levels, cost=cost, reserve=reserve)
        if allowed:
            self.log.add(self.now, levels, cost)
        elif reserve:
            assert booking is not None
            self.held.append((booking, at, levels, cost))

    def redeem(self, index: int, moment: str) -> None:
        if not self.held:
            return
        booking, at, levels, cost = self.held.pop(index % len(self.held))
        if moment == "never":
            self.ledger.release(booking)
            return
        grace = min(GRACE, *(level.window / 4 for level in levels))
        when = {"on time": at, "late": at + grace, "early": at - 0.25, "much too late": at + grace + 0.5}[moment]
        self.now = max(self.now, when)
        allowed, _, again, same = self.ledger.take(self.now, levels, cost=cost, booking=booking)
        if at <= self.now <= at + grace:
            assert allowed
        if allowed:
            self.log.add(self.now, levels, cost)
        elif same is not None:
            assert self.now < at
            assert (same, again) == (booking, at)
            self.held.append((booking, at, levels, cost))


actions = st.one_of(
    st.tuples(chosen, st.integers(1, 3), st.booleans()),
    st.tuples(st.integers(0, 30), st.sampled_from(["on time", "late", "early", "much too late", "never"])),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(eighths, actions), max_size=80))
def test_with_bookings_no_window_ever_sees_more_than_its_limit_and_a_booked_turn_is_always_honoured(
    steps: list[tuple[float, tuple[list[Level], int, bool] | tuple[int, str]]],
) -> None:
    world = World()
    for passed, action in steps:
        world.now += passed
        if len(action) == 3:
            world.take(*action)
        else:
            world.redeem(*action)
    for level in LEVELS:
        assert world.log.most(level) <= level.limit
    # Nothing leaks: once all is over, every key has all its units, and no booking is left.
    for booking, *_ in world.held:
        world.ledger.release(booking)
    assert all(window.booked == 0 for window in world.ledger._windows.values()) or world.ledger.bookings
    for level in LEVELS:
        assert world.ledger.take(world.now + 1000, [level], cost=level.limit)[0]
    assert world.ledger.bookings == 0


@pytest.mark.parametrize("seed", range(40))
def test_a_long_busy_life_with_bookings_never_exceeds_a_limit(seed: int) -> None:
    """Hypothesis finds short counter-examples; this finds those that need a crowd."""
    rng, world = random.Random(seed), World()
    for _ in range(400):
        world.now += rng.choice((0, 0, 0, 0.125, 0.5, 2.0))
        if rng.random() < 0.6:
            world.take(rng.sample(LEVELS, rng.randint(1, 3)), rng.choice((1, 1, 2, 3)), rng.random() < 0.7)
        else:
            world.held.sort(key=lambda held: held[1])
            moment = rng.choice(("on time", "on time", "late", "early", "much too late", "never"))
            world.redeem(rng.choice((0, 0, 0, rng.randint(0, 30))), moment)
    assert len(world.log.admitted) == len(LEVELS)
    for level in LEVELS:
        assert world.log.most(level) <= level.limit


def test_a_turn_given_back_is_the_next_callers_turn() -> None:
    ledger = Ledger(boot="t")
    levels = [Level("k", 1, 8.0)]
    ledger.take(0, levels)
    _, _, first, booking = ledger.take(0, levels, reserve=True)
    _, _, second, _ = ledger.take(0, levels, reserve=True)
    assert second > first
    assert booking is not None
    ledger.release(booking)
    assert ledger.take(0, levels, reserve=True)[2] == first


def test_a_small_request_takes_a_turn_that_a_large_one_could_not_use() -> None:
    ledger = Ledger(boot="t")
    levels = [Level("k", 4, 8.0)]
    ledger.take(0, levels)
    ledger.take(4, levels, cost=3)
    assert ledger.take(4, levels, cost=3, reserve=True)[2] == 12
    assert ledger.take(4, levels, cost=1, reserve=True)[2] == 8


def test_a_refused_request_charges_none_of_its_levels() -> None:
    ledger = Ledger(boot="t")
    narrow, wide = Level("narrow", 1), Level("wide", 10)
    assert ledger.take(0, [wide, narrow])[0]
    for _ in range(50):
        assert not ledger.take(1, [wide, narrow])[0]
    assert ledger.take(1, [wide], cost=9)[0]


def test_a_crowd_gets_as_many_different_turns_as_it_has_heads_and_all_are_admitted_at_theirs() -> None:
    ledger, log = Ledger(boot="t"), Log()
    levels = [Level("crowd", 10, 60.0)]
    for _ in range(10):
        assert ledger.take(0, levels)[0]
        log.add(0, levels, 1)
    turns = []
    for _ in range(200):
        allowed, _, at, booking = ledger.take(0, levels, reserve=True)
        assert not allowed
        turns.append((at, booking))
    assert len({at for at, _ in turns}) == 200
    assert len({booking for _, booking in turns}) == 200
    assert min(turns)[0] == 60.0
    for at, booking in sorted(turns):
        assert ledger.take(at, levels, booking=booking)[0]
        log.add(at, levels, 1)
    assert log.most(levels[0]) == 10
    # 200 turns of 10 a minute: the bookings stay open for five seconds more than a minute each.
    assert max(turns)[0] <= 20 * 65 + 1


def test_nobody_is_admitted_into_the_turn_of_another() -> None:
    ledger = Ledger(boot="t")
    levels = [Level("k", 1, 8.0)]
    assert ledger.take(0, levels)[0]
    _, _, at, booking = ledger.take(1, levels, reserve=True)
    assert at == 8
    assert not ledger.take(8.5, levels)[0]
    assert ledger.take(9, levels, booking=booking)[0]
    assert not ledger.take(16.5, levels)[0]
    assert ledger.take(17, levels)[0]


def test_a_far_turn_at_one_level_does_not_hold_up_others_that_share_the_next_level() -> None:
    ledger = Ledger(boot="t")
    tenant, slow, quick = Level("tenant", 10, 8.0), Level("slow", 1, 64.0), Level("quick", 100, 8.0)
    assert ledger.take(0, [tenant, slow])[0]
    turns = [ledger.take(0, [tenant, slow], reserve=True)[2] for _ in range(5)]
    assert turns[-1] >= 5 * 64
    assert ledger.take(0, [tenant, quick], cost=9)[0]
    allowed, _, at, _ = ledger.take(1, [tenant, quick], reserve=True)
    assert not allowed
    assert at == 8


def test_a_lapsed_turn_gives_its_units_back_and_its_owner_is_an_ordinary_caller() -> None:
    ledger = Ledger(boot="t")
    levels = [Level("k", 1, 8.0)]
    ledger.take(0, levels)
    _, _, at, booking = ledger.take(0, levels, reserve=True)
    assert ledger.take(at + 2.125, levels)[0]  # a quarter of the window later it has lapsed
    allowed, _, again, none = ledger.take(at + 2.25, levels, booking=booking)
    assert not allowed
    assert none is None
    assert again == at + 2.125 + 8
    assert ledger.bookings == 0


def test_a_booking_redeemed_for_other_levels_or_another_cost_is_given_back() -> None:
    ledger = Ledger(boot="t")
    levels, other = [Level("k", 2, 8.0)], [Level("other", 1, 8.0)]
    ledger.take(0, levels, cost=2)
    _, _, at, booking = ledger.take(0, levels, reserve=True)
    assert ledger.take(at, other, booking=booking)[0]
    assert ledger.bookings == 0
    assert ledger.take(at, levels, cost=2)[0]


def test_what_was_spent_may_exceed_the_limit_and_is_waited_off() -> None:
    ledger = Ledger(boot="t")
    levels = [Level("points", 100, 60.0)]
    ledger.charge(0, levels, 250)
    allowed, remaining, at, _ = ledger.take(1, levels)
    assert (allowed, remaining, at) == (False, 0, 60)
    assert ledger.take(60, levels, cost=100)[0]


def test_a_second_window_length_under_one_key_is_kept_beside_the_first() -> None:
    ledger = Ledger(boot="t")
    second, minute = Level("k", 2, 1.0), Level("k", 3, 60.0)
    both = [second, minute]
    assert [ledger.take(at, both)[0] for at in (0.0, 0.0, 0.5, 1.0, 2.0)] == [True, True, False, True, False]
    assert ledger.take(60, both)[0]


def test_a_changed_window_length_begins_with_what_the_key_has_seen() -> None:
    ledger = Ledger(boot="t")
    assert ledger.take(0, [Level("k", 5, 60.0)], cost=5)[0]
    assert not ledger.take(1, [Level("k", 5, 30.0)])[0]
    assert ledger.take(30, [Level("k", 5, 30.0)])[0]


def test_the_same_level_named_twice_is_charged_once() -> None:
    ledger = Ledger(boot="t")
    level = Level("k", 2)
    assert ledger.take(0, [level, level])[1] == 1
    assert ledger.take(0, [level, level])[0]
    assert not ledger.take(0, [level])[0]


def test_a_large_log_is_merged_and_errs_only_towards_refusing() -> None:
    ledger, log = Ledger(boot="t"), Log()
    level = Level("k", 5000, 64.0)
    now = 0.0
    for n in range(20_000):
        now += 1 / 128
        if ledger.take(now, [level])[0]:
            log.add(now, [level], 1)
        elif n % 7 == 0:
            now += 1 / 8
    assert log.most(level) <= 5000
    assert len(log.admitted["k"]) > 10_000
    window = ledger._windows["k"]
    assert len(window.log) <= 2 * LOG_PAIRS + 1
    assert window.used == sum(units for _, units in window.log)
    refused_for_nothing = 5000 - log.within(level, now)
    assert refused_for_nothing <= 5000 / LOG_PAIRS * 2 + 1


def test_keys_that_are_not_used_any_more_are_forgotten() -> None:
    ledger = Ledger(boot="t")
    for n in range(20_000):
        ledger.take(n / 100, [Level(f"k{n}", 5, 1.0)])
    assert ledger.keys < 1_000
    for second in range(300, 310):
        ledger.take(second, [Level("last", 5, 1.0)])
    assert ledger.keys == 1


def test_bookings_are_bounded_and_beyond_the_bound_a_refusal_books_nothing() -> None:
    ledger = Ledger(boot="t", max_bookings=3)
    level = Level("k", 1, 8.0)
    ledger.take(0, [level])
    booked = [ledger.take(0, [level], reserve=True)[3] for _ in range(5)]
    assert [booking is not None for booking in booked] == [True, True, True, False, False]
    ledger.release(str(booked[0]))
    assert ledger.take(0, [level], reserve=True)[3] is not None


def test_a_crowd_that_books_and_gives_back_leaves_nothing_in_memory() -> None:
    ledger = Ledger(boot="t")
    level = Level("k", 1, 8.0)
    ledger.take(0, [level])
    for _ in range(5_000):
        booking = ledger.take(0, [level], reserve=True)[3]
        assert booking is not None
        ledger.release(booking)
    assert ledger.bookings == 0
    assert len(ledger._lapses) <= 1001


def test_turns_of_a_crowd_at_one_key_come_in_the_order_of_asking() -> None:
    ledger = Ledger(boot="t")
    level = Level("k", 4, 8.0)
    ledger.take(0, [level], cost=4)
    turns = [ledger.take(0, [level], cost=1 + n % 3, reserve=True)[2] for n in range(50)]
    singles = turns[::3]
    assert all(earlier < later for earlier, later in pairwise(singles))


@pytest.mark.parametrize(
    ("level", "cost"),
    [
        (Level("k", 5), 6),
        (Level("k", 5), 0),
        (Level("k", 0), 1),
        (Level("k", 5, 0.0), 1),
        (Level("k", 5, float("inf")), 1),
    ],
)
def test_what_can_never_pass_is_refused_as_invalid(level: Level, cost: int) -> None:
    with pytest.raises(Invalid):
        Ledger(boot="t").take(0, [level], cost=cost)
