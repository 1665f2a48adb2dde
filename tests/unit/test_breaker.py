from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.breaker import Breaker

#: One line a case: what happens in turn, and who may ask at which time afterwards. `f` failed, `s` succeeded, `a` abandoned, each
#: with a ticket taken just before; a number lets so many seconds pass.
CASES = [
    ("nothing happened", "", True),
    ("two failures are a hiccup", "f f", True),
    ("three in a row open it", "f f f", False),
    ("a success between counts them anew", "f f s f f", True),
    ("one that went away counts for nothing", "f f a", True),
    ("nobody asks before the pause is over", "f f f 0.9", False),
    ("after the pause one may ask", "f f f 1", True),
    ("who asked and failed begins a longer pause", "f f f 1 f 1.9", False),
    ("which ends too", "f f f 1 f 2", True),
    ("the pause doubles up to the longest", "f f f 1 f 2 f 3.9", False),
    ("and never beyond", "f f f 1 f 2 f 4 f 4", True),
    ("who asked and was answered closes it", "f f f 1 s", True),
    ("closed again, it takes three failures again", "f f f 1 s f f", True),
    ("who asked and went away leaves the turn to the next", "f f f 1 a", True),
]


@pytest.mark.parametrize(("steps", "admits"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_breaker(steps: str, admits: bool) -> None:
    breaker, now = Breaker(failures=3, first_pause=1.0, longest_pause=4.0), 100.0
    for step in steps.split():
        if step not in "fsa":
            now += float(step)
            continue
        ticket = breaker.admit(now)
        assert ticket is not None
        if step == "f":
            breaker.failed(ticket, now)
        elif step == "s":
            breaker.succeeded()
        else:
            breaker.abandoned(ticket)
    assert (breaker.admit(now) is not None) is admits


def test_only_one_asks_after_a_pause_however_many_would() -> None:
    breaker = Breaker(failures=1, first_pause=1.0)
    first = breaker.admit(0.0)
    assert first is not None
    assert breaker.failed(first, 0.0)
    assert breaker.left(0.25) == 0.75
    asked = [breaker.admit(1.0) for _ in range(10)]
    assert [ticket for ticket in asked if ticket is not None] == asked[:1]
    assert breaker.left(1.0) == 0.0


def test_those_that_were_under_way_when_it_opened_do_not_lengthen_the_pause() -> None:
    breaker = Breaker(failures=3, first_pause=1.0)
    tickets = [breaker.admit(0.0) for _ in range(64)]
    opened = [breaker.failed(ticket, at * 0.01) for at, ticket in enumerate(tickets) if ticket is not None]
    assert opened.count(True) == 1
    assert breaker.left(0.02) == 1.0
    probe = breaker.admit(1.02)
    assert probe is not None
    late = tickets[0]
    assert late is not None
    breaker.failed(late, 1.02)
    breaker.abandoned(late)
    assert breaker.admit(1.02) is None, "the one that asks is still asking"
    assert breaker.succeeded()


def test_an_answer_is_good_news_whoever_brings_it() -> None:
    breaker = Breaker(failures=1)
    slow, failing = breaker.admit(0.0), breaker.admit(0.0)
    assert slow is not None
    assert failing is not None
    breaker.failed(failing, 0.1)
    assert breaker.opened_at == 0.1
    assert breaker.succeeded()
    assert breaker.opened_at is None
    assert not breaker.succeeded()


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["ask", "failed", "succeeded", "abandoned"]), st.integers(0, 5), st.floats(0, 3)),
        max_size=60,
    )
)
def test_whatever_happens_it_lets_somebody_ask_within_the_longest_pause_and_one_at_a_time_while_open(
    steps: list[tuple[str, int, float]],
) -> None:
    breaker, now = Breaker(failures=3, first_pause=0.5, longest_pause=4.0), 0.0
    out: list[int] = []
    probe: int | None = None
    for what, which, passes in steps:
        now += passes
        if what == "ask":
            was_open = breaker.opened_at is not None
            ticket = breaker.admit(now)
            if ticket is not None:
                out.append(ticket)
                if was_open:
                    assert probe is None, "another one is asking"
                    probe = ticket
        elif out:
            ticket = out.pop(which % len(out))
            if what == "succeeded":
                breaker.succeeded()
            elif what == "failed":
                breaker.failed(ticket, now)
            else:
                breaker.abandoned(ticket)
            if what == "succeeded" or ticket == probe:
                probe = None
        assert 0.0 <= breaker.left(now) <= 4.0
    for ticket in out:
        breaker.abandoned(ticket)
    assert breaker.admit(now + 4.0) is not None
