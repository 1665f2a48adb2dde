from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.adapters.embedded.clock import SystemClock
from syncd.testing.clock import FrozenClock


class Machine:
    """A wall clock and a monotonic clock that a test turns by hand."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000.0
        self.monotonic = 100.0
        self.events: list[tuple[str, dict[str, object]]] = []
        self.clock = SystemClock(observe=self.observe, wall=lambda: self.wall, monotonic=lambda: self.monotonic)

    def observe(self, event: str, /, **facts: object) -> None:
        self.events.append((event, facts))

    def run(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


def test_now_follows_the_wall_clock_as_time_passes() -> None:
    machine = Machine()
    machine.run(12.5)
    assert machine.clock.now() == pytest.approx(machine.wall)
    assert machine.clock.stepped_back == 0
    assert machine.events == []


def test_now_jumps_forward_after_a_suspend_during_which_the_monotonic_clock_stood_still() -> None:
    machine = Machine()
    machine.wall += 3600
    assert machine.clock.now() == pytest.approx(machine.wall)
    assert machine.events == []


def test_a_difference_within_the_tolerance_changes_nothing() -> None:
    machine = Machine()
    before = machine.clock.now()
    machine.wall += 0.9
    assert machine.clock.now() == before
    machine.wall -= 1.8
    assert machine.clock.now() == before
    assert machine.events == []


def test_a_wall_clock_set_back_never_takes_now_back_and_is_reported_once() -> None:
    machine = Machine()
    before = machine.clock.now()
    machine.wall -= 600
    readings = []
    for _ in range(5):
        machine.run(1)
        readings.append(machine.clock.now())
    assert readings == pytest.approx([before + n for n in range(1, 6)])
    assert machine.clock.stepped_back == pytest.approx(600)
    assert [(event, round(float(str(facts["seconds"])))) for event, facts in machine.events] == [
        ("clock_stepped_back", 600)
    ]


def test_a_second_step_back_after_the_wall_caught_up_is_reported_again() -> None:
    machine = Machine()
    machine.wall -= 600
    machine.clock.now()
    machine.wall += 600
    machine.clock.now()
    assert machine.clock.stepped_back == 0
    machine.wall -= 30
    machine.clock.now()
    assert len(machine.events) == 2


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-1e6, 1e6)), max_size=40))
def test_now_never_goes_backwards_whatever_is_done_to_the_wall_clock(steps: list[tuple[float, float]]) -> None:
    machine = Machine()
    last = machine.clock.now()
    for passed, stepped in steps:
        machine.run(passed)
        machine.wall += stepped
        reading = machine.clock.now()
        assert reading >= last
        last = reading


async def test_sleepers_of_a_frozen_clock_wake_in_order_each_at_its_own_time() -> None:
    clock = FrozenClock(start=0)
    woke: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woke.append((name, clock.now()))

    tasks = [asyncio.create_task(sleeper(name, seconds)) for name, seconds in (("c", 3), ("a", 1), ("b", 2), ("d", 9))]
    await clock.advance(5)
    assert woke == [("a", 1), ("b", 2), ("c", 3)]
    assert clock.now() == 5
    assert clock.sleeping == 1
    await clock.set(9)
    assert woke[-1] == ("d", 9)
    await asyncio.gather(*tasks)


async def test_a_loop_on_a_frozen_clock_turns_as_often_as_fits_into_the_time_that_passes() -> None:
    clock = FrozenClock(start=0)
    turns: list[float] = []

    async def loop() -> None:
        while True:
            await clock.sleep(10)
            turns.append(clock.monotonic())

    task = asyncio.create_task(loop())
    await clock.advance(35)
    task.cancel()
    assert turns == [10, 20, 30]


async def test_a_cancelled_sleeper_is_passed_over() -> None:
    clock = FrozenClock()
    task = asyncio.create_task(clock.sleep(1))
    await clock.advance(0)
    task.cancel()
    await clock.advance(2)
    assert task.cancelled()
    assert clock.sleeping == 0


async def test_a_frozen_clock_refuses_to_run_backwards_but_its_wall_may_be_stepped() -> None:
    clock = FrozenClock(start=1000)
    with pytest.raises(ValueError):
        await clock.advance(-1)
    clock.step_wall(-400)
    assert clock.now() == 600
    assert clock.monotonic() == 0
