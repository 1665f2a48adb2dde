"""Events, entities, queues, jobs, executions and settings over the API."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from syncd.domain.collections import EXECUTIONS, SETTINGS
from syncd.domain.errors import Invalid
from syncd.domain.messages import Envelope
from syncd.domain.outcomes import DONE, Park
from syncd.ports.documents import Create, Query
from syncd.ports.queue import Complete, Message
from tests.integration.http.test_webhooks import change, send
from tests.integration.http.world import ADMIN, READER, TENANT_1, World


async def work_off(world: World) -> list[object]:
    """Lease what is on the queue of events and apply it; park what ends so, as the executor does."""
    outcomes: list[object] = []
    for delivery in await world.store.queue.lease("sync-outbound", 100, duration=60):
        outcome = await world.apply.handle(delivery.envelope, delivery.body)
        if isinstance(outcome, Park):
            await world.parked.park(delivery, outcome.bin, outcome.reason)
        outcomes.append(outcome)
        await world.store.queue.settle([Complete(delivery)])
    return outcomes


async def ready(world: World, **entities: Any) -> None:
    await world.connection(entities=entities or {"issue": {"direction": "pull"}})
    await world.registration(connectionId="conn-gh")


async def test_events_are_listed_newest_first_over_all_their_partitions(world: World) -> None:
    await ready(world)
    for number in range(25):
        await send(world, change(number))
        if number % 5 == 4:  # five at a time share a moment
            await world.clock.advance(1)
    assert await work_off(world) == [DONE] * 25
    whole = (await world.api("GET", "/webhooks/reg-1/events?limit=100")).json
    assert whole["cursor"] is None
    times = [one["receivedAt"] for one in whole["items"]]
    assert len(times) == 25
    assert times == sorted(times, reverse=True)
    paged, cursor = [], ""
    while True:
        page = (await world.api("GET", f"/webhooks/reg-1/events?limit=3{cursor}")).json
        paged += page["items"]
        if page["cursor"] is None:
            break
        cursor = f"&cursor={page['cursor']}"
    assert paged == whole["items"]
    one = whole["items"][0]
    assert (one["status"], one["eventType"], one["entityType"], one["operation"]) == (
        "processed",
        "issue.opened",
        "issue",
        "create",
    )
    assert one["eventId"] == one["id"]


@pytest.mark.parametrize("encode", [lambda text: text, quote, lambda text: quote(text, safe="")])
async def test_an_event_is_found_by_its_id_encoded_or_not(world: World, encode: Any) -> None:
    await ready(world)
    event_id = (await send(world, change())).json["eventId"]
    await work_off(world)
    answer = await world.api("GET", f"/webhooks/reg-1/events/{encode(event_id)}/")
    assert answer.json["eventId"] == event_id


async def test_events_of_another_registration_tenant_or_status_are_not_shown(world: World) -> None:
    await ready(world)
    await world.registration("reg-2", "tenant-2")
    event_id = (await send(world, change())).json["eventId"]
    await work_off(world)
    assert (await world.api("GET", f"/webhooks/reg-2/events/{event_id}")).status == 404
    assert (await world.api("GET", "/webhooks/reg-2/events", token=TENANT_1)).status == 404
    assert (await world.api("GET", "/webhooks/reg-1/events?status=parked")).json["items"] == []
    assert (await world.api("GET", "/webhooks/reg-1/events?status=odd")).status == 400
    assert (await world.api("GET", "/webhooks/reg-1/events?cursor=odd")).status == 400


async def test_an_event_processed_before_its_type_was_listed_is_applied_on_a_replay(world: World) -> None:
    await ready(world, comment={"direction": "pull"})
    event_id = (await send(world, change())).json["eventId"]
    await work_off(world)
    assert "does not list issue" in (await world.api("GET", f"/webhooks/reg-1/events/{event_id}")).json["note"]
    await world.api("PATCH", "/connections/conn-gh", {"entities": {"issue": {"direction": "pull"}}})
    assert (await world.api("POST", f"/webhooks/reg-1/events/{event_id}/replay")).status == 202
    assert await work_off(world) == [DONE]
    [entity] = (await world.api("GET", "/entities/issue?tenantId=tenant-1")).json["items"]
    assert entity["data"] == {"n": 1}
    assert entity["externalIds"] == {"conn-gh": "1"}


async def test_a_rejected_event_cannot_be_replayed(world: World) -> None:
    await ready(world)
    await send(world, change(), **{"X-Signature": "00" * 32})
    [row] = (await world.api("GET", "/webhooks/reg-1/events")).json["items"]
    assert row["status"] == "rejected"
    assert (await world.api("POST", f"/webhooks/reg-1/events/{row['id']}/replay")).status == 409


async def test_a_reader_may_not_replay(world: World) -> None:
    await ready(world)
    assert (await world.api("POST", "/webhooks/reg-1/events/x.y/replay", token=READER)).status == 403


async def test_an_entity_is_created_edited_guarded_and_deleted(world: World) -> None:
    made = await world.api("POST", "/entities/contact", {"tenantId": "tenant-1", "data": {"name": "A"}})
    assert (made.status, made.json["version"]) == (201, 1)
    path = f"/entities/contact/{quote(made.json['id'], safe='')}"
    body = {"tenantId": "tenant-1", "data": {"name": "B"}}
    edited = await world.api("PUT", path, body, headers={"If-Match": made.headers["ETag"]})
    assert (edited.status, edited.json["data"], edited.json["version"]) == (200, {"name": "B"}, 2)
    stale = await world.api("PUT", path, {**body, "data": {}}, headers={"If-Match": made.headers["ETag"]})
    assert stale.status == 412
    assert (await world.api("GET", path)).json == edited.json
    assert (await world.api("PUT", path, {"tenantId": "tenant-2", "data": {}})).status == 404
    assert (await world.api("DELETE", path)).json["deleted"] is True
    assert (await world.api("GET", "/entities/contact?tenantId=tenant-1")).json["items"] == []
    assert len((await world.api("GET", "/entities/contact?tenantId=tenant-1&deleted=true")).json["items"]) == 1


async def test_entities_are_listed_per_tenant_which_a_token_of_one_need_not_name(world: World) -> None:
    for tenant in ("tenant-1", "tenant-2"):
        await world.api("POST", "/entities/contact", {"tenantId": tenant, "data": {"of": tenant}})
    assert (await world.api("GET", "/entities/contact")).status == 400
    [mine] = (await world.api("GET", "/entities/contact", token=TENANT_1)).json["items"]
    assert mine["data"] == {"of": "tenant-1"}
    assert (await world.api("GET", "/entities/contact?tenantId=tenant-2", token=TENANT_1)).json["items"] == []
    [other] = (await world.api("GET", "/entities/contact?tenantId=tenant-2")).json["items"]
    assert (await world.api("GET", f"/entities/contact/{other['id']}", token=TENANT_1)).status == 404
    assert (await world.api("GET", f"/entities/company/{mine['id']}")).status == 404


async def park(world: World, number: int, tenant: str = "tenant-1", **more: Any) -> str:
    envelope = Envelope(kind="webhook", origin_id=f"o{number}", tenant_id=tenant, received_at=world.clock.now(), **more)
    await world.store.queue.send("sync-outbound", [Message(envelope=envelope, body=b'{"n":%d}' % number)])
    [delivery] = await world.store.queue.lease("sync-outbound", 1, duration=60)
    identifier = await world.parked.park(delivery, "not_understood", f"cannot read number {number}")
    await world.store.queue.settle([Complete(delivery)])
    return identifier


async def test_queues_show_their_depths_with_what_is_parked_as_dead(world: World) -> None:
    for number in range(3):
        await park(world, number)
    await world.clock.advance(40 * 86400)
    await park(world, 3)
    await ready(world)
    await send(world, change())
    await world.clock.advance(5.00049)
    items = (await world.api("GET", "/queues")).json["items"]
    assert items[0] == {
        "name": "sync-inbound",
        "ready": 0,
        "leased": 0,
        "scheduled": 0,
        "dead": 0,
        "oldestAgeSeconds": None,
    }
    assert (items[1]["ready"], items[1]["dead"]) == (1, 4)
    age = items[1]["oldestAgeSeconds"]
    assert age == pytest.approx(5, abs=0.1)
    assert age == round(age, 3)


async def test_peeking_shows_what_waits_of_the_tenants_one_sees(world: World) -> None:
    for number, tenant in enumerate(("tenant-1", "tenant-2")):
        envelope = Envelope(kind="task", origin_id=f"o{number}", tenant_id=tenant)
        await world.store.queue.send("sync-inbound", [Message(envelope=envelope, body=b"{}")])
    assert len((await world.api("GET", "/queues/sync-inbound/peek")).json["items"]) == 2
    [mine] = (await world.api("GET", "/queues/sync-inbound/peek", token=TENANT_1)).json["items"]
    assert (mine["originId"], mine["state"], mine["body"]) == ("o0", "ready", "{}")
    assert (await world.api("GET", "/queues/nothing/peek")).status == 404


async def test_a_parked_message_is_shown_repaired_replayed_and_dropped(world: World) -> None:
    one, other = await park(world, 1), await park(world, 2)
    base = "/queues/sync-outbound/parked"
    listed = (await world.api("GET", f"{base}?bin=not_understood&reason=number 1")).json["items"]
    assert [found["id"] for found in listed] == [one]
    edited = await world.api("PUT", f"{base}/{one}", {"body": {"n": "repaired"}})
    assert edited.json["body"] == '{"n":"repaired"}'
    assert (await world.api("POST", f"{base}/{one}/replay")).json["status"] == "replayed"
    [waiting] = await world.store.queue.peek("sync-outbound")
    assert waiting.body == b'{"n":"repaired"}'
    assert (await world.api("DELETE", f"{base}/{other}")).json["status"] == "dropped"
    assert (await world.api("POST", f"{base}/{other}/replay")).status == 409
    assert (await world.api("GET", base)).json["items"] == []


async def test_parked_messages_are_listed_page_by_page_while_time_goes_on(world: World) -> None:
    parked = [await park(world, number) for number in range(5)]
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        await world.clock.advance(1)
        page = await world.api("GET", f"/queues/sync-outbound/parked?limit=2{cursor}")
        assert page.status == 200, page.text
        seen += [found["id"] for found in page.json["items"]]
        cursor = f"&cursor={quote(page.json['cursor'] or '')}"
    assert page.json["cursor"] is None
    assert sorted(seen) == sorted(parked)


async def test_a_replay_by_ids_says_what_became_of_each(world: World) -> None:
    one, gone, other = [await park(world, number) for number in range(3)]
    await world.api("DELETE", f"/queues/sync-outbound/parked/{gone}")
    path, body = "/queues/sync-outbound/replay", {"ids": [one, "sync-outbound:202311.nothing", "odd", gone, other]}
    dry = (await world.api("POST", path, {**body, "dryRun": True})).json
    assert [result["status"] for result in dry["results"]] == ["matched", "failed", "failed", "failed", "matched"]
    assert await world.store.queue.peek("sync-outbound") == []
    asking = asyncio.create_task(world.api("POST", path, body))
    while not asking.done():
        await asyncio.sleep(0)
        if world.clock.sleeping:  # the store works in real time, which must not count as the replay's
            await world.clock.advance(0.01)
    answer = await asking
    assert answer.status == 200
    assert {name: answer.json[name] for name in ("matched", "replayed", "failed", "more")} == {
        "matched": 3,
        "replayed": 2,
        "failed": 3,
        "more": False,
    }
    assert answer.json["results"] == [
        {"id": one, "status": "replayed"},
        {
            "id": "sync-outbound:202311.nothing",
            "status": "failed",
            "reason": "there is no parked message 'sync-outbound:202311.nothing'",
        },
        {"id": "odd", "status": "failed", "reason": "there is no parked message 'odd'"},
        {"id": gone, "status": "failed", "reason": f"the parked message {gone!r} was dropped"},
        {"id": other, "status": "replayed"},
    ]
    assert len(await world.store.queue.peek("sync-outbound")) == 2


async def test_parked_messages_are_replayed_by_filter_after_a_dry_run(world: World) -> None:
    for number in range(3):
        await park(world, number, connection_id="a" if number < 2 else "b")
    await world.clock.advance(1)
    path = "/queues/sync-outbound/replay"
    dry = await world.api("POST", path, {"connectionId": "a", "dryRun": True})
    assert dry.json == {"matched": 2, "replayed": 0, "failed": 0, "more": False, "dryRun": True}
    asking = asyncio.create_task(world.api("POST", path, {"connectionId": "a", "rate": 10_000}))
    while not asking.done():
        await asyncio.sleep(0)
        if world.clock.sleeping:  # the store works in real time, which must not count as the replay's
            await world.clock.advance(0.01)
    assert (await asking).json == {"matched": 2, "replayed": 2, "failed": 0, "more": False, "dryRun": False}
    assert len(await world.store.queue.peek("sync-outbound")) == 2


async def test_a_replay_that_takes_long_answers_in_time_and_goes_on_when_asked_again(world: World) -> None:
    for number in range(3):
        await park(world, number)
    await world.clock.advance(1)
    body = {"bin": "not_understood", "rate": 0.05}  # one in twenty seconds: the budget is over after the first
    seen = []
    for _ in range(4):
        asking = asyncio.create_task(world.api("POST", "/queues/sync-outbound/replay", body))
        while not asking.done():
            await asyncio.sleep(0)
            if world.clock.sleeping:  # the store works in real time, which must not count as the replay's
                await world.clock.advance(1)
        seen.append([(await asking).json[name] for name in ("replayed", "more")])
    assert seen == [[1, True], [1, True], [1, False], [0, False]]


@pytest.mark.parametrize(
    "body",
    [{}, {"ids": ["x"], "reason": "y"}, {"bin": "odd"}, {"before": "soon"}, {"reason": "x", "rate": 0}, {"odd": 1}],
)
async def test_a_replay_that_does_not_say_what_is_refused(world: World, body: dict[str, Any]) -> None:
    assert (await world.api("POST", "/queues/sync-outbound/replay", body)).status == 400


async def test_another_tenants_parked_messages_do_not_exist(world: World) -> None:
    other = await park(world, 1, tenant="tenant-2")
    base = "/queues/sync-outbound/parked"
    assert (await world.api("GET", base, token=TENANT_1)).json["items"] == []
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/replay")):
        assert (await world.api(method, f"{base}/{other}{path}", token=TENANT_1)).status == 404
    answer = await world.api("POST", "/queues/sync-outbound/replay", {"ids": [other]}, token=TENANT_1)
    [result] = answer.json["results"]
    assert (result["status"], result["reason"]) == ("failed", f"there is no parked message {other!r}")
    assert await world.store.queue.peek("sync-outbound") == []


async def test_a_job_is_shown_run_on_demand_and_its_run_recorded(world: World) -> None:
    [job] = (await world.api("GET", "/jobs")).json["items"]
    assert (job["name"], job["schedule"], job["nextAt"]) == (
        "finops-daily-sync",
        "0 0 3 * * *",
        "2023-11-15T03:00:00.000Z",
    )
    assert job["lastRun"] is None
    asked = await world.api("POST", "/jobs/finops-daily-sync/run")
    assert asked.status == 202
    execution = f"/executions/{asked.json['executionId']}"
    assert (await world.api("GET", execution)).json["status"] == "due"
    assert world.control.nudged == ["ticks"]
    assert await world.ticks.run_next(world.job)
    ended = (await world.api("GET", execution)).json
    assert (ended["status"], ended["reason"], ended["trigger"]) == ("succeeded", "12 records", "manual")
    [tick] = (await world.api("GET", "/jobs/finops-daily-sync/history")).json["items"]
    assert (tick["status"], tick["executionId"]) == ("succeeded", ended["id"])
    job = (await world.api("GET", "/jobs/finops-daily-sync")).json
    assert (job["lastRun"]["status"], job["lastRun"]["executionId"]) == ("succeeded", ended["id"])


async def test_a_job_is_run_for_a_nominal_time_once(world: World) -> None:
    body = {"at": "2023-11-14T03:00:00Z"}
    first = await world.api("POST", "/jobs/finops-daily-sync/run", body)
    assert (await world.api("POST", "/jobs/finops-daily-sync/run", body)).json == first.json
    await world.ticks.run_next(world.job)
    assert [tick.at for tick in world.runs.ticks] == [1699930800.0]
    again = await world.api("POST", "/jobs/finops-daily-sync/run", body)
    assert again.status == 409
    assert "has ended as succeeded" in again.json["detail"]
    assert (await world.api("POST", "/jobs/finops-daily-sync/run", {"at": "noon"})).status == 400


async def test_a_paused_job_has_no_next_run_until_it_is_resumed(world: World) -> None:
    paused = (await world.api("POST", "/jobs/finops-daily-sync/pause")).json
    assert (paused["paused"], paused["pausedBy"], paused["nextAt"]) == (True, "admin", None)
    resumed = (await world.api("POST", "/jobs/finops-daily-sync/resume")).json
    assert (resumed["paused"], resumed["nextAt"]) == (False, "2023-11-15T03:00:00.000Z")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/history"), ("POST", "/run"), ("POST", "/pause")])
async def test_an_unknown_job_is_not_found_and_the_known_ones_are_named(world: World, method: str, path: str) -> None:
    answer = await world.api(method, f"/jobs/odd{path}")
    assert answer.status == 404
    assert "finops-daily-sync" in answer.json["detail"]


async def test_a_reader_may_not_steer_a_job(world: World) -> None:
    for verb in ("run", "pause", "resume"):
        assert (await world.api("POST", f"/jobs/finops-daily-sync/{verb}", token=READER)).status == 403
    assert not await world.ticks.run_next(world.job)


async def test_executions_of_all_jobs_are_listed_newest_first(world: World) -> None:
    for job, minute in (("a", 1), ("b", 2), ("a", 3)):
        document = {"job": job, "startedAt": f"2023-11-14T03:0{minute}:00.000Z", "status": "succeeded"}
        await world.store.documents.write(EXECUTIONS, f"{job}:202311", [Create(f"{job}:202311.{minute}", document)])
    items = (await world.api("GET", "/executions")).json["items"]
    assert [one["id"] for one in items] == ["a:202311.3", "b:202311.2", "a:202311.1"]
    assert (await world.api("GET", "/executions/b:202311.2")).json["job"] == "b"
    assert (await world.api("GET", "/executions/b:202311.9")).status == 404


async def test_the_overlay_is_added_to_versioned_taken_up_at_once_and_taken_back(world: World) -> None:
    first = await world.api("PATCH", "/settings", {"sync": {"batch_size": 50}})
    assert (first.status, first.json["overlay"]["version"]) == (200, 1)
    assert first.json["reload"]["changed"] == ["sync.batch_size"]
    second = await world.api("PATCH", "/settings", {"sync.max_retries": 5})
    assert second.json["overlay"]["values"] == {"sync.batch_size": 50, "sync.max_retries": 5}
    third = await world.api("DELETE", "/settings/sync.batch_size")
    assert third.json["overlay"]["values"] == {"sync.max_retries": 5}
    assert (await world.api("PATCH", "/settings", {"sync.max_retries": None})).json["overlay"]["values"] == {}
    assert world.control.reloads == 4
    shown = (await world.api("GET", "/settings")).json
    assert shown["overlay"]["version"] == 4
    assert shown["settings"]["sync"]["batch_size"]["source"] == "default"
    kept = (await world.store.documents.query(SETTINGS, Query(partition="overlay"))).items
    assert [one.data["version"] for one in kept] == [4, 1, 2, 3, 4]


async def test_a_setting_that_is_not_valid_changes_nothing(world: World) -> None:
    answer = await world.api("PATCH", "/settings", {"odd.key": 1, "sync.batch_size": 2})
    assert answer.status == 400
    assert [one["field"] for one in answer.json["errors"]] == ["odd.key"]
    assert world.control.reloads == 0
    assert (await world.api("GET", "/settings")).json["overlay"]["version"] == 0
    assert (await world.api("PATCH", "/settings", {})).status == 400
    assert (await world.api("DELETE", "/settings/sync.batch_size")).status == 404


async def test_when_the_next_generation_cannot_be_built_the_overlay_is_as_before(world: World) -> None:
    await world.api("PATCH", "/settings", {"sync.batch_size": 50})
    world.control.reload_error = Invalid("the file is broken", errors={"daemon.data_dir": "not there"})
    answer = await world.api("PATCH", "/settings", {"sync.batch_size": 60})
    assert answer.status == 400
    assert answer.json["errors"][0]["field"] == "daemon.data_dir"
    assert (await world.api("GET", "/settings")).json["overlay"]["values"] == {"sync.batch_size": 50}


async def test_two_who_change_settings_at_once_lose_neither_change(world: World) -> None:
    answers = await asyncio.gather(
        *(world.api("PATCH", "/settings", {f"sync.key_{number}": number}) for number in range(5))
    )
    assert {answer.status for answer in answers} <= {200, 409}
    values = (await world.api("GET", "/settings")).json["overlay"]["values"]
    assert len(values) == sum(answer.status == 200 for answer in answers) >= 1


async def test_events_are_streamed_as_they_happen_and_a_drain_ends_the_stream(world: World) -> None:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    async with world.client.get(f"{world.address}/api/v1/events", headers=headers) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert await response.content.readline() == b": connected\n"
        await response.content.readline()
        world.live.publish("job_ended", job="a\nb", status="succeeded")
        assert await response.content.readline() == b"event: job_ended\n"
        data = await response.content.readline()
        assert json.loads(data.removeprefix(b"data: "))["job"] == "a\nb"
        await asyncio.gather(world.server.drain(5), response.content.read())


async def test_a_token_of_one_tenant_is_streamed_that_tenants_events_only(world: World) -> None:
    headers = {"Authorization": f"Bearer {TENANT_1}"}
    async with world.client.get(f"{world.address}/api/v1/events", headers=headers) as response:
        assert await response.content.readline() == b": connected\n"
        await response.content.readline()
        world.live.publish("unit_done", tenantId="tenant-2")
        world.live.publish("job_ended", job="x")
        world.live.publish("unit_done", tenantId="tenant-1")
        await response.content.readline()
        assert json.loads((await response.content.readline()).removeprefix(b"data: "))["tenantId"] == "tenant-1"


async def test_who_stops_watching_leaves_no_subscription_behind(world: World) -> None:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    async with aiohttp.ClientSession() as session:
        response = await session.get(f"{world.address}/api/v1/events", headers=headers)
        await response.content.readline()
        assert world.live.subscribers == 1
        response.close()
    async with asyncio.timeout(10):
        while world.live.subscribers:
            world.live.publish("nudge")
            await asyncio.sleep(0)
