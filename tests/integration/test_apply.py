from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from syncd.domain.errors import Conflict, NotFound
from syncd.domain.jsontypes import JsonObject
from syncd.domain.messages import Envelope
from syncd.domain.outcomes import DONE, Park
from syncd.flows.accept import QUEUE
from syncd.flows.audit_rows import body_of
from syncd.flows.parked import Filter
from syncd.ports.queue import Message
from syncd.testing.clock import FrozenClock
from tests.integration.webhooks import World, github, issue, opened
from tests.unit.test_github_events import DATA


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, FrozenClock()) as world:
        await world.register()
        await world.connect()
        yield world


async def receive(world: World, body: bytes, delivery: str = "d-1", event: str = "issues") -> JsonObject:
    """Accept, work until nothing is due, and return the row."""
    accepted = await world.send(body, github(body, delivery, event))
    await world.work()
    return await world.row(accepted.event_id)


async def test_an_event_becomes_an_entity_and_its_row_says_so(world: World) -> None:
    row = await receive(world, issue(4, title="first"))
    [entity] = await world.issues()
    assert entity.data["data"]["title"] == "first"
    assert entity.data["externalIds"] == {"gh": "7#4"}
    assert (row["status"], row["eventType"], row["entityType"]) == ("processed", "issues.edited", "issue")
    assert (row["entityId"], row["operation"], row["effect"]) == ("7#4", "update", "created")
    assert (row["entity"], row["entityVersion"], row["term"]) == (entity.id, 1, 1)
    assert body_of(row) == issue(4, title="first")
    assert "authorization" not in str(row)
    assert "x-hub-signature" not in str(row)
    found = await world.entities.find("tenant", "issue", "gh", "7#4")
    assert found is not None
    assert found.id == entity.id


async def test_a_later_event_updates_the_same_entity_and_an_older_one_does_not(world: World) -> None:
    await receive(world, issue(title="one", at="2023-11-14T10:00:00Z"), "a")
    row = await receive(world, issue(title="three", at="2023-11-14T12:00:00Z"), "b")
    assert (row["effect"], row["entityVersion"]) == ("updated", 2)
    row = await receive(world, issue(title="two", at="2023-11-14T11:00:00Z"), "c")
    assert (row["status"], row["effect"]) == ("processed", "outdated")
    [entity] = await world.issues()
    assert entity.data["data"]["title"] == "three"


async def test_a_deletion_leaves_a_tombstone_for_thirty_days_and_takes_its_aliases_with_it(world: World) -> None:
    await receive(world, issue(at="2023-11-14T10:00:00Z"), "a")
    row = await receive(world, issue(at="2023-11-14T10:00:00Z", action="deleted"), "b")
    assert row["effect"] == "deleted"
    assert await world.issues() == []
    assert len(await world.issues(deleted=True)) == 1
    await world.clock.advance(30 * 86400 + 1)
    assert await world.everything() == []


async def test_an_entity_that_comes_back_lives_for_ever_again(world: World) -> None:
    await receive(world, issue(at="2023-11-14T10:00:00Z"), "a")
    await receive(world, issue(at="2023-11-14T10:00:00Z", action="deleted"), "b")
    await receive(world, issue(at="2023-11-14T11:00:00Z", title="back"), "c")
    await world.clock.advance(31 * 86400)
    assert len(await world.issues()) == 1
    assert len(await world.everything()) == 2


async def test_a_tombstone_that_is_gone_gives_its_alias_to_the_next(world: World) -> None:
    await receive(world, issue(at="2023-11-14T10:00:00Z", action="deleted"), "a")
    [tombstone] = await world.issues(deleted=True)
    await world.clock.advance(29 * 86400)
    await receive(world, issue(at="2023-12-13T10:00:00Z"), "b")
    [entity] = await world.issues()
    assert entity.id == tombstone.id


async def test_a_ping_is_processed_without_an_entity(world: World) -> None:
    row = await receive(world, b'{"zen": "x", "hook_id": 1}', event="ping")
    assert (row["status"], row["eventType"], row["note"]) == ("processed", "ping", "nothing to do")
    assert "entityType" not in row


async def test_a_type_that_the_connection_does_not_list_is_processed_without_an_entity(world: World) -> None:
    body = json.dumps({"action": "created", "label": {"id": 1}}).encode()
    row = await receive(world, body, event="label")
    assert (row["status"], row["entityType"], row["entityId"]) == ("processed", "label", "1")
    assert "entity" not in row
    assert await world.everything(entity_type="label") == []


async def test_a_form_is_read_like_json(world: World) -> None:
    body = urlencode({"payload": issue(title="formed").decode()}).encode()
    headers = {**github(body), "content-type": "application/x-www-form-urlencoded"}
    await world.send(body, headers)
    await world.work()
    [entity] = await world.issues()
    assert entity.data["data"]["title"] == "formed"


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xfe", b"{}", b"[" * 1_000, b'{"issue":{"id":NaN}}', b'{"issue":{},"issue":{"id":1}}', b"not json"],
)
async def test_what_is_authentic_but_not_understood_is_parked_with_its_bytes(world: World, body: bytes) -> None:
    row = await receive(world, body)
    assert (row["status"], row["eventType"]) == ("parked", "issues")
    assert body_of(row) == body
    [parked] = (await world.parked.list(Filter(bin="not_understood"))).items
    assert body_of(parked.data) == body
    assert parked.data["reason"] == row["reason"]
    assert (await world.queue.depth(QUEUE)).ready == 0


