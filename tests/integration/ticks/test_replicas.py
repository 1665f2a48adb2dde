"""Many replicas, any order, any crash."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.adapters.embedded.store import Store, open_store
from syncd.domain.collections import SCHEDULES
from syncd.domain.jsontypes import JsonObject
from syncd.domain.times import DAY, HOUR, iso
from syncd.flows.jobs import Tick, TickResult
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import Crash, CrashAt
from tests.integration.backends import Backend
from tests.integration.ticks.ticking import START, Runs, job, run_all, statuses, ticks_of, until

# ---- many replicas, any order, any crash ----


class Replicas:
    """Four replicas on one store, driven step by step."""

    def __init__(self, store: Store, clock: FrozenClock) -> None:
        self.store = store
        self.clock = clock
        self.runs = Runs()
        self.job = job(self.runs, "0 * * * *", missed="all", missed_window=30 * DAY, timeout=10 * DAY)
        self.boots = [0, 0, 0, 0]
        self.replicas = [ticks_of(store, clock, f"r{n}/0") for n in range(4)]
        self.tasks: dict[int, asyncio.Task[bool]] = {}

    async def step(self, n: int, step: str) -> None:
        if step == "begin" and n not in self.tasks:
            self.runs.hold.clear()
            task = self.tasks[n] = asyncio.create_task(self.replicas[n].run_next(self.job))
            count = len(self.runs.begun)
            await until(lambda: task.done() or (len(self.runs.begun) > count and self.clock.sleeping >= 2))
        elif step == "look" and n not in self.tasks:
            self.runs.hold.set()  # two at once, racing for the same book
            await asyncio.gather(*(self.replicas[m % 4].run_next(self.job) for m in (n, n + 1)))
        elif step == "die":
            await self.kill(n)
        elif step == "end":
            self.runs.hold.set()
            await until(lambda: all(task.done() for task in self.tasks.values()))
            self.tasks.clear()
        elif step.startswith("wait"):
            await self.wait(float(step[5:]))

    async def wait(self, seconds: float) -> None:
        """In small steps while something runs, so that its renewals come in time."""
        running = [task for task in self.tasks.values() if not task.done()]
        stride = 15.0 if running else seconds
        for _ in range(int(seconds / stride)):
            await self.clock.advance(stride)
            await until(lambda: self.clock.sleeping >= 2 or all(task.done() for task in running))

    async def kill(self, n: int) -> None:
        task = self.tasks.pop(n, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self.boots[n] += 1
        self.replicas[n] = ticks_of(self.store, self.clock, f"r{n}/{self.boots[n]}")


STEPS = ["look", "look", "begin", "begin", "die", "end", "wait 30", "wait 100", "wait 3600"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(STEPS)), min_size=5, max_size=40))
def test_replicas_that_look_begin_and_die_in_any_order_run_each_tick_once_and_never_two_at_once(
    steps: list[tuple[int, str]],
) -> None:
    async def world(directory: Path) -> None:
        clock = FrozenClock(START)
        async with open_store(directory, clock=clock, durable=False) as store:
            world = Replicas(store, clock)
            await run_all(world.replicas[0], world.job)
            for n, step in steps:
                await world.step(n, step)
            for n in range(4):
                await world.kill(n)
            world.runs.hold.set()
            clock.step_wall(100)
            await run_all(world.replicas[0], world.job)
            history = await world.replicas[0].requests.history("nightly", limit=200)
        by_time = {item.data["at"]: item.data["status"] for item in history.items}
        done = [iso(tick.at) for tick in world.runs.ended]
        assert world.runs.most_at_once <= 1
        assert len(done) == len(set(done)), "a tick had two whole runs"
        assert set(done) == {at for at, status in by_time.items() if status == "succeeded"}
        assert set(by_time.values()) <= {"succeeded", "failed", "skipped"}

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(world(Path(directory)))


class Turnstile:
    """Lets the port calls of several tasks through one at a time, in the order that the test draws."""

    def __init__(self, port: object) -> None:
        self._port = port
        self._waiting: list[asyncio.Future[None]] = []

    def __getattr__(self, name: str) -> object:
        method = getattr(self._port, name)

        async def call(*arguments: object, **options: object) -> object:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
            return await method(*arguments, **options)

        return call

    async def drive(self, tasks: list[asyncio.Task[None]], draw: Callable[[int], int]) -> None:
        while not all(task.done() for task in tasks):
            await until(lambda: len(self._waiting) >= sum(not task.done() for task in tasks))
            if self._waiting:
                self._waiting.pop(draw(len(self._waiting))).set_result(None)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_three_replicas_interleaved_at_every_port_call_share_the_ticks_between_them(seed: int) -> None:
    order = random.Random(seed)

    async def world(directory: Path) -> None:
        clock = FrozenClock(START)
        runs = Runs()

        async def work(tick: Tick) -> TickResult:
            await tick.sending()  # port calls inside the run, so that others are let in between
            return await runs(tick)

        overlapping: list[int] = []
        most: list[int] = []

        async def watched(tick: Tick) -> TickResult:
            overlapping.append(1)
            most.append(len(overlapping))
            result = await work(tick)
            overlapping.pop()
            return result

        hourly = job(watched, "0 * * * *", missed="all", missed_window=DAY)
        async with open_store(directory, clock=clock, durable=False) as store:
            await run_all(ticks_of(store, clock), hourly)
            clock.step_wall(3 * HOUR)
            turnstile = Turnstile(store.documents)
            replicas = [ticks_of(store, clock, f"r{n}/1", documents=turnstile) for n in range(3)]
            tasks = [asyncio.create_task(run_all(replica, hourly)) for replica in replicas]
            await turnstile.drive(tasks, order.randrange)
            assert max(most) == 1, "two ticks of one job ran at once"
            assert sorted(tick.at for tick in runs.ended) == [START + HOUR * n for n in (1, 2, 3)]
            assert {tick.term for tick in runs.ended} == {1}
            assert set((await statuses(ticks_of(store, clock))).values()) == {"succeeded"}

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(world(Path(directory)))


async def test_a_tick_survives_a_crash_at_every_port_call(tmp_path: Path, backend: Backend) -> None:
    worlds = 0

    async def scenario(crash: CrashAt) -> None:
        nonlocal worlds
        worlds += 1
        effects: list[float] = []
        sent: list[float] = []

        async def effect(tick: Tick) -> TickResult:
            if tick.sent_at is None:
                await tick.sending(n=len(sent))
                sent.append(tick.at)  # the call that must not be repeated
            effects.append(tick.at)
            return TickResult()

        clock = FrozenClock(START)
        nightly = job(effect, guards_outgoing_call=True)
        directory = tmp_path / str(worlds)
        await asyncio.to_thread(directory.mkdir)
        async with backend.opened(directory, clock, crash) as kept:
            doomed = ticks_of(kept, clock, "r1/b1")
            try:
                await run_all(doomed, nightly)
                clock.step_wall(3 * HOUR)
                await run_all(doomed, nightly)
            except Crash:
                pass
        async with backend.opened(directory, clock, CrashAt()) as kept:
            ticks = ticks_of(kept, clock, "r1/b2", alone=True)
            if clock.now() == START:  # it died before the baseline: the job is first seen now
                await run_all(ticks, nightly)
                clock.step_wall(3 * HOUR)
            clock.step_wall(91)
            await run_all(ticks, nightly)
            assert await statuses(ticks) == {"05-01T03:00": "succeeded"}
            assert len(sent) <= 1
            assert set(effects) == {START + 3 * HOUR}
            book: JsonObject = await ticks.requests.book("nightly")
            assert book["running"] is None

    await backend.at_port_calls(scenario, more_than=10)


async def test_documents_of_ticks_expire_and_the_book_does_not(store: Store, clock: FrozenClock, runs: Runs) -> None:
    ticks, nightly = ticks_of(store, clock), job(runs)
    await run_all(ticks, nightly)
    clock.step_wall(3 * HOUR)
    await run_all(ticks, nightly)
    clock.step_wall(46 * DAY)
    assert (await ticks.requests.history("nightly")).items == []
    assert await store.documents.get(SCHEDULES, "nightly", "schedule") is not None
