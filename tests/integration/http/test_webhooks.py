"""POST /webhooks/{registrationId}/events over real sockets: statuses, limits, and what is on the queue afterwards."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest

from syncd.domain.errors import Overloaded, Unavailable
from tests.integration.http.world import TENANT_1, Answer, World

SECRET = b"a-shared-secret"
EVENTS = "/webhooks/reg-1/events"


def signed(body: bytes, secret: bytes = SECRET) -> dict[str, str]:
    return {"X-Signature": hmac.new(secret, body, hashlib.sha256).hexdigest()}


async def send(world: World, body: bytes, path: str = EVENTS, **headers: str) -> Answer:
    sent = {"Content-Type": "application/json", **signed(body), **headers}
    return await world.ask("POST", path, data=body, headers=sent, token=None)


def change(number: int = 1, **more: Any) -> bytes:
    event = {
        "eventType": "issue.opened",
        "entityType": "issue",
        "entityId": str(number),
        "operation": "create",
        "data": {"n": number},
    }
    return json.dumps({**event, **more}).encode()


async def test_an_authentic_event_is_on_the_queue_when_it_is_answered(world: World) -> None:
    await world.registration()
    answer = await send(world, change())
    assert answer.status == 200
    assert answer.json == {"status": "accepted", "eventId": answer.json["eventId"]}
    [message] = await world.store.queue.peek("sync-outbound")
    assert message.envelope.event_id == answer.json["eventId"]
    assert message.body == change()


async def test_the_same_event_again_is_a_duplicate_with_the_same_id(world: World) -> None:
    await world.registration()
    first, second = await send(world, change()), await send(world, change())
    assert (second.status, second.json) == (200, {"status": "duplicate", "eventId": first.json["eventId"]})
    assert len(await world.store.queue.peek("sync-outbound")) == 1


@pytest.mark.parametrize(
    "path", ["/webhooks/reg-1/events/", "/webhooks/reg-1/events?source=x", "/webhooks/reg%2D1/events"]
)
async def test_a_trailing_slash_a_query_or_an_encoded_id_change_nothing(world: World, path: str) -> None:
    await world.registration()
    assert (await send(world, change(), path)).json["status"] == "accepted"


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-Signature": "00" * 32}, {"X-Signature": "nonsense"}, {"X-Hub-Signature-256": "sha256=00"}],
    ids=["missing", "wrong", "unreadable", "of another scheme"],
)
async def test_a_bad_or_missing_signature_is_401_and_stores_nothing(world: World, headers: dict[str, str]) -> None:
    await world.registration()
    answer = await world.ask(
        "POST", EVENTS, data=change(), headers={"Content-Type": "application/json", **headers}, token=None
    )
    assert answer.status == 401
    assert "WWW-Authenticate" not in answer.headers, "a sender has no token, and needs none"
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert await world.store.queue.peek("sync-outbound") == []


async def test_each_byte_of_the_body_counts(world: World) -> None:
    await world.registration()
    body = change()
    answer = await world.ask(
        "POST", EVENTS, data=body[:-1] + b" }", headers={"Content-Type": "application/json", **signed(body)}
    )
    assert answer.status == 401


async def test_an_unknown_registration_is_404(world: World) -> None:
    assert (await send(world, change(), "/webhooks/nobody/events")).status == 404


async def test_a_disabled_registration_answers_as_an_unknown_one_until_it_is_enabled(world: World) -> None:
    await world.registration()
    await world.api("PATCH", "/webhooks/reg-1", {"enabled": False})
    refused = await send(world, change())
    unknown = await send(world, change(), "/webhooks/reg-9/events")
    assert refused.status == unknown.status == 404
    assert refused.text.replace("reg-1", "reg-9") == unknown.text
    await world.api("PATCH", "/webhooks/reg-1", {"enabled": True})
    assert (await send(world, change())).status == 200


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("application/cloudevents+json", 200),
        ("application/x-www-form-urlencoded", 200),
        ("text/plain", 200),
        ("application/xml", 415),
        ("multipart/form-data; boundary=x", 415),
        ("image/png", 415),
        ("json", 415),
    ],
)
async def test_content_types(world: World, content_type: str, status: int) -> None:
    await world.registration()
    assert (await send(world, change(), **{"Content-Type": content_type})).status == status


async def test_without_a_content_type_it_is_read_as_json(world: World) -> None:
    await world.registration()
    body = change()
    head = f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\nX-Signature: {signed(body)['X-Signature']}\r\nConnection: close\r\n"
    answer = await world.raw(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_a_compressed_body_is_415_because_the_signature_covers_what_was_sent(world: World) -> None:
    await world.registration()
    assert (await send(world, change(), **{"Content-Encoding": "gzip"})).status == 415


@pytest.mark.parametrize("size", [2_000, 200_000])
async def test_a_body_over_the_registrations_own_limit_is_413(world: World, size: int) -> None:
    await world.registration(maxBodyBytes=1_000)
    assert (await send(world, b"x" * 1_000)).status == 200
    answer = await send(world, b"x" * size)
    assert answer.status == 413
    assert "1000 bytes" in answer.json["detail"]


async def test_a_large_body_within_the_limit_goes_through_a_blob(world: World) -> None:
    await world.registration()
    answer = await send(world, change(note="x" * 300_000))
    assert answer.status == 200
    [message] = await world.store.queue.peek("sync-outbound")
    assert message.envelope.body_ref is not None


async def test_over_its_rate_a_registration_is_429_with_the_time_to_wait(world: World) -> None:
    await world.registration(rate=2)
    assert [(await send(world, change(n))).status for n in range(2)] == [200, 200]
    answer = await send(world, change(3))
    assert answer.status == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 61


@pytest.mark.parametrize("error", [Overloaded("full", retry_after=2.5), Unavailable("disk full")])
async def test_what_cannot_be_stored_now_is_503_with_the_time_to_wait(
    world: World, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.registration()

    async def refused(*_: object) -> list[object]:
        raise error

    monkeypatch.setattr(world.store.queue, "send", refused)
    answer = await send(world, change())
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) >= 1


async def test_a_replica_without_the_role_asks_to_try_again_elsewhere(world: World) -> None:
    world.change(accept=None)
    answer = await send(world, change())
    assert answer.status == 503
    assert "Retry-After" in answer.headers


async def test_get_is_405(world: World) -> None:
    answer = await world.ask("GET", EVENTS, token=None)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_a_request_keeps_the_generation_it_began_with(world: World) -> None:
    """The services are read once: what a reload takes away in the middle is still there for who began before it."""
    await world.registration()
    began = world.services
    accept = began.accept
    assert accept is not None

    class Reloading:
        async def receive(self, *arguments: Any) -> Any:
            world.change(accept=None)
            return await accept.receive(*arguments)

    world.services = replace(began, accept=Reloading())  # type: ignore[arg-type] # a stand-in that reloads in the middle
    assert (await send(world, change())).status == 200
    assert (await send(world, change())).status == 503


async def test_both_secrets_are_good_while_they_overlap_and_only_the_new_one_after(world: World) -> None:
    await world.registration()
    await world.api("POST", "/webhooks/reg-1/rotate", {"secret": "second", "overlapSeconds": 3600})
    assert (await send(world, change(1))).status == 200
    assert (await send(world, change(2), **signed(change(2), b"second"))).status == 200
    await world.clock.advance(3601)
    assert (await send(world, change(3))).status == 401
    assert (await send(world, change(4), **signed(change(4), b"second"))).status == 200


async def test_a_secret_that_is_made_here_is_shown_once_and_works(world: World) -> None:
    made = await world.registration(secret=None)
    secret = made.json["secret"]
    assert len(secret) == 64
    assert "secret" not in (await world.api("GET", "/webhooks/reg-1")).json
    assert (await send(world, change(), **signed(change(), secret.encode()))).status == 200


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"connectionId": "nobody"}, "connectionId"),
        ({"connectionId": "conn-2"}, "connectionId"),
        ({"connectionId": "conn-1", "integrationId": "other"}, "integrationId"),
        ({"scheme": "rot13"}, "scheme"),
        ({"schemeSettings": {"heder": "x"}}, "schemeSettings.heder"),
        ({"maxBodyBytes": 10**9}, "maxBodyBytes"),
        ({"rate": 0}, "rate"),
        ({"identifier": "a/b"}, "id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_registration_that_cannot_work_is_refused_with_the_field(
    world: World, more: dict[str, Any], field: str
) -> None:
    await world.connection("conn-1", "tenant-1")
    await world.connection("conn-2", "tenant-2")
    answer = await world.registration(**more)
    assert answer.status == 400
    assert field in [one["field"] for one in answer.json["errors"]]


async def test_registrations_are_listed_by_tenant_and_deleted_for_good(world: World) -> None:
    await world.registration("reg-1", "tenant-1")
    await world.registration("reg-2", "tenant-2")
    assert [one["id"] for one in (await world.api("GET", "/webhooks")).json["items"]] == ["reg-1", "reg-2"]
    assert [one["id"] for one in (await world.api("GET", "/webhooks?tenantId=tenant-2")).json["items"]] == ["reg-2"]
    assert [one["id"] for one in (await world.api("GET", "/webhooks", token=TENANT_1)).json["items"]] == ["reg-1"]
    assert (await world.api("GET", "/webhooks?tenantId=tenant-2", token=TENANT_1)).json["items"] == []
    assert (await world.registration("reg-1", "tenant-1")).status == 409
    assert (await world.api("DELETE", "/webhooks/reg-1")).status == 204
    assert (await send(world, change())).status == 404
    assert (await world.api("DELETE", "/webhooks/reg-1")).status == 404
