"""Between two ticks: soon after somebody asked, and when a task's own time has come; never at a start."""

from __future__ import annotations

import asyncio

import pytest

from syncd.domain.collections import SCHEDULES
from syncd.domain.errors import Overloaded
from syncd.domain.ticks import BOOK
from syncd.domain.times import HOUR, parse
from syncd.flows.planner import JOB_NAME, Planner
from syncd.ports.documents import Create, Delete
from syncd.testing.clock import FrozenClock
from tests.integration.tasks.world import World


def planner_of(world: World, **fields: bool) -> Planner:
    return Planner(plan=world.plan, documents=world.documents, clock=world.clock, **fields)


def plans(world: World) -> int:
    return len(world.seen.named("tasks_scheduled"))


async def test_a_start_plans_nothing_and_what_is_asked_for_is_planned_at_once(world: World) -> None:
    await world.add()
    planner = planner_of(world)
    assert await planner.look() is False
    assert (plans(world), planner.next_after(world.clock.now())) == (0, None)
    planner.ask()
    assert planner.asked
    assert await planner.look() is False
    assert ((await world.task())["status"], planner.asked) == ("queued", False)


async def test_what_is_asked_for_again_within_a_second_is_one_more_plan_after_it(
    world: World, clock: FrozenClock
) -> None:
    planner = planner_of(world)
    planner.ask()
    await planner.look()
    await world.add()
    for _ in range(50):
        planner.ask()
    looking = asyncio.create_task(planner.look())
    while not clock.sleeping:
        await asyncio.sleep(0)  # one turn of the loop; the store answers from its thread
    await clock.advance(0.9)
    assert plans(world) == 1
    await clock.advance(0.1)
    await looking
    assert (plans(world), (await world.task())["status"]) == (2, "queued")


async def test_a_task_runs_at_its_own_time_without_waiting_for_the_tick(world: World) -> None:
    await world.clock.set(parse("2026-05-20T12:01:00"))
    await world.add(status="succeeded", schedule="every 5m", nextScheduled="2026-05-20T12:05:00.000Z")
    planner, blind = planner_of(world), planner_of(world, by_time=False)
    for one in (planner, blind):
        await one.look()
    assert planner.next_after(world.clock.now()) == parse("2026-05-20T12:05:00")
    assert blind.next_after(world.clock.now()) is None
    await world.clock.set(parse("2026-05-20T12:05:00"))
    for one in (blind, planner):
        await one.look()
    assert ((await world.task())["status"], (await world.task())["generation"]) == ("queued", 1)
    assert planner.next_after(world.clock.now()) == parse("2026-05-20T12:10:00")


async def test_a_start_leaves_what_came_due_before_it_to_the_tick(world: World) -> None:
    await world.add(status="succeeded", schedule="every 5m", nextScheduled="2023-11-14T00:00:00.000Z")
    planner = planner_of(world)
    for _ in range(3):
        await planner.look()
        await world.clock.advance(HOUR)
    assert plans(world) == 0


async def test_while_the_job_is_paused_tasks_wait_and_are_planned_after_it(world: World) -> None:
    await world.add()
    await world.documents.write(SCHEDULES, JOB_NAME, [Create(BOOK, {"kind": "schedule", "paused": True})])
    planner = planner_of(world)
    planner.ask()
    assert await planner.look() is False
    assert (plans(world), planner.asked) == (0, True)
    await world.documents.write(SCHEDULES, JOB_NAME, [Delete(BOOK)])
    await planner.look()
    assert plans(world) == 1


async def test_where_the_job_is_off_nothing_is_planned_by_itself(world: World) -> None:
    await world.add()
    planner = planner_of(world, enabled=False)
    planner.ask()
    await planner.look()
    assert plans(world) == 0


async def test_a_plan_that_fails_is_asked_for_still(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.add()
    planner = planner_of(world)
    planner.ask()

    async def full(*_: object) -> list[object]:
        raise Overloaded("the disk is full", retry_after=1.0)

    with monkeypatch.context() as broken:
        broken.setattr(world.queue, "send", full)
        with pytest.raises(Overloaded):
            await planner.look()
    assert planner.asked