async def test_without_a_connection_the_event_waits_for_its_tenant_and_is_applied_when_replayed(world: World) -> None:
    await world.register("loose", connection_id="later")
    await world.connect("second")  # now two connections of the integration: no guess is made
    body = issue()
    accepted = await world.send(body, github(body), "loose")
    [outcome] = await world.work()
    assert isinstance(outcome, Park)
    assert outcome.bin == "tenant_must_act"
    assert (await world.row(accepted.event_id))["status"] == "parked"
    await world.connect("later")
    result = await world.replay_all(Filter(tenant="tenant"))
    assert (result.matched, result.replayed) == (1, 1)
    await world.work()
    row = await world.row(accepted.event_id)
    assert (row["status"], row["connectionId"], row["effect"]) == ("processed", "later", "created")


async def test_the_only_connection_of_the_integration_is_the_one_that_is_meant(world: World) -> None:
    await world.register("loose", connection_id=None)
    body = issue()
    accepted = await world.send(body, github(body), "loose")
    await world.work()
    assert (await world.row(accepted.event_id))["connectionId"] == "gh"


async def test_a_connection_of_another_tenant_is_never_used(world: World) -> None:
    await world.connect("theirs", tenant="other")
    await world.register("cross", connection_id="theirs")
    body = issue()
    await world.send(body, github(body), "cross")
    [outcome] = await world.work()
    assert isinstance(outcome, Park)
    assert await world.everything("other") == []


async def test_a_disabled_connection_keeps_its_events_for_later(world: World) -> None:
    await world.register("off", connection_id="off")
    await world.connect("off", enabled=False)
    body = issue()
    await world.send(body, github(body), "off")
    [outcome] = await world.work()
    assert isinstance(outcome, Park)
    assert outcome.bin == "tenant_must_act"


async def test_an_event_accepted_before_its_registration_was_deleted_is_applied(world: World) -> None:
    body = issue()
    accepted = await world.send(body, github(body))
    await world.registrations.delete("reg")
    await world.work()
    assert (await world.row(accepted.event_id))["status"] == "processed"
    assert len(await world.issues()) == 1


async def test_a_large_body_is_read_from_its_blob(world: World) -> None:
    row = await receive(world, issue(title="x" * 100_000))
    assert row["status"] == "processed"
    assert "raw" not in row
    assert await world.blobs.get(row["bodyRef"]) == issue(title="x" * 100_000)


async def test_a_generic_registration_takes_the_documented_event(world: World) -> None:
    await world.register("plain", scheme="hmac-sha256", integration_id="github", secret=None)
    issued = await world.registrations.rotate("plain")
    assert issued.secret is not None

    async def send(**fields: Any) -> JsonObject:
        body = json.dumps({"entityType": "issue", "entityId": "x-1", "operation": "update", **fields}).encode()
        signature = hmac.new(issued.secret.reveal().encode(), body, "sha256").hexdigest()
        accepted = await world.send(body, {"x-signature": signature}, "plain")
        await world.work()
        return await world.row(accepted.event_id)

    row = await send(data={"title": "a", "body": "b"}, tenantId="tenant", timestamp="2023-11-14T10:00:00Z")
    assert (row["status"], row["eventType"]) == ("processed", "issue.update")
    await send(data={"title": "c"}, timestamp="2023-11-14T11:00:00Z")
    [entity] = await world.issues()
    assert entity.data["data"] == {"title": "c", "body": "b"}
    assert (await send(data={}, tenantId="other"))["status"] == "parked"


async def test_an_event_of_an_api_by_configuration_is_kept_as_its_records_are(world: World) -> None:
    described = {"list": "/contacts", "id": "uid", "updatedAt": "changed.at", "fields": {"name": "properties.full"}}
    settings = {"baseUrl": "https://crm.example", "types": {"contact": described}}
    await world.connect("crm", "pull", "contact", integrationId="rest", settings=settings)

    async def receive(identifier: str, data: JsonObject) -> JsonObject:
        body = {
            "tenantId": "tenant",
            "connectionId": "crm",
            "entityType": "contact",
            "entityId": identifier,
            "data": data,
        }
        envelope = Envelope(
            kind="webhook",
            origin_id=f"o-{identifier}",
            event_id=f"queue:0.{identifier}",
            tenant_id="tenant",
            connection_id="crm",
        )
        await world.queue.send(QUEUE, [Message(envelope, json.dumps(body).encode())])
        await world.work()
        return await world.row(f"queue:0.{identifier}")

    data = {"uid": 7, "changed": {"at": 1_699_999_990_000}, "properties": {"full": "Ana"}}
    row = await receive("7", data)
    assert (row["status"], row.get("reason")) == ("processed", None)
    [entity] = (await world.entities.list("tenant", "contact", deleted=False)).items
    assert entity.data["data"] == {"name": "Ana"}
    assert entity.data["links"]["crm"]["remoteVersion"].startswith("2023-11-14T22:13:10.000Z")
    other = await receive("8", data)
    assert (other["status"], other["reason"]) == ("parked", "the event is about '8', but its data is '7'")


