"""When a tick is due, and what passed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from syncd.adapters.embedded.store import Store
from syncd.domain.ids import partition_of
from syncd.domain.times import DAY, HOUR
from syncd.testing.clock import FrozenClock
from tests.integration.ticks.ticking import START, Observed, Runs, job, run_all, statuses, ticks_of

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
