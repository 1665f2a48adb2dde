"""`syncd results`, and what `syncd tasks` tells of schedules."""

from __future__ import annotations

from syncd.domain.collections import RESULTS
from syncd.domain.tasks import result_partition
from syncd.domain.times import iso
from syncd.ports.documents import Create
from tests.integration.cli.kit import Syncd
from tests.integration.http.world import World

ID = "github:202311.tenant-1.t~0"


async def test_results_are_listed_with_their_counts_and_shown(world: World, syncd: Syncd) -> None:
    document = {
        "tenantId": "tenant-1",
        "taskId": "tenant-1.t",
        "connectionId": "conn-gh",
        "status": "partial",
        "counts": {"fetched": 31, "failed": 7},
        "durationMs": 12,
        "createdAt": iso(world.clock.now()),
    }
    await world.store.documents.write(RESULTS, result_partition(ID), [Create(ID, document)])
    table = (await syncd("results", "list", "--task", "tenant-1.t")).out
    heading, *rows = [line.split() for line in table.splitlines() if line]
    assert {"fetched", "failed", "status"} <= set(heading)
    assert {ID, "31", "7", "partial", "12"} <= set(rows[-1])
    assert (await syncd("results", "list", "--tenant", "tenant-2")).err.endswith("none\n")
    shown = await syncd("results", "show", ID, "--output", "json")
    assert shown.json["counts"]["fetched"] == 31
    assert (await syncd("results", "show", f"{ID}0")).code == 1


async def test_a_task_is_added_with_a_schedule_and_a_wrong_one_is_named(world: World, syncd: Syncd) -> None:
    await world.connection()
    added = await syncd("tasks", "add", "conn-gh", "--schedule", "every 15m", "--full", "--output", "json")
    assert (added.json["schedule"], added.json["full"]) == ("every 15m", True)
    wrong = await syncd("tasks", "add", "conn-gh", "--schedule", "every 15 moons")
    assert (wrong.code, "schedule" in wrong.err) == (1, True)
    assert "every 15m" in (await syncd("tasks", "show", added.json["id"])).out
