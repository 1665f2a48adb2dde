"""The planner: all that is due, once, high first; and what is stuck again."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from syncd.adapters.embedded.selection import compile_query
from syncd.domain.collections import RESULTS, TASKS
from syncd.domain.messages import MESSAGE_LIFETIME
from syncd.domain.tasksteps import STUCK
from syncd.domain.times import HOUR, MINUTE, iso, parse
from syncd.flows.plan import Plan
from syncd.ports.documents import Condition, Create, Query
from syncd.ports.queue import Delivery, Message, Next
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import Crash, CrashAt
from tests.integration.tasks.world import INBOUND, OUTBOUND, World, opened


async def test_a_due_task_is_queued_and_its_message_says_what_is_to_be_done(world: World) -> None:
    await world.add(syncMode="bidirectional", priority="high", entityType="issue", full=True)
    assert await world.plan.queue_due(correlation_id="tick") == 1
    delivery = await world.message()
    envelope = delivery.envelope
    assert (envelope.kind, envelope.origin_id, envelope.lane, envelope.group, envelope.hop) == (
        "task",
        "t.one~0",
        "high",
        "t:gh",
        0,
    )
    assert envelope.expires_at == world.clock.now() + MESSAGE_LIFETIME
    assert json.loads(delivery.body) == {
        "integrationId": "github",
        "tenantId": "t",
        "connectionId": "gh",
        "syncMode": "bidirectional",
        "priority": "high",
        "correlationId": "tick",
        "enqueuedAt": iso(world.clock.now()),
        "taskId": "t.one",
        "entityType": "issue",
        "generation": 0,
        "full": True,
    }
    message = await world.runs.read(envelope, delivery.body)
    assert (message.mode, message.full, message.generation, message.named) == ("bidirectional", True, 0, True)
    assert (await world.task())["status"] == "queued"
    assert await world.plan.queue_due() == 0
    assert [told["count"] for told in world.seen.named("tasks_scheduled")] == [1, 0]


async def test_one_tick_takes_all_pages_in_order_of_priority_and_splits_them_over_the_queues(
    tmp_path: Path, clock: FrozenClock
) -> None:
    priorities = ["low", "normal", "high", "absent", "urgent"]
    async with opened(tmp_path, clock, batch_size=3) as world:
        sent: list[tuple[str, str]] = []
        real = world.queue.send

        class Spy:
            async def send(self, name: str, messages: Any) -> object:
                sent.extend((name, json.loads(one.body)["priority"]) for one in messages)
                return await real(name, messages)

        plan = Plan(
            documents=world.documents,
            queue=Spy(),  # type: ignore[arg-type]  # the planner only sends
            clock=clock,
            observe=world.seen,
            batch_size=3,
        )
        for number in range(25):
            tenant = f"t{number % 3}"
            await world.add(
                f"{tenant}.{number}",
                tenantId=tenant,
                priority=priorities[number % 5],
                syncMode="push" if number % 2 else "pull",
            )
        assert await plan.queue_due() == 25
        inbound = [priority for name, priority in sent if name == INBOUND]
        assert len(inbound) == 13
        assert len(sent) == 25
        for name in (INBOUND, OUTBOUND):
            ranks = [("high", "normal", "low").index(priority) for one, priority in sent if one == name]
            assert sorted(set(ranks)) == [0, 1, 2]
            firsts = [ranks.index(rank) for rank in (0, 1, 2)]
            assert firsts == sorted(firsts)
            assert ranks[-1] == 2
        assert await plan.queue_due() == 0


@pytest.mark.parametrize(
    ("fields", "due"),
    [
        ({}, True),
        ({"enabled": False}, False),
        ({"status": "queued"}, False),
        ({"status": "running"}, False),
        ({"status": "succeeded"}, False),
        ({"status": "succeeded", "nextScheduled": "past"}, True),
        ({"status": "failed", "nextScheduled": "past"}, True),
        ({"status": "partial", "nextScheduled": "future"}, False),
        ({"status": "cancelled", "nextScheduled": "past"}, False),
        ({"status": "completed", "nextScheduled": "past", "generation": "absent"}, True),
        ({"type": "webhook", "generation": "absent"}, False),
        ({"type": "manual"}, True),
        ({"status": "active", "nextRunAt": "past", "generation": "absent"}, True),
        ({"status": "active", "nextRunAt": "future"}, False),
        ({"status": "active"}, False),
        ({"status": "paused", "nextRunAt": "past"}, False),
        ({"status": "disabled", "nextRunAt": "past"}, False),
        ({"status": "error", "nextRunAt": "past"}, False),
        ({"status": "succeeded", "nextScheduled": "not a time"}, False),
    ],
)
async def test_what_is_due(world: World, fields: dict[str, Any], due: bool) -> None:
    times = {"past": iso(world.clock.now() - 1), "future": iso(world.clock.now() + 60)}
    await world.add(**{name: times.get(value, value) for name, value in fields.items()})
    assert await world.plan.queue_due() == due
    assert len(await world.messages()) == due


async def test_a_scheduled_task_runs_once_a_time_and_what_passed_meanwhile_is_one_run(world: World) -> None:
    await world.clock.set(parse("2026-05-20T12:30:00"))
    await world.add(schedule="every 1h")
    assert await world.plan.next_due() is None
    for generation, hours in ((0, 1), (1, 1), (2, 5)):
        assert await world.plan.queue_due() == 1
        delivery = await world.message()
        assert delivery.envelope.origin_id == f"t.one~{generation}"
        run = await world.begin(delivery)
        assert run is not None
        assert run.generation == generation
        await world.runs.finish(run, status="succeeded", counts={})
        await world.complete(delivery)
        assert await world.plan.queue_due() == 0
        due = await world.plan.next_due()
        assert due is not None
        assert due == parse((await world.task())["nextScheduled"])
        assert 0 < due - world.clock.now() <= HOUR
        await world.clock.advance(hours * HOUR)
    assert len(await world.results()) == 3


async def test_a_stored_task_of_the_api_shape_is_run_and_keeps_all_its_fields(world: World) -> None:
    await world.clock.set(parse("2026-05-20T12:30:00"))
    await world.connect()
    stored = {
        "tenantId": "t",
        "tenantIntegrationId": "gh",
        "name": "Nightly",
        "direction": "inbound",
        "schedule": {"type": "cron", "config": {"expression": "0 3 * * *", "timezone": "Europe/Brussels"}},
        "config": {"entity": "issue", "filter": {"state": "open"}},
        "status": "active",
        "nextRunAt": "2026-05-20T03:00:00Z",
        "stats": {"totalRuns": 4},
    }
    await world.store("5f0c", stored)
    assert await world.plan.queue_due() == 1
    delivery = await world.message()
    run = await world.begin(delivery)
    assert run is not None
    assert (run.message.integration_id, run.message.entity_type, run.result_id) == (
        "github",
        "issue",
        "github:202605.5f0c~0",
    )
    await world.runs.finish(run, status="partial", counts={}, error="odd")
    task = await world.task("5f0c")
    same = ("name", "direction", "schedule", "config", "stats", "tenantIntegrationId")
    assert {name: task[name] for name in same} == {name: stored[name] for name in same}
    assert (task["status"], task["lastRunStatus"], task["lastError"]) == ("partial", "partial", "odd")
    assert task["nextRunAt"] == task["nextScheduled"] == "2026-05-21T01:00:00.000Z"
    await world.clock.advance(24 * HOUR)
    await world.complete(delivery)
    assert await world.plan.queue_due() == 1
    assert (await world.message()).envelope.origin_id == "5f0c~1"


async def test_a_schedule_that_cannot_be_read_is_named_on_the_task_and_stops_no_other(world: World) -> None:
    await world.add("t.odd", schedule={"type": "interval", "config": {"interval": 5, "unit": "fortnights"}})
    await world.add("t.one")
    assert await world.plan.queue_due() == 2
    assert "fortnight" in (await world.task("t.odd"))["scheduleError"]


async def test_planners_at_the_same_moment_send_each_task_once(world: World) -> None:
    for number in range(130):
        await world.add(f"t.{number:03}")
    counts: list[int] = []

    async def one() -> None:
        plan = Plan(documents=world.documents, queue=world.queue, clock=world.clock, observe=world.seen, batch_size=20)
        counts.append(await plan.queue_due())

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(one)
    assert sum(counts) == 130
    origins = [one.envelope.origin_id for one in await world.messages()]
    assert sorted(origins) == [f"t.{number:03}~0" for number in range(130)]


async def test_a_plan_that_dies_before_it_sends_leaves_tasks_that_are_sent_later(
    tmp_path: Path, clock: FrozenClock
) -> None:
    async with opened(tmp_path, clock) as world:
        await world.add()
        dying = CrashAt(1).wrap("queue", world.queue)
        plan = Plan(documents=world.documents, queue=dying, clock=clock, observe=world.seen)
        with pytest.raises(Crash):
            await plan.queue_due()
        assert (await world.task())["status"] == "queued"
        assert await world.plan.queue_due() == 0
        await clock.advance(STUCK - 1)
        assert await world.plan.revive() == 0
        await clock.advance(1)
        assert await world.plan.revive() == 1
        delivery = await world.message()
        assert (delivery.envelope.origin_id, delivery.envelope.hop) == ("t.one~0", 1)
        assert world.seen.named("tasks_revived") == [{"count": 1}]


async def test_reviving_what_merely_waits_in_a_long_queue_adds_one_message_and_ever_more_rarely(world: World) -> None:
    await world.add()
    await world.plan.queue_due()
    revivals = 0
    for _ in range(6 * 60):
        await world.clock.advance(MINUTE)
        revivals += await world.plan.revive()
    assert 5 <= revivals <= 12
    assert sorted(one.envelope.hop for one in await world.messages()) == [0, 1]


async def test_a_stuck_run_is_sent_again_as_the_hop_after_the_highest_that_was_seen(world: World) -> None:
    await world.add()
    await world.plan.queue_due()
    delivery = await world.message()
    run = await world.begin(delivery)
    assert run is not None
    await world.queue.settle([Next(delivery, _as_message(delivery, hop=4))])
    delivery = await world.message()
    await world.runs.pause(run)
    run = await world.begin(delivery)
    assert run is not None
    await world.complete(delivery)  # it is gone, as with a broker that lost it
    await world.clock.advance(STUCK)
    assert await world.plan.revive() == 1
    again = await world.message()
    assert (again.envelope.hop, again.envelope.origin_id) == (5, "t.one~0")
    taken = await world.begin(again)
    assert taken is not None
    assert (taken.term, taken.result_id) == (3, run.result_id)


async def test_runs_that_wait_until_a_later_time_are_not_stuck_before_it(world: World) -> None:
    await world.add()
    await world.plan.queue_due()
    run = await world.begin(await world.message())
    assert run is not None
    await world.runs.pause(run, due=world.clock.now() + 2 * HOUR)
    await world.clock.advance(2 * HOUR)
    assert await world.plan.revive() == 0
    await world.clock.advance(STUCK)
    assert await world.plan.revive() == 1


async def test_what_another_system_left_under_way_is_sent_again(world: World) -> None:
    data = {"tenantId": "t", "integrationId": "github", "connectionId": "gh", "createdAt": iso(world.clock.now())}
    await world.documents.write(
        TASKS,
        "t",
        [Create("a", {**data, "status": "processing"}), Create("b", {**data, "status": "queued", "syncMode": "push"})],
    )
    assert await world.plan.revive() == 2
    run = await world.begin(await world.message())
    assert run is not None
    assert (run.task_id, run.generation, (await world.task("a"))["status"]) == ("a", 0, "running")
    assert (await world.message(OUTBOUND)).envelope.origin_id == "b~0"
    assert await world.plan.revive() == 0


def _as_message(delivery: Delivery, *, hop: int) -> Message:
    return Message(replace(delivery.envelope, hop=hop), delivery.body)


async def test_what_the_planner_and_the_lists_ask_across_tenants_is_read_from_an_index(
    world: World, tmp_path: Path
) -> None:
    now = iso(world.clock.now())
    queries = [
        *((TASKS, query) for query in world.plan._queries(now=world.clock.now(), priority=())),
        *((TASKS, query) for query in world.plan._queries(world.clock.now(), (Condition("priority", "eq", "low"),))),
        (TASKS, Query(across=True, where=(Condition("checkAt", "le", now),), order="checkAt")),
        (TASKS, Query(across=True, where=(Condition("nextScheduled", "gt", now),), order="nextScheduled", limit=1)),
        (RESULTS, Query(across=True, order="createdAt", descending=True)),
    ]
    for collection, query in queries:
        statement, arguments = compile_query(collection, query, world.clock.now())

        def explained(statement: str = statement, arguments: list[Any] = arguments) -> list[str]:
            with closing(sqlite3.connect(tmp_path / "syncd.db")) as connection:
                return [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", arguments)]

        plan = await asyncio.to_thread(explained)
        assert any("_across_" in step for step in plan), (query, plan)
        assert not any("TEMP B-TREE" in step for step in plan), (query, plan)
