from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from syncd.domain.collections import AUDIT_ROWS
from syncd.domain.errors import NotFound, Overloaded, Throttled, TooLarge, Unauthorized, Unavailable
from syncd.flows.accept import QUEUE
from syncd.ports.documents import Query
from syncd.testing.clock import FrozenClock
from tests.integration.webhooks import SECRET, World, github, issue, opened

BODY = b'{"a": 1}'


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, FrozenClock()) as world:
        await world.register()
        yield world


async def waiting(world: World) -> int:
    return len(await world.queue.peek(QUEUE))


def signed(body: bytes, secret: str = SECRET, **headers: str) -> dict[str, str]:
    return {"x-signature": hmac.new(secret.encode(), body, "sha256").hexdigest(), **headers}


async def test_an_accepted_event_is_in_the_queue_with_all_that_its_handling_needs(world: World) -> None:
    body = issue()
    accepted = await world.send(body, github(body))
    [message] = await world.queue.peek(QUEUE)
    envelope = message.envelope
    assert accepted.status == "accepted"
    assert message.body == body
    assert (envelope.kind, envelope.tenant_id, envelope.connection_id) == ("webhook", "tenant", "gh")
    assert (envelope.registration_id, envelope.group, envelope.hop) == ("reg", "tenant:gh", 0)
    assert envelope.event_id == accepted.event_id
    assert envelope.received_at == world.clock.now()
    assert envelope.origin_id.startswith("reg/d-1/")
    assert dict(envelope.headers) == {
        "content-type": "application/json",
        "x-github-event": "issues",
        "x-github-delivery": "d-1",
    }


async def test_an_event_id_locates_its_row_and_does_not_hold_the_body(world: World) -> None:
    first = await world.send(issue(1), github(issue(1)))
    other = await world.send(issue(2), github(issue(2)))
    assert first.event_id == other.event_id
    partition, _, rest = first.event_id.rpartition(".")
    assert partition == f"reg:{rest[0]}"
    assert len(rest) == 32


