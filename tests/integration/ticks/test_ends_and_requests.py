"""How a run ends, what people ask for, and loops."""

from __future__ import annotations

import asyncio

import pytest

from syncd.adapters.embedded.store import Store
from syncd.domain.collections import EXECUTIONS
from syncd.domain.errors import Conflict, Invalid
from syncd.domain.ids import partition_of
from syncd.domain.times import DAY, HOUR
from syncd.flows.jobs import Tick, TickResult
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import Crash
from tests.integration.ticks.ticking import START, Runs, job, pass_time, run_all, running, statuses, ticks_of, until

# ---- how a run ends ----


async def test_a_run_beyond_its_timeout_is_cancelled_and_failed_with_the_reason(
    store: Store, clock: FrozenClock, runs: Runs
) -> None:
    nightly = job(runs, timeout=120.0)
    ticks = ticks_of(store, clock)
    await run_all(ticks, nightly)
    clock.step_wall(3 * HOUR)
    async with running(ticks, nightly, runs, clock) as task:
        await pass_time(clock, 105, sleepers=2)
        await clock.advance(14)
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
