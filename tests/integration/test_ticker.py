"""The ticker on the real clock: it wakes in time, loses nothing at a reload, and decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from syncd.adapters.embedded.clock import SystemClock
from syncd.domain.schedules import parse_schedule
from syncd.ports.observe import ignore
from syncd.runtime.ticker import Ticker, Wakeup


class Woken:
    """A job that counts its wakes; it claims nothing more after `ticks` runs, and can be held in one."""

    def __init__(self, ticks: int = 0) -> None:
        self.count = 0
        self.ticks = ticks
        self.hold = asyncio.Event()
        self.hold.set()
        self.seen = asyncio.Condition()

    async def __call__(self) -> bool:
        self.count += 1
        async with self.seen:
            self.seen.notify_all()
        await self.hold.wait()
        self.ticks -= 1
        return self.ticks >= 0

    async def reached(self, count: int) -> None:
        async with self.seen:
            await self.seen.wait_for(lambda: self.count >= count)


@pytest.fixture
async def ticker() -> AsyncIterator[Ticker]:
    ticker = Ticker(clock=SystemClock(), observe=ignore, pass_every=3600.0)
    task = asyncio.create_task(ticker.serve())
    await asyncio.sleep(0)
    yield ticker
    task.cancel()
    await asyncio.wait([task])


def wakeup(name: str, woken: Woken, schedule: str = "0 0 29 2 *") -> Wakeup:
    return Wakeup(name=name, schedule=parse_schedule(schedule), run=woken)


async def test_a_job_is_woken_at_each_of_its_instants(ticker: Ticker) -> None:
    woken = Woken()
    ticker.assign([wakeup("a", woken, "every 1s")])
    await woken.reached(1)  # the look at the assignment
    await woken.reached(3)  # no pass and no nudge comes in this test


async def test_a_job_is_asked_again_until_nothing_is_due(ticker: Ticker) -> None:
    woken = Woken(ticks=4)
    ticker.assign([wakeup("a", woken)])
    await woken.reached(5)
    await ticker.idle()
    assert woken.count == 5


async def test_a_nudge_during_a_run_means_one_more_look_and_never_two_at_once(ticker: Ticker) -> None:
    woken = Woken()
    woken.hold.clear()
    ticker.assign([wakeup("a", woken)])
    await woken.reached(1)
    for _ in range(10):
        ticker.nudge("a")
        ticker.nudge()
    assert ticker.running == ("a",)
    woken.hold.set()
    await ticker.idle()
    assert woken.count == 2
    ticker.nudge("unknown")


async def test_a_reload_takes_up_new_jobs_and_lets_what_runs_end(ticker: Ticker) -> None:
    old, new, gone = Woken(), Woken(ticks=1), Woken()
    old.hold.clear()
    ticker.assign([wakeup("a", old), wakeup("gone", gone, "every 1s")])
    await old.reached(1)
    await gone.reached(1)
    ticker.assign([wakeup("a", new)])
    looked = gone.count
    assert new.count == 0
    old.hold.set()
    await ticker.idle()
    assert (old.count, new.count) == (1, 2)
    ticker.nudge()
    await ticker.idle()
    assert gone.count == looked


async def test_a_closed_ticker_begins_nothing_and_lets_what_runs_end(ticker: Ticker) -> None:
    woken = Woken(ticks=10)
    woken.hold.clear()
    ticker.assign([wakeup("a", woken)])
    await woken.reached(1)
    ticker.close()
    ticker.nudge()
    woken.hold.set()
    await ticker.idle()
    assert woken.count == 1


async def test_a_pass_that_fails_is_observed_and_the_next_one_looks_again() -> None:
    events: list[str] = []

    def observe(event: str, /, **_facts: object) -> None:
        events.append(event)

    async def broken() -> bool:
        raise RuntimeError("the store is away")

    ticker = Ticker(clock=SystemClock(), observe=observe)
    ticker.assign([Wakeup(name="a", schedule=None, run=broken)])
    task = asyncio.create_task(ticker.serve())
    while not events:
        await asyncio.sleep(0)
    ticker.nudge("a")
    await ticker.idle()
    assert events == ["job_pass_failed"] * 2
    task.cancel()
    await asyncio.wait([task])


async def test_cancelling_the_ticker_cancels_what_runs(ticker: Ticker) -> None:
    woken = Woken()
    woken.hold.clear()
    other = Ticker(clock=SystemClock(), observe=ignore)
    other.assign([wakeup("a", woken)])
    task = asyncio.create_task(other.serve())
    await woken.reached(1)
    task.cancel()
    await asyncio.wait([task])
    assert other.running == ()