async def test_an_event_of_a_producer_without_registrations_is_applied(world: World) -> None:
    body = {"tenantId": "tenant", "integrationId": "github", "entityType": "issue", "entityId": "q-1", "data": {"a": 1}}
    encoded = json.dumps(json.dumps(body)).encode()
    await world.queue.send(QUEUE, [Message(Envelope(kind="webhook", origin_id="abc"), encoded)])
    assert await world.work() == [DONE]
    [entity] = await world.issues()
    assert entity.data["externalIds"] == {"gh": "q-1"}
    await world.queue.send(QUEUE, [Message(Envelope(kind="webhook", origin_id="def"), b'{"entityType":"issue"}')])
    [outcome] = await world.work()
    assert isinstance(outcome, Park)


async def test_every_other_connection_is_owed_a_push_and_hinted_at_it(tmp_path: Path) -> None:
    async with opened(tmp_path, FrozenClock(), push_queue="sync-outbound") as world:
        await world.register()
        await world.connect()
        await world.connect("mirror", "push")
        await world.connect("reader", "pull")
        await world.connect("stranger", "both", tenant="other")
        body = issue()
        await world.send(body, github(body))
        [delivery] = await world.lease()
        await world.apply.handle(delivery.envelope, delivery.body)
        [entity] = await world.issues()
        assert entity.data["links"]["mirror"] == {"want": 1}
        assert "dirtySince" in entity.data
        [push] = [one for one in await world.queue.peek(QUEUE) if one.envelope.kind == "push"]
        assert push.envelope.origin_id == f"{entity.id}~mirror~1"
        assert push.envelope.group == "tenant:mirror"


async def test_two_events_of_one_new_entity_at_once_make_one_entity(world: World) -> None:
    bodies = [issue(title=str(number), at=f"2023-11-14T10:00:{number:02}Z") for number in range(10)]
    for number, body in enumerate(bodies):
        await world.send(body, github(body, f"d-{number}"))
    deliveries = await world.lease(10)
    await asyncio.gather(*(world.apply.handle(one.envelope, one.body) for one in deliveries))
    [entity] = await world.issues()
    assert entity.data["data"]["title"] == "9"
    assert len(await world.everything()) == 2


async def test_an_entity_is_edited_under_its_etag_and_owed_to_its_connections(world: World) -> None:
    await receive(world, issue(title="theirs"))
    [entity] = await world.issues()
    edited = await world.entities.edit("tenant", "issue", entity.id, {"title": "ours"}, if_match=entity.etag)
    assert (edited.data["version"], edited.data["data"]) == (2, {"title": "ours"})
    assert edited.data["links"]["gh"]["want"] == 2
    with pytest.raises(Conflict):
        await world.entities.edit("tenant", "issue", entity.id, {"title": "late"}, if_match=entity.etag)
    for tenant, entity_type, identifier in (
        ("other", "issue", entity.id),
        ("tenant", "pull_request", entity.id),
        ("tenant", "issue", "tenant:issue.nothing"),
        ("tenant", "issue", "no id"),
        ("tenant", "issue", (await world.everything())[-1].id),
    ):
        with pytest.raises(NotFound):
            await world.entities.edit(tenant, entity_type, identifier, {})
    removed = await world.entities.remove("tenant", "issue", entity.id)
    assert removed.data["deleted"] is True
    with pytest.raises(NotFound):
        await world.entities.edit("tenant", "issue", entity.id, {})
    made = await world.entities.create("tenant", "issue", {"title": "new"})
    assert [one.id for one in await world.issues()] == [made.id]


def real() -> list[Any]:
    if DATA is None:
        return [pytest.param("", [], marks=pytest.mark.skip(reason="the real payloads (shared/data) are not here"))]
    return [pytest.param(one["event"], one["payloads"], id=one["event"]) for one in json.loads(DATA.read_text())]


@pytest.mark.parametrize(("event", "payloads"), real())
async def test_every_real_payload_is_accepted_once_and_applied(
    tmp_path: Path, event: str, payloads: list[JsonObject]
) -> None:
    async with opened(tmp_path, FrozenClock()) as world:
        await world.register()
        await world.connect("gh", "both", event, "issue", "ref")
        for number, payload in enumerate(payloads):
            body = json.dumps(payload).encode()
            headers = github(body, f"{event}-{number}", event)
            accepted = await world.send(body, headers)
            assert accepted.status == "accepted"
            assert (await world.send(body, headers)).status == "duplicate"
            await world.work()
            row = await world.row(accepted.event_id)
            assert row["status"] == "processed"
            assert ("entity" in row) == (event != "ping")
            assert (await world.send(body, headers)).status == "duplicate"
