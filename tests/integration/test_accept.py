from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from syncd.domain.collections import AUDIT_ROWS, REGISTRATIONS
from syncd.domain.errors import Conflict, Invalid, NotFound, Overloaded, Throttled, TooLarge, Unauthorized, Unavailable
from syncd.domain.secrets import Secret
from syncd.flows.accept import QUEUE
from syncd.flows.registrations import NewRegistration, shown
from syncd.ports.documents import Documents, Query
from syncd.testing.clock import FrozenClock
from tests.integration.webhooks import SECRET, ListedVault, World, github, issue, opened

BODY = b'{"a": 1}'


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, FrozenClock(), vault=ListedVault()) as world:
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
    world.accept._queue = refusing  # type: ignore[assignment]
    with pytest.raises(type(error)):
        await world.send(issue(), github(issue()))
    refusing.error = None
    assert (await world.send(issue(), github(issue()))).status == "accepted"


async def test_a_queue_that_hangs_is_given_up_and_the_retry_is_safe(world: World) -> None:
    refusing = Refusing(world.queue, None)
    refusing.hang = asyncio.Event()
    world.accept._queue = refusing  # type: ignore[assignment]
    world.accept._enqueue_timeout = 0.01
    with pytest.raises(Unavailable):
        await world.send(issue(), github(issue()))
    refusing.hang.set()
    world.accept._enqueue_timeout = 1.5
    assert (await world.send(issue(), github(issue()))).status == "accepted"


class Counting:
    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self.reads = 0

    async def get(self, *args: Any) -> Any:
        self.reads += 1
        await asyncio.sleep(0)
        return await self._documents.get(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._documents, name)


async def test_with_a_warm_cache_no_document_is_read(world: World) -> None:
    counting = Counting(world.documents)
    world.registrations._documents = counting  # type: ignore[assignment]
    world.accept._documents = counting  # type: ignore[assignment]
    await asyncio.gather(*(world.send(issue(n), github(issue(n), f"d-{n}")) for n in range(50)))
    assert counting.reads == 1, "a crowd that misses together reads once"
    for _ in range(50):
        with pytest.raises(NotFound):
            await world.send(BODY, github(BODY), "nobody")
    assert counting.reads == 2


async def test_guessing_ids_does_not_push_known_ones_out_of_the_cache(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncd.flows.readthrough.CACHED", 5)
    await world.send(issue(), github(issue()))
    for number in range(50):
        with pytest.raises(NotFound):
            await world.send(BODY, {}, f"guess-{number}")
    assert world.registrations.cached("reg") is not None


async def test_a_change_here_counts_at_once_and_a_change_elsewhere_after_the_cache(
    world: World, tmp_path: Path
) -> None:
    body = issue()
    await world.send(body, github(body))
    other = World(world.documents, world.queue, world.blobs, world.vault, world.clock)
    await other.registrations.enable("reg", False)
    assert (await world.send(body, github(body))).status == "duplicate", "cached for up to ten seconds"
    await world.clock.advance(11)
    with pytest.raises(NotFound):
        await world.send(body, github(body))
    await world.registrations.enable("reg", True)
    assert (await world.send(body, github(body))).status == "duplicate"


async def test_a_read_that_began_before_a_change_does_not_bring_the_old_state_back(world: World) -> None:
    body = issue()
    reading, go_on = asyncio.Event(), asyncio.Event()
    documents = world.documents

    class Slow:
        async def get(self, *args: Any) -> Any:
            found = await documents.get(*args)
            reading.set()
            await go_on.wait()
            return found

    world.registrations._documents = Slow()  # type: ignore[assignment]
    sending = asyncio.create_task(world.send(body, github(body)))
    await reading.wait()
    world.registrations._documents = documents
    await world.registrations.enable("reg", False)
    go_on.set()
    await sending
    with pytest.raises(NotFound):
        await world.send(body, github(body))


async def test_after_a_rotation_both_secrets_sign_until_the_overlap_is_over(world: World) -> None:
    issued = await world.registrations.rotate("reg", overlap=3600)
    assert issued.secret is not None
    new = issued.secret.reveal()
    for number, secret in enumerate((SECRET, new)):
        assert (await world.send(issue(), github(issue(), f"a{number}", secret=secret))).status == "accepted"
    await world.clock.advance(3599.9)
    await world.send(issue(), github(issue(), "b"))
    await world.clock.advance(0.2)
    with pytest.raises(Unauthorized):
        await world.send(issue(), github(issue(), "c"))
    assert (await world.send(issue(), github(issue(), "c", secret=new))).status == "accepted"


async def test_a_secret_that_leaked_is_invalid_at_once(world: World) -> None:
    await world.registrations.rotate("reg", secret=Secret("fresh"), overlap=0)
    with pytest.raises(Unauthorized):
        await world.send(issue(), github(issue()))
    await world.send(issue(), github(issue(), secret="fresh"))


async def test_a_made_secret_is_shown_once_and_kept_nowhere_in_clear(world: World) -> None:
    issued = await world.registrations.create(
        NewRegistration(id="made", tenant_id="tenant", integration_id="github", scheme="github")
    )
    assert issued.secret is not None
    secret = issued.secret.reveal()
    assert len(secret) == 64
    stored = await world.documents.query(REGISTRATIONS, Query(across=True))
    assert secret not in str(stored)
    assert "name" not in str(shown(issued.document)["secrets"])
    assert secret not in repr(issued)


async def test_a_given_secret_is_not_shown_again(world: World) -> None:
    issued = await world.registrations.create(
        NewRegistration(id="given", tenant_id="t", integration_id="github", scheme="github", secret=Secret("s"))
    )
    assert issued.secret is None


async def test_an_id_that_is_taken_is_refused_and_the_first_keeps_its_secret(world: World) -> None:
    with pytest.raises(Conflict):
        await world.register(secret=Secret("other"), tenant_id="other")
    assert (await world.send(issue(), github(issue()))).status == "accepted"


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"id": "a b"}, {"id"}),
        ({"id": "", "tenant_id": "x:y", "rate": 0}, {"id", "tenantId", "rate"}),
        ({"scheme": "none"}, {"scheme"}),
        ({"scheme_settings": {"header": "x"}}, {"schemeSettings.header"}),
        ({"max_body_bytes": 10**12}, {"maxBodyBytes"}),
        ({"secret": Secret(""), "id": "n"}, {"secret"}),
    ],
)
async def test_a_wrong_registration_is_refused_with_every_field(
    world: World, fields: dict[str, Any], paths: set[str]
) -> None:
    if fields.get("secret") == Secret(""):
        fields = {
            **fields,
            "scheme": "hmac-sha256",
            "scheme_settings": {"secretEncoding": "hex"},
            "secret": Secret("xyz"),
        }
    with pytest.raises(Invalid) as caught:
        await world.register(**{"id": "new", **fields})
    assert set(caught.value.errors) == paths


async def test_a_deleted_registration_is_unknown_and_its_secrets_are_gone(world: World) -> None:
    await world.send(issue(), github(issue()))
    await world.registrations.delete("reg")
    with pytest.raises(NotFound):
        await world.send(issue(), github(issue()))
    assert isinstance(world.vault, ListedVault)
    assert world.vault.held == {}


async def test_registrations_are_listed_by_tenant(world: World) -> None:
    await world.register("other", tenant_id="elsewhere")
    assert [one.id for one in (await world.registrations.list(tenant_ids=["elsewhere"])).items] == ["other"]
    assert len((await world.registrations.list()).items) == 2


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
