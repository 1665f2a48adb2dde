"""The webhook addresses of the systems in use, over real sockets: the same handler, and the answers that their callers know."""

from __future__ import annotations

import pytest

from tests.integration.http.test_webhooks import change, send
from tests.integration.http.world import World


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/WebhookReceiver", {"x-webhook-id": "reg-1"}),
        ("/api/webhookreceiver/?code=host-key", {"X-Webhook-Id": "reg-1"}),
        ("/api/WebhookReceiver?registrationId=reg-1", {}),
        ("/api/webhooks", {"x-webhook-id": "reg-1"}),
        ("/api/webhooks?registrationId=reg-1", {}),
        ("/api/webhooks/reg-1", {}),
        ("/api/webhooks/reg-1/", {"x-webhook-id": "another"}),
        ("/api/webhooks/reg%2D1/events", {}),
        ("/webhooks/salesforce", {"x-webhook-id": "reg-1", "x-tenant-id": "tenant-1"}),
        ("/webhooks/salesforce?registrationId=reg-1", {}),
        ("/webhooks/reg-1", {}),
    ],
)
async def test_each_address_reaches_the_handler_and_answers_as_it_did(
    world: World, path: str, headers: dict[str, str]
) -> None:
    await world.registration()
    answer = await send(world, change(), path, **headers)
    assert answer.status == 200
    event_id = answer.json["eventId"]
    assert answer.json == {
        "success": True,
        "message": "Webhook received and queued",
        "synced": True,
        "status": "accepted",
        "eventId": event_id,
    }
    [message] = await world.store.queue.peek("sync-outbound")
    assert (message.envelope.event_id, message.envelope.registration_id) == (event_id, "reg-1")
    assert message.body == change()


async def test_one_event_under_two_addresses_is_one_event(world: World) -> None:
    await world.registration()
    first = await send(world, change())
    second = await send(world, change(), "/api/WebhookReceiver", **{"x-webhook-id": "reg-1"})
    assert (second.json["status"], second.json["eventId"]) == ("duplicate", first.json["eventId"])
    assert second.json["success"] is True


@pytest.mark.parametrize("path", ["/api/WebhookReceiver", "/api/webhooks", "/api/WebhookReceiver?registrationId="])
async def test_without_an_id_it_is_400_and_says_where_to_put_it(world: World, path: str) -> None:
    await world.registration()
    answer = await send(world, change(), path)
    assert answer.status == 400
    assert (answer.json["success"], answer.json["error"]) == (False, "Missing webhook registration ID")
    assert "x-webhook-id" in answer.json["detail"]
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert await world.store.queue.peek("sync-outbound") == []


@pytest.mark.parametrize("identifier", ["../reg-1", "a b", "x" * 64, "reg-1,reg-1", "-"])
async def test_what_can_be_no_id_is_400(world: World, identifier: str) -> None:
    await world.registration()
    answer = await send(world, change(), "/api/WebhookReceiver", **{"x-webhook-id": identifier})
    assert (answer.status, answer.json["success"]) == (400, False)


async def test_bytes_that_are_no_text_in_the_header_are_400(world: World) -> None:
    head = b"POST /api/WebhookReceiver HTTP/1.1\r\nHost: x\r\nx-webhook-id: \xff\xfe\r\nConnection: close\r\n"
    answer = await world.raw(head + b"Content-Length: 2\r\n\r\n{}")
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_refusals_have_the_old_names_and_texts_beside_the_problem(world: World) -> None:
    await world.registration(rate=1, maxBodyBytes=1000)
    path = "/api/webhooks/reg-1"
    unsigned = await send(world, change(), path, **{"X-Signature": "00"})
    assert (unsigned.status, unsigned.json["error"]) == (401, "Webhook signature verification failed")
    unknown = await send(world, change(), "/api/webhooks/nobody")
    assert (unknown.status, unknown.json["error"]) == (404, "Webhook registration not found")
    assert (await send(world, b"x" * 2000, path)).status == 413
    assert (await send(world, change(), path, **{"Content-Type": "image/png"})).json["success"] is False
    assert (await send(world, change(1), path)).status == 200
    limited = await send(world, change(2), path)
    assert (limited.status, limited.json["error"]) == (429, "Rate limit exceeded")
    assert limited.json["retryAfterSeconds"] == int(limited.headers["Retry-After"])
    for answer in (unsigned, unknown, limited):
        assert {"type", "title", "status", "detail"} <= set(answer.json)


async def test_a_replica_without_the_role_asks_to_try_again_elsewhere(world: World) -> None:
    world.change(accept=None)
    answer = await send(world, change(), "/api/webhooks/reg-1")
    assert (answer.status, answer.json["success"]) == (503, False)
    assert answer.json["retryAfterSeconds"] >= 1


async def test_other_methods_are_405(world: World) -> None:
    for path in ("/api/WebhookReceiver", "/api/webhooks/reg-1", "/webhooks/salesforce"):
        answer = await world.ask("GET", path, token=None)
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
