"""Every crash point of plan -> begin -> checkpoint -> pause -> begin -> finish, with two hops of everything at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from syncd.domain.errors import LeaseLost, Overloaded
from syncd.domain.tasksteps import LEASE, STUCK
from syncd.domain.times import HOUR, iso, parse
from syncd.ports.queue import Complete, Delivery, Message, Next
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import Crash, CrashAt
from tests.integration.backends import Backend
from tests.integration.tasks.world import INBOUND, OUTBOUND, World, opened

TASKS = ("t.once", "t.hourly", "u.push")
BEGAN = parse("2026-05-20T12:30:00")


async def work(world: World, delivery: Delivery) -> None:
    """Two slices: the first pauses, the second ends. As the executor and a handler do."""
    envelope = delivery.envelope
    try:
        run = await world.begin(delivery)
        if run is None:
            await world.queue.settle([Complete(delivery)])
            return
        run = await world.runs.checkpoint(run, {"fetched": run.progress.get("fetched", 0) + 1}, save=True)
        if run.progress["fetched"] < 2:
            await world.runs.pause(run)
            await world.queue.settle([Next(delivery, Message(envelope.next_hop(), delivery.body))])
        else:
            await world.runs.finish(run, status="succeeded", counts=run.progress)
            await world.queue.settle([Complete(delivery)])
    except (Overloaded, LeaseLost):
        later = Message(envelope.next_hop(), delivery.body, world.clock.now() + LEASE)
        await world.queue.settle([Next(delivery, later)])


async def drain(world: World) -> None:
    for _ in range(60):
        for name in (INBOUND, OUTBOUND):
            for delivery in await world.messages(name):
                await work(world, delivery)
        await world.plan.revive()
        if not await world.queue.peek(INBOUND) and not await world.queue.peek(OUTBOUND):
            statuses = {(await world.task(name, name[0]))["status"] for name in TASKS}
            if statuses == {"succeeded"}:
                return
        await world.clock.advance(LEASE)
    raise AssertionError("still busy")


async def test_at_every_crash_point_and_with_two_hops_at_once_a_due_task_runs_one_generation_to_its_end(
    tmp_path: Path, backend: Backend
) -> None:
    directories = (tmp_path / str(number) for number in range(400))
    stage = tmp_path / "stage"
    stage.mkdir()
    async with opened(stage, FrozenClock(BEGAN), backend=backend) as world:
        await world.add("t.once", priority="high")
        await world.add("t.hourly", schedule="every 1h", status="failed", nextScheduled=iso(BEGAN - 1), term=3)
        await world.add("u.push", tenantId="u", syncMode="push")

    async def scenario(crash: CrashAt) -> None:
        directory = next(directories)
        clock = FrozenClock(BEGAN)
        sole = bool(crash.n % 2)
        await backend.copy(stage, directory, clock)
        async with opened(directory, clock, backend=backend, crash=crash, sole=sole) as world:
            try:
                await world.plan.queue_due()
                for _ in range(2):
                    first = [*await world.messages(INBOUND), *await world.messages(OUTBOUND)]
                    for one in first:
                        twin = replace(one.envelope, hop=one.envelope.hop + 1)
                        await world.queue.send(one.queue, [Message(twin, one.body)])
                    second = [*await world.messages(INBOUND), *await world.messages(OUTBOUND)]
                    await asyncio.gather(*(work(world, one) for one in [*first, *second]))
            except Crash:
                pass
        await clock.advance(STUCK)
        async with opened(directory, clock, backend=backend, boot="two", sole=sole) as world:
            await world.plan.queue_due()
            await drain(world)
            assert await world.plan.queue_due() == (1 if clock.now() >= BEGAN + HOUR / 2 else 0)
            results = {one.data["taskId"]: one.data for one in await world.results()}
            assert results.keys() == set(TASKS)
            assert len(await world.results()) == len(TASKS)
            for name in TASKS:
                task, result = await world.task(name, name[0]), results[name]
                assert (result["generation"], result["status"]) == (name == "t.hourly", "succeeded")
                assert result["counts"]["fetched"] >= 2
                assert task["resultId"] in (None, f"github:202605.{name}~{result['generation']}")
            assert parse((await world.task("t.hourly"))["nextScheduled"]) > clock.now()

    await backend.at_port_calls(scenario, more_than=40)
