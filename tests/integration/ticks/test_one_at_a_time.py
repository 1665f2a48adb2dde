"""No two ticks of a job at once, and none lost with its runner."""

from __future__ import annotations

import asyncio

import pytest

from syncd.adapters.embedded.store import Store
from syncd.domain.errors import LeaseLost, Unavailable
from syncd.domain.times import DAY, HOUR
from syncd.flows.jobs import TickResult
from syncd.testing.clock import FrozenClock
from tests.integration.ticks.ticking import (
    Observed,
    Runs,
    job,
    pass_time,
    run_all,
    running,
    statuses,
    ticks_of,
    until,
)

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
