from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.telemetry.events import EVENTS
from syncd.telemetry.rows import Sampled
from syncd.telemetry.sampling import MOST_KINDS, Sampling


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def sampling(time: Time) -> Sampling:
    return Sampling(Sampled(by=("who", "why"), every=10.0), monotonic=time)


def test_the_first_line_of_each_kind_is_written_at_once(sampling: Sampling) -> None:
    kinds = [{"who": who, "why": why} for who in ("a", "b", None) for why in ("x", "y")]
    assert [sampling.turn(facts) for facts in kinds] == [0] * 6
    assert [sampling.turn(facts) for facts in kinds] == [None] * 6


def test_a_steady_flood_has_a_line_in_each_period_that_says_how_many_it_stands_for(
    sampling: Sampling, time: Time
) -> None:
    written = []
    for second in range(35):
        time.now = float(second)
        written.append(sampling.turn({"who": "a", "why": "x", "n": second}))
    assert {second: left_out for second, left_out in enumerate(written) if left_out is not None} == {
        0: 0,
        10: 9,
        20: 9,
        30: 9,
    }


def test_one_that_was_quiet_for_long_is_written_at_once_with_what_was_left_out_before(
    sampling: Sampling, time: Time
) -> None:
    assert [sampling.turn({"who": "a"}) for _ in range(3)] == [0, None, None]
    time.now = 86_400.0
    assert sampling.turn({"who": "a"}) == 2
    time.now += 10.0
    assert sampling.turn({"who": "a"}) == 0


def test_more_kinds_than_are_told_apart_share_one_turn_and_none_is_kept_for_ever(
    sampling: Sampling, time: Time
) -> None:
    assert [sampling.turn({"who": n}) for n in range(MOST_KINDS)] == [0] * MOST_KINDS
    assert [sampling.turn({"who": f"new {n}"}) for n in range(100)] == [0] + [None] * 99
    for period in range(1, 5):
        time.now = 10.0 * period
        answers = [sampling.turn({"who": f"{period} {n}"}) for n in range(2 * MOST_KINDS)]
        assert answers[:MOST_KINDS] == [0] * MOST_KINDS, "those of the period before made room"
        assert sum(answer is not None for answer in answers) == MOST_KINDS + 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=60))
def test_every_line_is_written_or_counted_and_two_of_a_kind_are_never_too_close(
    steps: list[tuple[str, float]],
) -> None:
    time = Time()
    sampling = Sampling(Sampled(by=("who",), every=10.0), monotonic=time)
    last: dict[str, float] = {}
    left_out = dict.fromkeys("abc", 0)
    for who, pause in steps:
        time.now += pause
        answer = sampling.turn({"who": who})
        if answer is None:
            left_out[who] += 1
            assert time.now - last[who] < 10.0
        else:
            assert answer == left_out[who]
            assert who not in last or time.now - last[who] >= 10.0
            left_out[who] = 0
            last[who] = time.now


def test_what_every_sender_can_cause_at_will_is_sampled() -> None:
    by_senders = {"webhook_not_stored", "webhook_rejected", "spool_refused"}
    by_requests_to_providers = {"credential_not_refreshed", "limit_adapted"}
    by_a_dependency_that_comes_and_goes = {
        "broker_back",
        "broker_busy",
        "broker_unreachable",
        "lock_lost",
        "spool_drained",
        "spool_not_drained",
    }
    expected = by_senders | by_requests_to_providers | by_a_dependency_that_comes_and_goes
    assert {name for name, row in EVENTS.items() if row.sampled} == expected
