"""POST /api/v1/queues/{name}/send: messages as other systems send them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from syncd.domain.collections import AUDIT
from syncd.ports.documents import Query
from tests.integration.http.test_resources import work_off
from tests.integration.http.world import READER, TENANT_1, Answer, World

CHANGE = {"integrationId": "github", "entityId": "e1", "operation": "update", "changes": {"title": "x"}}
EVENT = {
    "integrationId": "github",
    "tenantId": "tenant-1",
    "entityType": "issue",
    "entityId": "7",
    "operation": "create",
    "data": {"title": "Ada"},
}
TASK = {"integrationId": "github", "tenantId": "tenant-1", "connectionId": "conn-gh", "syncMode": "pull"}


async def sent(world: World, body: object, queue: str = "sync-outbound", **more: Any) -> Answer:
    token = more.pop("token", None)
    options = {} if token is None else {"token": token}
    return await world.api("POST", f"/queues/{queue}/send", {"body": body, **more}, **options)


@pytest.mark.parametrize("encode", [lambda fields: fields, json.dumps, lambda fields: json.dumps(json.dumps(fields))])
async def test_a_message_is_on_the_queue_with_its_envelope_and_its_text(world: World, encode: Any) -> None:
    answer = await sent(world, encode(CHANGE), properties={"correlationId": "run-1", "tenantId": "tenant-1"})
    assert answer.status == 202
    assert (answer.json["kind"], answer.json["tenantId"], answer.json["queue"]) == (
        "change",
        "tenant-1",
        "sync-outbound",
    )
    [message] = await world.store.queue.peek("sync-outbound")
    assert message.envelope.origin_id == answer.json["originId"]
    body = encode(CHANGE)
    assert message.body.decode() == (body if isinstance(body, str) else json.dumps(body))


@pytest.mark.parametrize(
    ("fields", "queue", "kind"), [(TASK, "sync-inbound", "task"), (EVENT, "sync-outbound", "webhook")]
)
async def test_the_kind_is_recognised(world: World, fields: dict[str, Any], queue: str, kind: str) -> None:
    assert (await sent(world, fields, queue)).json["kind"] == kind


async def test_an_event_is_applied_to_the_only_connection_of_its_integration(world: World) -> None:
    await world.connection()
    assert (await sent(world, json.dumps(json.dumps(EVENT)))).status == 202
    await work_off(world)
    [entity] = (await world.api("GET", "/entities/issue?tenantId=tenant-1")).json["items"]
    assert (entity["data"], entity["externalIds"]) == ({"title": "Ada"}, {"conn-gh": "7"})


@pytest.mark.parametrize(
    ("body", "queue", "status"),
    [
        ({"hello": 1}, "sync-outbound", 422),
        ("not JSON", "sync-outbound", 422),
        ("", "sync-outbound", 422),
        ([1], "sync-outbound", 422),
        (None, "sync-outbound", 422),
        (CHANGE, "nowhere", 404),
    ],
)
async def test_what_nobody_could_read_is_refused_and_not_sent(
    world: World, body: object, queue: str, status: int
) -> None:
    assert (await sent(world, body, queue)).status == status
    assert await world.store.queue.peek("sync-outbound") == []


async def test_it_needs_the_role_operate(world: World) -> None:
    assert (await sent(world, CHANGE, token=READER)).status == 403


async def test_a_token_of_one_tenant_sends_for_that_tenant_only_and_says_so(world: World) -> None:
    assert (await sent(world, CHANGE, token=TENANT_1)).status == 400
    assert (await sent(world, {**CHANGE, "tenantId": "tenant-2"}, token=TENANT_1)).status == 403
    hidden = {"tenantId": "tenant-1"}
    assert (await sent(world, {**CHANGE, "tenantId": "tenant-2"}, token=TENANT_1, properties=hidden)).status == 403
    assert (await sent(world, {**CHANGE, "tenantId": "tenant-1"}, token=TENANT_1)).status == 202
    assert len(await world.store.queue.peek("sync-outbound")) == 1


async def test_who_sent_what_is_in_the_audit_trail(world: World) -> None:
    answer = await sent(world, {**CHANGE, "tenantId": "tenant-1"})
    rows = (await world.store.documents.query(AUDIT, Query(across=True))).items
    [row] = [one.data for one in rows if one.data["action"] == "queue.send"]
    assert (row["actor"], row["subject"], row["tenantId"], row["outcome"]) == (
        "admin",
        "sync-outbound",
        "tenant-1",
        "done",
    )
    assert row["after"]["originId"] == answer.json["originId"]