async def test_the_same_delivery_sent_at_once_many_times_is_accepted_once(world: World) -> None:
    body = issue()
    answers = await asyncio.gather(*(world.send(body, github(body)) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == ["accepted"] + ["duplicate"] * 19
    assert len({answer.event_id for answer in answers}) == 1
    assert await waiting(world) == 1


async def test_another_body_under_a_used_delivery_id_is_let_through_to_be_parked(world: World) -> None:
    for body in (issue(1), issue(2)):
        assert (await world.send(body, github(body))).status == "accepted"
    origins = {message.envelope.origin_id for message in await world.queue.peek(QUEUE)}
    assert len(origins) == 2, "their later hops must not be taken for one another"


async def test_a_delivery_id_is_remembered_for_seven_days(world: World) -> None:
    body = issue()
    await world.send(body, github(body))
    await world.clock.advance(6.9 * 86400)
    assert (await world.send(body, github(body))).status == "duplicate"


async def test_without_a_delivery_id_the_same_body_is_one_event_for_a_minute(world: World) -> None:
    await world.register("plain", scheme="hmac-sha256")
    first = await world.send(BODY, signed(BODY), "plain")
    await world.clock.advance(59)
    again = await world.send(BODY, signed(BODY), "plain")
    assert (first.status, again.status, again.event_id) == ("accepted", "duplicate", first.event_id)
    await world.clock.advance(2)
    assert (await world.send(BODY, signed(BODY), "plain")).status == "accepted"
    origins = {message.envelope.origin_id for message in await world.queue.peek(QUEUE)}
    assert len(origins) == 2


async def test_a_signed_time_tells_the_same_body_apart_without_a_delivery_id(world: World) -> None:
    await world.register("timed", scheme="hmac-sha256", scheme_settings={"timestampHeader": "x-time"})

    def headers(stamp: int) -> dict[str, str]:
        signature = hmac.new(SECRET.encode(), f"{stamp}.".encode() + BODY, "sha256").hexdigest()
        return {"x-signature": signature, "x-time": str(stamp)}

    now = int(world.clock.now())
    answers = [await world.send(BODY, headers(stamp), "timed") for stamp in (now, now, now + 1)]
    assert [answer.status for answer in answers] == ["accepted", "duplicate", "accepted"]
    await world.clock.advance(200)
    assert (await world.send(BODY, headers(now), "timed")).status == "duplicate"
    await world.clock.advance(200)
    with pytest.raises(Unauthorized):
        await world.send(BODY, headers(now), "timed")


@pytest.mark.parametrize(
    ("registration", "headers", "body", "error"),
    [
        ("nobody", github(BODY), BODY, NotFound),
        ("../reg", github(BODY), BODY, NotFound),
        ("x" * 5000, github(BODY), BODY, NotFound),
        ("reg", {}, BODY, Unauthorized),
        ("reg", github(BODY, secret="other"), BODY, Unauthorized),
        ("reg", github(BODY), BODY + b" ", Unauthorized),
        ("reg", github(b"x" * 101), b"x" * 101, TooLarge),
    ],
)
async def test_what_is_refused_leaves_nothing_in_the_queue(
    world: World, registration: str, headers: dict[str, str], body: bytes, error: type[Exception]
) -> None:
    await world.registrations.delete("reg")
    await world.register(max_body_bytes=100)
    with pytest.raises(error):
        await world.send(body, headers, registration)
    assert await waiting(world) == 0
    assert len(world.seen.named("webhook_rejected")) == 1


async def test_a_rejected_request_leaves_a_row_without_its_body_or_signature(world: World) -> None:
    body = issue(title="canary-body")
    headers = github(body, secret="wrong")
    with pytest.raises(Unauthorized):
        await world.send(body, headers)
    page = await world.received.list("reg")
    [row] = page.items
    assert (row.data["status"], row.data["reason"]) == ("rejected", "the signature does not match")
    assert "canary" not in str(row.data)
    assert headers["x-hub-signature-256"] not in str(row.data)
    await world.clock.advance(31 * 86400)
    assert (await world.received.list("reg")).items == []


async def test_a_flood_of_forgeries_fills_no_disk(world: World) -> None:
    for _ in range(200):
        with pytest.raises(Unauthorized):
            await world.send(b"x", github(b"x", secret="wrong"))
    assert len((await world.received.list("reg", limit=500)).items) == 60
    assert len(world.seen.named("webhook_rejected")) == 200


async def test_a_registration_with_a_rate_refuses_what_is_above_it(world: World) -> None:
    await world.register("slow", rate=2)
    for number in range(2):
        await world.send(issue(number), github(issue(number), f"d-{number}"), "slow")
    with pytest.raises(Throttled) as caught:
        await world.send(issue(3), github(issue(3), "d-3"), "slow")
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 61
    await world.clock.advance(61)
    assert (await world.send(issue(3), github(issue(3), "d-3"), "slow")).status == "accepted"


async def test_a_forged_request_uses_up_no_rate(world: World) -> None:
    await world.register("slow", rate=1)
    for _ in range(5):
        with pytest.raises(Unauthorized):
            await world.send(issue(), github(issue(), secret="wrong"), "slow")
    assert (await world.send(issue(), github(issue()), "slow")).status == "accepted"


async def test_a_large_body_goes_through_a_blob(world: World) -> None:
    body = issue(title="x" * 100_000)
    await world.send(body, github(body))
    [message] = await world.queue.peek(QUEUE)
    assert message.body == b""
    assert message.envelope.body_ref is not None
    assert await world.blobs.get(message.envelope.body_ref) == body


class Refusing:
    """A queue in front of one that is away."""

    def __init__(self, queue: Any, error: Exception | None) -> None:
        self._queue = queue
        self.error = error
        self.hang: asyncio.Event | None = None

    async def send(self, *args: Any) -> Any:
        if self.error is not None:
            raise self.error
        if self.hang is not None:
            await self.hang.wait()
        return await self._queue.send(*args)


@pytest.mark.parametrize("error", [Overloaded("full", retry_after=2.0), Unavailable("disk full")])
async def test_what_could_not_be_stored_is_never_answered_as_accepted(world: World, error: Exception) -> None:
    refusing = Refusing(world.queue, error)
    world.accept._queue = refusing
    with pytest.raises(type(error)):
        await world.send(issue(), github(issue()))
    refusing.error = None
    assert (await world.send(issue(), github(issue()))).status == "accepted"


async def test_a_queue_that_hangs_is_given_up_and_the_retry_is_safe(world: World) -> None:
    refusing = Refusing(world.queue, None)
    refusing.hang = asyncio.Event()
    world.accept._queue = refusing
    world.accept._enqueue_timeout = 0.01
    with pytest.raises(Unavailable):
        await world.send(issue(), github(issue()))
    refusing.hang.set()
    world.accept._enqueue_timeout = 30.0
    assert (await world.send(issue(), github(issue()))).status == "accepted"


async def test_what_was_received_is_listed_newest_first_over_all_partitions(world: World) -> None:
    for number in range(40):
        await world.clock.advance(0 if number % 3 else 1)
        with pytest.raises(Unauthorized):
            await world.send(b"x", {})
    everything = (await world.received.list("reg", limit=100)).items
    stamps = [row.data["timestamp"] for row in everything]
    assert stamps == sorted(stamps, reverse=True)
    assert len({row.partition for row in everything}) > 4
    paged: list[str] = []
    cursor: str | None = None
    while True:
        page = await world.received.list("reg", limit=7, cursor=cursor)
        paged += [row.id for row in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert paged == [row.id for row in everything]


async def test_a_duplicate_is_counted_on_its_row_once_there_is_one(world: World) -> None:
    await world.connect()
    accepted = await world.send(issue(), github(issue()))
    await world.send(issue(), github(issue()))
    await world.work()
    assert (await world.row(accepted.event_id))["duplicates"] == 0
    await world.send(issue(), github(issue()))
    await world.send(issue(), github(issue()))
    assert (await world.row(accepted.event_id))["duplicates"] == 2
    assert len((await world.documents.query(AUDIT_ROWS, Query(across=True))).items) == 1
