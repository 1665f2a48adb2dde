"""Tasks with schedules, tasks of the systems in use, and results, through the admin API."""

from __future__ import annotations

from typing import Any

import pytest

from syncd.domain.collections import CURSORS, RESULTS, TASKS
from syncd.domain.tasks import origin_of, result_partition
from syncd.domain.times import iso
from syncd.ports.documents import Create
from tests.integration.http.test_connections_and_tasks import TASK, fields
from tests.integration.http.world import TENANT_1, World


async def stored(world: World, identifier: str, **data: Any) -> None:
    """A task as another system left it."""
    document = {"tenantId": "tenant-1", "createdAt": iso(world.clock.now()), **data}
    await world.store.documents.write(TASKS, "tenant-1", [Create(identifier, document)])


async def result(world: World, identifier: str, **data: Any) -> None:
    document = {"tenantId": "tenant-1", "createdAt": iso(world.clock.now()), "counts": {"fetched": 3}, **data}
    await world.store.documents.write(RESULTS, result_partition(identifier), [Create(identifier, document)])
    await world.clock.advance(1)


async def test_a_task_is_created_with_a_schedule_in_a_zone_and_to_read_everything(world: World) -> None:
    await world.connection()
    wanted = {"schedule": "0 3 * * *", "timezone": "Europe/Brussels", "full": True, "syncMode": "bidirectional"}
    made = await world.api("POST", "/tasks", {**TASK, **wanted})
    assert made.status == 201
    assert {name: made.json[name] for name in wanted} == wanted
    cancelled = await world.api("POST", f"/tasks/{made.json['id']}/cancel")
    assert cancelled.json["status"] == "cancelled"
    once = await world.api("POST", "/tasks", {**TASK, "since": "2026-01-01T02:00:00+02:00"})
    assert once.json["since"] == "2026-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"schedule": "every now and then"}, "schedule"),
        ({"schedule": "61 * * * *"}, "schedule"),
        ({"schedule": "0 3 * * *", "timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": "Europe/Brussels"}, "timezone"),
        ({"full": "yes"}, "full"),
        ({"since": "yesterday"}, "since"),
        ({"since": "0001-01-01T00:00:00Z"}, "since"),
        ({"since": "2026-01-01T00:00:00Z", "full": True}, "since"),
        ({"since": "2026-01-01T00:00:00Z", "schedule": "every 1h"}, "since"),
        ({"shedule": "every 1h"}, "shedule"),
    ],
    ids=str,
)
async def test_a_schedule_that_cannot_be_kept_is_refused_with_its_field(
    world: World, change: dict[str, object], field: str
) -> None:
    await world.connection()
    answer = await world.api("POST", "/tasks", {**TASK, **change})
    assert answer.status == 400
    assert field in fields(answer.json)
    assert (await world.api("GET", "/tasks")).json["items"] == []


async def test_tasks_of_other_systems_are_shown_in_our_words_and_found_by_the_shown_id(world: World) -> None:
    await stored(world, "5f0c", status="completed", syncMode="push", nextScheduled=None)
    await stored(world, "77aa", status="active", direction="inbound", name="Nightly", nextRunAt="2030-01-01T00:00:00Z")
    listed = {one["id"]: one for one in (await world.api("GET", "/tasks?tenantId=tenant-1")).json["items"]}
    assert {name: (one["status"], one["syncMode"], one["priority"]) for name, one in listed.items()} == {
        "tenant-1.5f0c": ("succeeded", "push", "normal"),
        "tenant-1.77aa": ("pending", "pull", "normal"),
    }
    [found] = (await world.api("GET", "/tasks?status=succeeded")).json["items"]
    assert found["id"] == "tenant-1.5f0c"
    assert (await world.api("GET", "/tasks/tenant-1.77aa")).json["name"] == "Nightly"
    assert (await world.api("GET", "/tasks/tenant-2.77aa")).status == 404
    retried = (await world.api("POST", "/tasks/tenant-1.5f0c/retry")).json
    assert (retried["id"], retried["status"], retried["generation"]) == ("tenant-1.5f0c", "pending", 0)
    cancelled = (await world.api("POST", "/tasks/tenant-1.77aa/cancel")).json
    assert (cancelled["status"], cancelled["nextRunAt"]) == ("cancelled", None)


async def test_a_scheduled_task_between_two_runs_is_cancelled_for_good_and_a_parked_one_at_once(world: World) -> None:
    await stored(
        world, "a", status="succeeded", generation=3, schedule="every 1h", nextScheduled="2030-01-01T00:00:00Z"
    )
    await stored(world, "b", status="parked", generation=0)
    for name in ("a", "b"):
        assert (await world.api("POST", f"/tasks/tenant-1.{name}/cancel")).json["status"] == "cancelled"
        assert (await world.api("POST", f"/tasks/tenant-1.{name}/cancel")).status == 409
    assert (await world.api("GET", "/tasks/tenant-1.a")).json["nextScheduled"] is None


async def test_results_are_listed_newest_first_by_task_and_tenant_and_shown_by_id(world: World) -> None:
    await result(world, "github:202311.tenant-1.t~0", taskId="tenant-1.t", status="failed")
    await result(world, "github:202311.tenant-1.t~1", taskId="tenant-1.t", status="succeeded")
    await result(world, "slack:202312.tenant-2.u~0", taskId="tenant-2.u", tenantId="tenant-2", status="partial")

    async def listed(query: str = "", **token: str) -> list[str]:
        return [one["id"] for one in (await world.api("GET", f"/results{query}", **token)).json["items"]]

    assert await listed() == [
        "slack:202312.tenant-2.u~0",
        "github:202311.tenant-1.t~1",
        "github:202311.tenant-1.t~0",
    ]
    mine = ["github:202311.tenant-1.t~1", "github:202311.tenant-1.t~0"]
    assert await listed("?taskId=tenant-1.t") == mine
    assert await listed("?tenantId=tenant-1") == mine
    assert await listed(token=TENANT_1) == mine
    shown = await world.api("GET", "/results/github:202311.tenant-1.t~1")
    assert (shown.json["status"], shown.json["counts"]) == ("succeeded", {"fetched": 3})
    assert (await world.api("GET", "/results/slack:202312.tenant-2.u~0", token=TENANT_1)).status == 404
    assert (await world.api("GET", "/results/github:202311.tenant-1.t~2")).status == 404
    assert (await world.api("GET", "/results/nothing")).status == 400


async def test_a_running_task_shows_how_far_its_cursors_are_and_no_other_runs(world: World) -> None:
    await stored(world, "tenant-1.t1", connectionId="crm", status="running", generation=2)
    run = origin_of("tenant-1.t1", 2)
    cursors: dict[str, Any] = {
        "contact": {"run": {"id": run, "counts": {"fetched": 200, "created": 150}}},
        "company": {"run": {"id": run, "counts": {"fetched": 3, "unchanged": 3}}},
        "deal": {"run": {"id": origin_of("tenant-1.t1", 1), "counts": {"fetched": 1000}}},
        "deletes~contact": {"run": run, "inRun": 4},
        "deletes~company": {"run": None, "inHour": 1},
    }
    documents = [Create(name, {"tenantId": "tenant-1", **data}) for name, data in cursors.items()]
    await world.store.documents.write(CURSORS, "crm", documents)
    answer = await world.api("GET", "/tasks/tenant-1.t1")
    assert answer.status == 200, answer.text
    assert answer.json["progress"] == {"fetched": 203, "created": 150, "unchanged": 3}
