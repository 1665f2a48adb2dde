"""Ticks over the embedded store: one run per tick on any number of replicas, whatever dies when (G3)."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.adapters.embedded.store import Store, open_store
from syncd.domain.collections import EXECUTIONS, SCHEDULES
from syncd.domain.errors import Conflict, Invalid, LeaseLost, Unavailable
from syncd.domain.ids import partition_of
from syncd.domain.jsontypes import JsonObject
from syncd.domain.schedules import parse_schedule
from syncd.domain.times import DAY, HOUR, iso, parse
from syncd.flows.jobs import Job, Tick, TickResult
from syncd.flows.ticks import Ticks
from syncd.ports.observe import ignore
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import Crash, CrashAt, at_every_call

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


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(START)


@pytest.fixture
async def store(tmp_path: Path, clock: FrozenClock) -> AsyncIterator[Store]:
    async with open_store(tmp_path, clock=clock, durable=False) as store:
        yield store


@pytest.fixture
def runs() -> Runs:
    return Runs()


class Observed:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def __call__(self, event: str, /, **facts: object) -> None:
        self.events.append((event, facts))

    def facts(self, event: str) -> list[dict[str, object]]:
        return [facts for name, facts in self.events if name == event]


@pytest.fixture
def observed() -> Observed:
    return Observed()


def ticks_of(store: Store, clock: FrozenClock, owner: str = "r1/b1", **options: object) -> Ticks:
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


# ---- when something is due ----


async def test_a_first_start_runs_nothing_late_and_then_each_tick_once(
    store: Store, clock: FrozenClock, runs: Runs
) -> None:
    ticks, nightly = ticks_of(store, clock), job(runs)
    clock.step_wall(5 * HOUR)
    await run_all(ticks, nightly)
    assert runs.times == []
    for _ in range(3):
        clock.step_wall(DAY)
        await run_all(ticks, nightly)
        await run_all(ticks, nightly)
    assert runs.times == ["05-02T03:00", "05-03T03:00", "05-04T03:00"]
    assert {tick.trigger for tick in runs.ended} == {"missed"}


async def test_a_tick_that_is_claimed_in_time_leaves_its_evidence(store: Store, clock: FrozenClock, runs: Runs) -> None:
    ticks, nightly = ticks_of(store, clock), job(runs)
    await run_all(ticks, nightly)
    clock.step_wall(3 * HOUR + 0.25)
    assert await ticks.run_next(nightly)
    [document] = (await ticks.requests.history("nightly")).items
    assert document.id == "tick~2026-05-01T03:00:00.000Z"
    assert document.data["status"] == "succeeded"
    assert document.data["trigger"] == "schedule"
    assert document.data["term"] == 1
    assert document.data["evidence"] == {"rows": 3}
    assert document.data["startedAt"] == "2026-05-01T03:00:00.250Z"
    assert "until" not in document.data
    [execution] = (await ticks.executions.latest()).items
    assert execution.id == runs.ended[0].execution_id
    assert partition_of(execution.id) == "nightly:202605"
    assert execution.data["status"] == "succeeded"
    assert execution.data["correlationId"] == runs.ended[0].correlation_id
    assert (await ticks.requests.book("nightly"))["running"] is None


@pytest.mark.parametrize(
    ("missed", "window", "ran", "noticed"),
    [
        ("skip", DAY, [], {"05-04T03:00": "missed"}),
        ("once", DAY, ["05-04T03:00"], {"05-04T03:00": "succeeded", "05-03T03:00": "missed"}),
        ("once", HOUR, [], {"05-04T03:00": "missed"}),
        (
            "all",
            2 * DAY,
            ["05-03T03:00", "05-04T03:00"],
            {"05-03T03:00": "succeeded", "05-04T03:00": "succeeded", "05-02T03:00": "missed"},
        ),
    ],
)
async def test_missed_ticks_follow_their_policy_and_are_noticed(
    store: Store,
    clock: FrozenClock,
    runs: Runs,
    observed: Observed,
    missed: str,
    window: float,
    ran: list[str],
    noticed: dict[str, str],
) -> None:
    nightly = job(runs, missed=missed, missed_window=window)
    await run_all(ticks_of(store, clock), nightly)
    clock.step_wall(3 * HOUR)
    await run_all(ticks_of(store, clock), nightly)
    assert runs.times == ["05-01T03:00"]
    clock.step_wall(3 * DAY + 2 * HOUR)  # down over three nights
    ticks = ticks_of(store, clock, "r1/b2", observe=observed)
    await run_all(ticks, nightly)
    assert runs.times[1:] == ran
    assert await statuses(ticks) == {"05-01T03:00": "succeeded", **noticed}
    assert sum(int(str(f["count"])) for f in observed.facts("job_missed")) == 3 - len(ran)


async def test_all_runs_every_tick_of_a_long_outage_in_order_and_in_bounded_steps(
    store: Store, clock: FrozenClock, runs: Runs
) -> None:
    each = job(runs, "every 1m", missed="all", missed_window=DAY)
    await run_all(ticks_of(store, clock), each)
    clock.step_wall(130 * 60)
    await run_all(ticks_of(store, clock), each)
    assert [tick.at for tick in runs.ended] == [START + 60 * n for n in range(1, 131)]


@pytest.mark.parametrize("change", ["edit", "enable", "pause"])
async def test_editing_enabling_and_resuming_make_no_missed_run(
    store: Store, clock: FrozenClock, runs: Runs, change: str
) -> None:
    ticks, nightly = ticks_of(store, clock), job(runs)
    await run_all(ticks, nightly)
    if change == "pause":
        await ticks.requests.pause(nightly)
    if change == "enable":
        await run_all(ticks, replace(nightly, enabled=False))
    clock.step_wall(DAY)
    if change != "edit":
        await run_all(ticks, nightly if change == "pause" else replace(nightly, enabled=False))
    if change == "pause":
        await ticks.requests.resume(nightly)
    if change == "edit":
        nightly = job(runs, "0 4 * * *")
    await run_all(ticks_of(store, clock, "r1/b2"), nightly)
    assert runs.times == []
    clock.step_wall(DAY)
    await run_all(ticks, nightly)
    assert len(runs.times) == 1


async def test_a_replica_with_an_older_configuration_does_not_take_an_edit_back(
    store: Store, clock: FrozenClock, runs: Runs
) -> None:
    old, new = ticks_of(store, clock, "old/1"), ticks_of(store, clock, "new/1")
    before, after = job(runs), job(runs, "30 3 * * *")
    await run_all(old, before)
    clock.step_wall(HOUR)
    await run_all(new, after)
    for _ in range(6):
        clock.step_wall(30 * 60)
        await run_all(old, before)
        await run_all(new, after)
    assert sorted(runs.times) == ["05-01T03:00", "05-01T03:30"]


async def test_a_replica_whose_clock_is_off_leaves_claiming_to_others(
    store: Store, clock: FrozenClock, runs: Runs, observed: Observed
) -> None:
    nightly = job(runs)
    skew = [0.0]
    ticks = ticks_of(store, clock, skew=lambda: skew[0], observe=observed)
    await run_all(ticks, nightly)
    clock.step_wall(3 * HOUR)
    for skew[0] in (-5.1, 300.0):
        await run_all(ticks, nightly)
        assert runs.times == []
    assert len(observed.facts("job_not_claimed")) == 2
    skew[0] = 4.9
    await run_all(ticks, nightly)
    assert runs.times == ["05-01T03:00"]


# ---- one at a time ----


async def test_while_a_tick_runs_no_replica_starts_another(store: Store, clock: FrozenClock, runs: Runs) -> None:
    nightly = job(runs, timeout=10 * DAY)
    first, second = ticks_of(store, clock), ticks_of(store, clock, "r2/b1")
    await run_all(first, nightly)
    clock.step_wall(3 * HOUR)
    async with running(first, nightly, runs, clock):
        for _ in range(20):
            await pass_time(clock, 30, sleepers=2)
            assert not await second.run_next(nightly)
        assert len(runs.begun) == 1


@pytest.mark.parametrize(
    ("overlap", "ran", "passed"),
    [
        ("skip", ["05-01T00:05", "05-01T00:20"], 2),
        ("queue", ["05-01T00:05", "05-01T00:10", "05-01T00:15", "05-01T00:20"], 0),
    ],
)
async def test_ticks_that_come_due_during_a_run_are_skipped_or_queued(
    store: Store, clock: FrozenClock, runs: Runs, observed: Observed, overlap: str, ran: list[str], passed: int
) -> None:
    each = job(runs, "every 5m", overlap=overlap, timeout=DAY)
    ticks = ticks_of(store, clock, observe=observed)
    await run_all(ticks, each)
    await clock.advance(300)
    async with running(ticks, each, runs, clock) as task:
        await pass_time(clock, 630, sleepers=2)
        runs.hold.set()
        await task
    await run_all(ticks, each)
    clock.step_wall(290)
    await run_all(ticks, each)
    assert runs.times == ran
    assert sum(int(str(f["count"])) for f in observed.facts("job_skipped")) == passed


async def test_a_tick_whose_runner_died_is_taken_over_when_its_lease_ran_out(
    store: Store, clock: FrozenClock, runs: Runs
) -> None:
    nightly = job(runs)
    dead, alive = ticks_of(store, clock, "r1/b1"), ticks_of(store, clock, "r2/b1")
    await run_all(dead, nightly)
    clock.step_wall(3 * HOUR)
    async with running(dead, nightly, runs, clock):
        pass
    runs.hold.set()
    clock.step_wall(89)
    assert not await alive.run_next(nightly)
    clock.step_wall(1.1)
    assert await alive.run_next(nightly)
    assert [tick.term for tick in runs.begun] == [1, 2]
    assert runs.begun[0].execution_id != runs.begun[1].execution_id
    assert len({tick.correlation_id for tick in runs.begun}) == 1
    assert await statuses(alive) == {"05-01T03:00": "succeeded"}
    executions = (await alive.executions.latest()).items
    assert sorted(item.data["status"] for item in executions) == ["abandoned", "succeeded"]


@pytest.mark.parametrize(
    ("guarded", "alone", "replica", "at_once"),
    [(False, True, "r1", True), (True, True, "r1", False), (False, True, "r2", False), (False, False, "r1", False)],
)
async def test_leases_of_an_earlier_boot_are_void_unless_they_guard_a_call_or_may_be_somebody_else_s(
    store: Store, clock: FrozenClock, runs: Runs, guarded: bool, alone: bool, replica: str, at_once: bool
) -> None:
    nightly = job(runs, guards_outgoing_call=guarded)
    dead = ticks_of(store, clock, "r1/b1", alone=True)
    await run_all(dead, nightly)
    clock.step_wall(3 * HOUR)
    async with running(dead, nightly, runs, clock):
        pass
    runs.hold.set()
    assert await ticks_of(store, clock, f"{replica}/b2", alone=alone).run_next(nightly) == at_once


async def test_a_tick_that_kills_every_runner_is_failed_after_five(
    store: Store, clock: FrozenClock, runs: Runs
) -> None:
    nightly = job(runs)
    ticks = ticks_of(store, clock)
    await run_all(ticks, nightly)
    clock.step_wall(3 * HOUR)
    for _ in range(5):
        async with running(ticks, nightly, runs, clock):
            pass
        clock.step_wall(91)
    assert not await ticks.run_next(nightly)
    [document] = (await ticks.requests.history("nightly")).items
    assert document.data["status"] == "failed"
    assert "died 5 times" in document.data["reason"]
    runs.hold.set()
    clock.step_wall(DAY)
    assert await ticks.run_next(nightly)


async def test_a_tick_that_was_missed_while_a_dead_runner_held_the_book_is_not_lost(
    store: Store, clock: FrozenClock, runs: Runs
) -> None:
    hourly = job(runs, "0 * * * *", missed="once")
    ticks = ticks_of(store, clock)
    await run_all(ticks, hourly)
    clock.step_wall(HOUR)
    async with running(ticks, hourly, runs, clock):
        pass
    runs.hold.set()
    clock.step_wall(5 * HOUR + 100)
    await run_all(ticks_of(store, clock, "r1/b2"), hourly)
    assert runs.times == ["05-01T01:00", "05-01T06:00"]


async def test_a_runner_that_was_taken_over_has_its_outcome_dropped(
    store: Store, clock: FrozenClock, runs: Runs
) -> None:
    nightly = job(runs, timeout=DAY)
    slow, other = ticks_of(store, clock, "r1/b1"), ticks_of(store, clock, "r2/b1")
    await run_all(slow, nightly)
    clock.step_wall(3 * HOUR)
    async with running(slow, nightly, runs, clock) as task:
        clock.stall(91)  # it stood still, and renewed nothing
        claimed = await other.claim(nightly)
        assert claimed is not None
        with pytest.raises(LeaseLost):
            await runs.begun[0].sending()
        runs.result = TickResult(status="failed", reason="stale")
        runs.hold.set()
        assert await task
    [document] = (await other.requests.history("nightly")).items
    assert (document.data["status"], document.data["term"]) == ("running", 2)
    runs.result = TickResult()
    assert await other.run(nightly, claimed)
    assert await statuses(other) == {"05-01T03:00": "succeeded"}


async def test_a_run_is_cancelled_when_its_lease_is_taken_over(store: Store, clock: FrozenClock, runs: Runs) -> None:
    nightly = job(runs, timeout=DAY)
    slow, other = ticks_of(store, clock, "r1/b1"), ticks_of(store, clock, "r2/b1")
    await run_all(slow, nightly)
    clock.step_wall(3 * HOUR)
    async with running(slow, nightly, runs, clock) as task:
        clock.stall(91)
        assert await other.claim(nightly) is not None
        await clock.advance(1)
        await task
    assert runs.ended == []


async def test_a_run_is_cancelled_before_its_lease_ends_while_the_store_is_away(
    store: Store, clock: FrozenClock, runs: Runs
) -> None:
    class Away:
        away = False

        def __getattr__(self, name: str) -> object:
            if self.away:
                raise Unavailable("the store is away")
            return getattr(store.documents, name)

    documents = Away()
    nightly = job(runs, timeout=DAY)
    ticks = ticks_of(store, clock, documents=documents)
    await run_all(ticks, nightly)
    clock.step_wall(3 * HOUR)
    async with running(ticks, nightly, runs, clock) as task:
        documents.away = True
        await clock.advance(89)
        await task
    assert runs.ended == []
    documents.away = False
    clock.step_wall(10)
    runs.hold.set()
    await run_all(ticks_of(store, clock, "r2/b1"), nightly)
    assert len(runs.ended) == 1


async def test_an_outcome_is_recorded_late_where_the_store_is_away_for_a_moment(
    store: Store, clock: FrozenClock, runs: Runs
) -> None:
    failures = 3

    class Flaky:
        capabilities = store.documents.capabilities

        def __getattr__(self, name: str) -> object:
            nonlocal failures
            if runs.ended and failures:
                failures -= 1
                raise Unavailable("not now")
            return getattr(store.documents, name)

    nightly = job(runs)
    ticks = ticks_of(store, clock, documents=Flaky())
    await run_all(ticks, nightly)
    clock.step_wall(3 * HOUR)
    task = asyncio.create_task(ticks.run_next(nightly))
    await until(lambda: bool(runs.ended))
    while not task.done():
        await until(lambda: clock.sleeping == 1 or task.done())
        await clock.advance(1)
    assert await task
    assert failures == 0
    assert await statuses(ticks) == {"05-01T03:00": "succeeded"}


# ---- how a run ends ----


async def test_a_run_beyond_its_timeout_is_cancelled_and_failed_with_the_reason(
    store: Store, clock: FrozenClock, runs: Runs
) -> None:
    nightly = job(runs, timeout=120.0)
    ticks = ticks_of(store, clock)
    await run_all(ticks, nightly)
    clock.step_wall(3 * HOUR)
    async with running(ticks, nightly, runs, clock) as task:
        await clock.advance(119)
        assert not task.done()
        await clock.advance(1)
        assert await task
    [document] = (await ticks.requests.history("nightly")).items
    assert document.data["status"] == "failed"
    assert "timeout of 120 s" in document.data["reason"]


async def test_an_error_of_the_job_is_its_failure_and_is_not_tried_again(store: Store, clock: FrozenClock) -> None:
    async def broken(_tick: Tick) -> TickResult:
        raise RuntimeError("no such table")

    ticks, nightly = ticks_of(store, clock), job(broken)
    await run_all(ticks, nightly)
    clock.step_wall(3 * HOUR)
    assert await ticks.run_next(nightly)
    assert not await ticks.run_next(nightly)
    [document] = (await ticks.requests.history("nightly")).items
    assert (document.data["status"], document.data["reason"]) == ("failed", "RuntimeError: no such table")


async def test_a_killed_run_leaves_its_tick_to_be_taken_over(store: Store, clock: FrozenClock) -> None:
    async def killed(_tick: Tick) -> TickResult:
        raise Crash("kill -9")

    ticks, nightly = ticks_of(store, clock), job(killed)
    await run_all(ticks, nightly)
    clock.step_wall(3 * HOUR)
    with pytest.raises(Crash):
        await ticks.run_next(nightly)
    assert await statuses(ticks) == {"05-01T03:00": "running"}


async def test_jitter_delays_a_scheduled_run_inside_its_span_and_never_one_that_was_asked_for(
    store: Store, clock: FrozenClock, runs: Runs
) -> None:
    nightly = job(runs, jitter=600.0)
    ticks = ticks_of(store, clock)
    await run_all(ticks, nightly)
    await ticks.requests.request_run(nightly)
    assert await ticks.run_next(nightly)
    clock.step_wall(3 * HOUR)
    task = asyncio.create_task(ticks.run_next(nightly))
    await until(lambda: clock.sleeping >= 3)  # renewal, timeout, and the run itself
    assert len(runs.begun) == 1
    while not task.done():
        await until(lambda: clock.sleeping >= 3 or task.done())
        if not runs.ended[1:]:
            await clock.advance(10)
    assert 0 < clock.now() - START - 3 * HOUR <= 610
    assert len(runs.ended) == 2


# ---- asked for by people ----


async def test_a_run_that_was_asked_for_happens_once_also_where_the_job_is_paused_or_off(
    store: Store, clock: FrozenClock, runs: Runs
) -> None:
    ticks, nightly = ticks_of(store, clock), job(runs, enabled=False)
    await ticks.requests.pause(nightly)
    execution = await ticks.requests.request_run(nightly, by="ann")
    found = await store.documents.get(EXECUTIONS, partition_of(execution), execution)
    assert found is not None
    assert found.data["status"] == "due"
    await run_all(ticks, nightly)
    assert [tick.trigger for tick in runs.ended] == ["manual"]
    assert runs.ended[0].execution_id == execution
    found = await store.documents.get(EXECUTIONS, partition_of(execution), execution)
    assert found is not None
    assert found.data["status"] == "succeeded"


async def test_two_runs_asked_for_in_the_same_moment_are_two(store: Store, clock: FrozenClock, runs: Runs) -> None:
    ticks, nightly = ticks_of(store, clock), job(runs)
    ids = [await ticks.requests.request_run(nightly) for _ in range(3)]
    assert len(set(ids)) == 3
    clock.step_wall(1)
    await run_all(ticks, nightly)
    assert [tick.execution_id for tick in runs.ended] == ids


async def test_asking_twice_for_one_nominal_time_is_asking_once(store: Store, clock: FrozenClock, runs: Runs) -> None:
    ticks, nightly = ticks_of(store, clock), job(runs)
    at = START - DAY
    assert await ticks.requests.request_run(nightly, at) == await ticks.requests.request_run(nightly, at)
    await run_all(ticks, nightly)
    assert [tick.at for tick in runs.ended] == [at]
    with pytest.raises(Conflict, match="succeeded"):
        await ticks.requests.request_run(nightly, at)


async def test_a_failed_tick_may_be_asked_for_again_but_not_one_whose_call_was_sent(
    store: Store, clock: FrozenClock
) -> None:
    sends = False

    async def fails(tick: Tick) -> TickResult:
        if sends:
            await tick.sending(to="x")
        return TickResult(status="failed", reason="no")

    ticks, nightly = ticks_of(store, clock), job(fails)
    at = START - DAY
    first = await ticks.requests.request_run(nightly, at)
    await run_all(ticks, nightly)
    sends = True
    second = await ticks.requests.request_run(nightly, at)
    assert second != first
    await run_all(ticks, nightly)
    with pytest.raises(Conflict):
        await ticks.requests.request_run(nightly, at)


async def test_a_run_asked_for_a_time_to_come_waits_for_it_and_takes_the_place_of_the_scheduled_one(
    store: Store, clock: FrozenClock, runs: Runs
) -> None:
    ticks, nightly = ticks_of(store, clock), job(runs)
    await ticks.requests.request_run(nightly, START + 3 * HOUR)
    await run_all(ticks, nightly)
    assert runs.times == []
    clock.step_wall(3 * HOUR)
    await run_all(ticks, nightly)
    assert runs.times == ["05-01T03:00"]
    assert runs.ended[0].trigger == "manual"


async def test_a_job_that_refuses_to_be_run_says_why(store: Store, clock: FrozenClock, runs: Runs) -> None:
    with pytest.raises(Invalid, match="FINOPS_SYNC_ENABLED"):
        await ticks_of(store, clock).requests.request_run(job(runs, refusal="FINOPS_SYNC_ENABLED is off"))


async def test_pausing_stops_what_comes_and_lets_what_runs_end(store: Store, clock: FrozenClock, runs: Runs) -> None:
    ticks, nightly = ticks_of(store, clock), job(runs)
    await run_all(ticks, nightly)
    clock.step_wall(3 * HOUR)
    async with running(ticks, nightly, runs, clock) as task:
        await ticks.requests.pause(nightly, by="ann")
        runs.hold.set()
        assert await task
    assert await statuses(ticks) == {"05-01T03:00": "succeeded"}
    book = await ticks.requests.book("nightly")
    assert (book["paused"], book["pausedBy"], book["running"]) == (True, "ann", None)
    assert ticks.requests.next_at(nightly, book) is None
    await ticks.requests.resume(nightly)
    book = await ticks.requests.book("nightly")
    assert ticks.requests.next_at(nightly, book) == START + DAY + 3 * HOUR


# ---- loops ----


async def test_a_loop_has_one_pass_per_period_over_all_replicas_and_no_documents_per_tick(
    store: Store, clock: FrozenClock, runs: Runs
) -> None:
    loop = job(runs, "every 1m", loop=True)
    replicas = [ticks_of(store, clock, f"r{n}/b1") for n in range(3)]
    for _ in range(5):
        clock.step_wall(60)
        for ticks in replicas:
            await run_all(ticks, loop)
    assert len(runs.ended) == 4  # the first look is the baseline
    assert (await replicas[0].requests.history("nightly")).items == []
    assert (await replicas[0].executions.latest()).items == []
    assert (await replicas[0].requests.book("nightly"))["last"]["status"] == "succeeded"


async def test_a_pass_whose_runner_died_blocks_the_loop_only_for_its_lease(
    store: Store, clock: FrozenClock, runs: Runs
) -> None:
    loop = job(runs, "every 1m", loop=True)
    dead, alive = ticks_of(store, clock, "r1/b1"), ticks_of(store, clock, "r2/b1")
    await run_all(dead, loop)
    clock.step_wall(60)
    async with running(dead, loop, runs, clock):
        pass
    runs.hold.set()
    clock.step_wall(60)
    assert not await alive.run_next(loop)
    clock.step_wall(31)
    assert await alive.run_next(loop)


async def test_a_pass_of_a_loop_can_be_asked_for_and_is_recorded(store: Store, clock: FrozenClock, runs: Runs) -> None:
    loop = job(runs, "every 1m", loop=True)
    ticks = ticks_of(store, clock)
    execution = await ticks.requests.request_run(loop)
    assert await ticks.requests.request_run(loop) == execution
    await run_all(ticks, loop)
    assert len(runs.ended) == 1
    [document] = (await ticks.executions.latest()).items
    assert (document.id, document.data["status"]) == (execution, "succeeded")


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


async def test_a_tick_survives_a_crash_at_every_port_call(tmp_path: Path) -> None:
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
        async with open_store(directory, clock=clock, durable=False) as store:
            doomed = ticks_of(store, clock, "r1/b1", documents=crash.wrap("documents", store.documents))
            try:
                await run_all(doomed, nightly)
                clock.step_wall(3 * HOUR)
                await run_all(doomed, nightly)
            except Crash:
                pass
            ticks = ticks_of(store, clock, "r1/b2", alone=True)
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

    assert await at_every_call(scenario) > 10


async def test_documents_of_ticks_expire_and_the_book_does_not(store: Store, clock: FrozenClock, runs: Runs) -> None:
    ticks, nightly = ticks_of(store, clock), job(runs)
    await run_all(ticks, nightly)
    clock.step_wall(3 * HOUR)
    await run_all(ticks, nightly)
    clock.step_wall(46 * DAY)
    assert (await ticks.requests.history("nightly")).items == []
    assert await store.documents.get(SCHEDULES, "nightly", "schedule") is not None
