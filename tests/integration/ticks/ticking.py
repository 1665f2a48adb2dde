"""Jobs that note their runs, and what tests of ticks do again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from syncd.adapters.embedded.store import Store
from syncd.domain.schedules import parse_schedule
from syncd.domain.times import iso, parse
from syncd.flows.jobs import Job, Tick, TickResult
from syncd.flows.ticks import Ticks
from syncd.ports.observe import ignore
from syncd.testing.clock import FrozenClock
from tests.integration.backends import Kept

START = parse("2026-05-01T00:00:00")
Run = Callable[[Tick], Awaitable[TickResult]]


class Runs:
    """A job that writes down what it was given; `hold` keeps it running."""

    def __init__(self) -> None:
        self.begun: list[Tick] = []
        self.ended: list[Tick] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.result = TickResult(evidence={"rows": 3})
        self.at_once = 0
        self.most_at_once = 0

    async def __call__(self, tick: Tick) -> TickResult:
        self.begun.append(tick)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.hold.wait()
        finally:
            self.at_once -= 1
        self.ended.append(tick)
        return self.result

    @property
    def times(self) -> list[str]:
        return [iso(tick.at)[5:16] for tick in self.ended]


def job(run: Run, schedule: str = "0 3 * * *", **options: object) -> Job:
    return replace(Job(name="nightly", schedule=parse_schedule(schedule), run=run, missed="once"), **options)


class Observed:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def __call__(self, event: str, /, **facts: object) -> None:
        self.events.append((event, facts))

    def facts(self, event: str) -> list[dict[str, object]]:
        return [facts for name, facts in self.events if name == event]


def ticks_of(store: Store | Kept, clock: FrozenClock, owner: str = "r1/b1", **options: object) -> Ticks:
    arguments: dict[str, object] = {"documents": store.documents, "observe": ignore, **options}
    return Ticks(clock=clock, owner=owner, **arguments)  # type: ignore[arg-type] # options are named by each test


async def run_all(ticks: Ticks, job: Job) -> None:
    while await ticks.run_next(job):
        pass


async def statuses(ticks: Ticks) -> dict[str, str]:
    page = await ticks.requests.history("nightly")
    return {item.data["at"][5:16]: item.data["status"] for item in page.items}


@asynccontextmanager
async def running(ticks: Ticks, job: Job, runs: Runs, clock: FrozenClock) -> AsyncIterator[asyncio.Task[bool]]:
    """The job under way and held; cancelled at the end if it still runs, as a dying process would be."""
    runs.hold.clear()
    count = len(runs.begun)
    task = asyncio.create_task(ticks.run_next(job))
    await until(lambda: len(runs.begun) > count and clock.sleeping >= 2)  # renewal and timeout
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def pass_time(clock: FrozenClock, seconds: float, *, sleepers: int) -> None:
    """Let time pass in strides that no lease is as short as, waiting for the renewals of `sleepers` to be stored each time."""
    for _ in range(int(seconds / 15)):
        await clock.advance(15)
        await until(lambda: clock.sleeping >= sleepers)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)
