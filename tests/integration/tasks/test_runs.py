"""Runs: one at a time, renewed, given back, ended once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from syncd.domain.errors import Invalid, LeaseLost, Overloaded
from syncd.domain.messages import Envelope
from syncd.domain.tasksteps import LEASE, cancelled
from syncd.domain.times import iso
from syncd.flows.taskruns import RENEW_EVERY
from syncd.ports.documents import Replace
from syncd.testing.clock import FrozenClock
from tests.integration.tasks.world import OUTBOUND, World, opened

COUNTS = {"fetched": 3, "created": 2, "updated": 1}


async def changed(world: World, change: object, identifier: str = "t.one") -> None:
    from syncd.domain.collections import TASKS

    assert callable(change)
    found = await world.documents.get(TASKS, "t", identifier)
    assert found is not None
    await world.documents.write(TASKS, "t", [Replace(identifier, change(found.data), found.etag)])


async def test_a_task_runs_from_the_queue_to_its_result(world: World) -> None:
    await world.add(entityType="issue", note="kept")
    await world.plan.queue_due()
    delivery = await world.message()
    run = await world.begin(delivery)
    assert run is not None
    assert (run.message.mode, run.message.entity_type, run.generation, run.term) == ("pull", "issue", 0, 1)
    task = await world.task()
    assert (task["status"], task["owner"], task["resultId"]) == ("running", "replica/one", run.result_id)
    assert run.result_id == "github:202311.t.one~0"
    await world.clock.advance(2.5)
    await world.runs.finish(run, status="partial", counts=COUNTS, error="one record was odd")
    task, result = await world.task(), await world.result(run.result_id)
    assert (task["status"], task["note"], task["error"]) == ("partial", "kept", "one record was odd")
    assert "owner" not in task
    assert "checkAt" not in task
    assert result["counts"] == {**dict.fromkeys(result["counts"], 0), **COUNTS}
    assert len(result["counts"]) == 8
    assert (result["status"], result["durationMs"], result["taskId"], result["tenantId"]) == (
        "partial",
        2500,
        "t.one",
        "t",
    )
    [told] = world.seen.named("task_finished")
    assert (told["status"], told["fetched"]) == ("partial", 3)


async def test_finishing_twice_changes_nothing(world: World) -> None:
    await world.add()
    await world.plan.queue_due()
    run = await world.begin(await world.message())
    assert run is not None
    await world.runs.finish(run, status="succeeded", counts=COUNTS)
    before = await world.task(), await world.result(run.result_id)
    await world.clock.advance(30)
    await world.runs.finish(run, status="failed", counts={})
    assert (await world.task(), await world.result(run.result_id)) == before


async def test_a_message_of_an_ended_or_earlier_generation_has_nothing_to_do(world: World) -> None:
    await world.add()
    await world.plan.queue_due()
    delivery = await world.message()
    run = await world.begin(delivery)
    assert run is not None
    await world.runs.finish(run, status="succeeded", counts={})
    assert await world.begin(delivery) is None
    await changed(world, lambda data: {**data, "status": "pending", "generation": 1})
    assert await world.begin(delivery) is None
    assert (await world.task())["status"] == "pending"


async def test_a_deleted_task_is_told_and_its_message_has_nothing_to_do(world: World) -> None:
    await world.add()
    await world.plan.queue_due()
    delivery = await world.message()
    missing = replace(delivery.envelope, origin_id="t.two~0")
    body = delivery.body.replace(b"t.one", b"t.two")
    assert await world.runs.begin(await world.runs.read(missing, body), missing) is None
    assert world.seen.named("task_gone") == [{"taskId": "t.two", "tenantId": "t"}]


async def test_two_hops_at_once_are_one_run_and_the_other_waits_for_its_lease(world: World) -> None:
    await world.add()
    await world.plan.queue_due()
    delivery = await world.message()
    run = await world.begin(delivery)
    assert run is not None
    twin = replace(delivery.envelope, hop=1)
    with pytest.raises(Overloaded) as refused:
        await world.runs.begin(run.message, twin)
    assert refused.value.retry_after == pytest.approx(LEASE)
    await world.clock.advance(LEASE)
    taken = await world.runs.begin(run.message, twin)
    assert taken is not None
    assert (taken.term, taken.result_id, (await world.task())["hop"]) == (2, run.result_id, 1)
    with pytest.raises(LeaseLost):
        await world.runs.checkpoint(run)
    with pytest.raises(LeaseLost):
        await world.runs.finish(run, status="failed", counts={})
    await world.runs.pause(run)
    assert (await world.task())["term"] == 2


async def test_a_lease_of_an_earlier_boot_is_void_where_one_process_owns_the_store(
    tmp_path: Path, clock: FrozenClock
) -> None:
    for sole in (True, False):
        directory = tmp_path / str(sole)
        directory.mkdir()
        async with opened(directory, clock, sole=sole) as world:
            await world.add()
            await world.plan.queue_due()
            delivery = await world.message()
            assert await world.begin(delivery) is not None
            after = world.runs_of("two")
            if sole:
                assert await world.begin(delivery, after) is not None
            else:
                with pytest.raises(Overloaded):
                    await world.begin(delivery, after)


async def test_checkpoints_renew_the_lease_each_third_of_it_and_tell_progress(world: World) -> None:
    await world.add()
    await world.plan.queue_due()
    run = await world.begin(await world.message())
    assert run is not None
    began = world.clock.now()
    run = await world.runs.checkpoint(run, {"fetched": 100})
    assert "progress" not in await world.task()
    await world.clock.advance(RENEW_EVERY)
    run = await world.runs.checkpoint(run, {"fetched": 200})
    task = await world.task()
    assert (task["progress"], task["until"]) == ({"fetched": 200}, iso(began + RENEW_EVERY + LEASE))
    run = await world.runs.checkpoint(run, {"fetched": 300}, save=True)
    assert (await world.task())["progress"] == run.progress == {"fetched": 300}


async def test_a_cancelled_run_sees_it_at_its_next_checkpoint_and_ends_cancelled(world: World) -> None:
    await world.add(schedule="every 1h")
    await world.plan.queue_due()
    run = await world.begin(await world.message())
    assert run is not None
    await changed(world, lambda data: cancelled(data, world.clock.now()))
    run = await world.runs.checkpoint(run)
    assert run.cancel_requested
    run = await world.runs.checkpoint(run, {"fetched": 1}, save=True)
    assert run.cancel_requested
    await world.runs.finish(run, status="cancelled", counts={"fetched": 1})
    task = await world.task()
    assert (task["status"], task["nextScheduled"]) == ("cancelled", None)
    assert (await world.result(run.result_id))["status"] == "cancelled"


async def test_a_task_that_is_cancelled_in_the_queue_ends_when_its_message_comes(world: World) -> None:
    await world.add()
    await world.plan.queue_due()
    await changed(world, lambda data: cancelled(data, world.clock.now()))
    assert (await world.task())["status"] == "queued"
    assert await world.begin(await world.message()) is None
    assert (await world.task())["status"] == "cancelled"


async def test_a_paused_run_leaves_no_lease_and_its_next_hop_goes_on_with_the_same_result(world: World) -> None:
    await world.add()
    await world.plan.queue_due()
    delivery = await world.message()
    run = await world.begin(delivery)
    assert run is not None
    due = world.clock.now() + 7200
    await world.runs.pause(run, due=due, progress={"fetched": 5})
    task = await world.task()
    assert ("owner" in task, task["status"], task["checkAt"]) == (False, "running", iso(due + 2 * LEASE))
    again = await world.runs.begin(run.message, replace(delivery.envelope, hop=1, attempt=1))
    assert again is not None
    assert (again.term, again.attempt, again.progress, again.result_id) == (2, 1, {"fetched": 5}, run.result_id)
    assert again.started_at == run.started_at


async def test_what_is_parked_shows_on_the_task_and_runs_again_on_replay(world: World) -> None:
    await world.add(syncMode="push")
    await world.plan.queue_due()
    delivery = await world.message(OUTBOUND)
    run = await world.begin(delivery)
    assert run is not None
    for _ in range(2):
        await world.runs.parked(delivery.envelope, "tenant_must_act", "the credential is refused")
    task = await world.task()
    assert (task["status"], task["parked"]["bin"], "owner" in task) == ("parked", "tenant_must_act", False)
    again = await world.runs.begin(run.message, replace(delivery.envelope, hop=1))
    assert again is not None
    assert (again.term, (await world.task())["status"], "parked" in await world.task()) == (2, "running", False)
    await world.runs.parked(delivery.envelope, "tenant_must_act", "late word of the hop before")
    assert (await world.task())["status"] == "running"
    await world.runs.finish(again, status="succeeded", counts={})
    await world.runs.parked(replace(delivery.envelope, hop=9), "poison", "late")
    assert (await world.task())["status"] == "succeeded"


async def test_a_later_run_that_ends_the_generation_replaces_the_result_of_one_that_died(world: World) -> None:
    await world.add()
    await world.plan.queue_due()
    delivery = await world.message()
    run = await world.begin(delivery)
    assert run is not None
    # It died after its result and before the task: done here by its own words, without the second half.
    await world.runs._put_result(run, {"term": 1, "status": "succeeded", "counts": {}, "createdAt": "first"})
    await world.clock.advance(LEASE)
    again = await world.begin(delivery)
    assert again is not None
    await world.runs.finish(again, status="succeeded", counts=COUNTS)
    result = await world.result(run.result_id)
    assert (result["term"], result["counts"]["fetched"], result["createdAt"]) == (2, 3, "first")
    assert len(await world.results()) == 1


async def test_a_message_without_a_task_gets_one_and_a_second_delivery_none_more(world: World) -> None:
    await world.connect()
    body = b'"{\\"integrationId\\":\\"github\\",\\"tenantId\\":\\"t\\",\\"correlationId\\":\\"tick\\",\\"priority\\":\\"high\\"}"'
    envelope = Envelope(kind="task", origin_id="4711")
    message = await world.runs.read(envelope, body)
    assert (message.connection_id, message.mode, message.priority, message.generation) == ("gh", "pull", "high", None)
    run = await world.runs.begin(message, envelope)
    assert run is not None
    assert run.task_id.startswith("t.")
    await world.runs.finish(run, status="succeeded", counts={})
    assert await world.runs.begin(message, envelope) is None
    assert len(await world.results()) == 1
    assert (await world.task(run.task_id))["type"] == "message"


async def test_a_message_that_no_single_connection_matches_is_refused_naming_what_is_missing(world: World) -> None:
    await world.connect("one")
    await world.connect("two")
    with pytest.raises(Invalid, match="connectionId: needed"):
        await world.runs.read(Envelope(kind="task", origin_id="1"), '{"integrationId":"github","tenantId":"t"}')
    named = await world.runs.read(Envelope(kind="task", origin_id="1"), '{"connectionId":"two"}')
    assert (named.tenant_id, named.integration_id) == ("t", "github")


async def test_another_producers_message_runs_its_stored_task_once_for_each_correlation(world: World) -> None:
    await world.store(
        "5f0c",
        {
            "tenantId": "t",
            "integrationId": "github",
            "connectionId": "gh",
            "status": "completed",
            "x": [1],
            "id": "5f0c",
        },
    )
    envelope = Envelope(kind="task", origin_id="1")

    async def come(correlation: str) -> bool:
        fields = {"integrationId": "github", "tenantId": "t", "connectionId": "gh", "taskId": "5f0c"}
        body = json.dumps({**fields, "correlationId": correlation})
        run = await world.runs.begin(await world.runs.read(envelope, body), envelope)
        if run is not None:
            await world.runs.finish(run, status="succeeded", counts={})
        return run is not None

    assert [await come(one) for one in ("a", "a", "b", "a", "b")] == [True, False, True, False, False]
    task = await world.task("5f0c")
    assert (task["generation"], task["x"], task["status"]) == (1, [1], "succeeded")
    assert sorted(one.id for one in await world.results()) == ["github:202311.5f0c~0", "github:202311.5f0c~1"]
