from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from syncd.domain.collections import PARKED
from syncd.domain.errors import Conflict, NotFound, TooLarge
from syncd.domain.messages import Envelope
from syncd.flows.audit_rows import body_of
from syncd.flows.parked import Filter
from syncd.ports.documents import Query
from syncd.ports.queue import Complete, Delivery, Message
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import Crash, CrashAt
from tests.integration.backends import Backend
from tests.integration.test_webhook_crashes import made_in
from tests.integration.webhooks import World, opened

Q = "sync-outbound"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, FrozenClock()) as world:
        yield world


async def delivered(world: World, name: str = "one", body: bytes = b"{}", queue: str = Q, **fields: Any) -> Delivery:
    envelope = Envelope(
        kind="webhook", origin_id=name, **{"tenant_id": "t", "received_at": world.clock.now(), **fields}
    )
    await world.queue.send(queue, [Message(envelope, body)])
    [delivery] = await world.queue.lease(queue, 1, duration=60.0)
    return delivery


async def parked(world: World, name: str = "one", body: bytes = b"{}", reason: str = "because", **fields: Any) -> str:
    bin_name = fields.pop("bin", "we_must_act")
    delivery = await delivered(world, name, body, **fields)
    identifier = await world.parked.park(delivery, bin_name, reason)
    await world.queue.settle([Complete(delivery)])
    return identifier


async def test_a_parked_message_holds_all_that_it_was(world: World) -> None:
    identifier = await parked(
        world,
        body=b'{"a":1}',
        reason="no connection",
        bin="tenant_must_act",
        connection_id="c",
        registration_id="r",
        headers={"x-topic": "y"},
        attempt=3,
        hop=4,
    )
    found = await world.parked.get(identifier)
    assert found.partition == f"{Q}:202311"
    data = found.data
    assert (data["queue"], data["tenantId"], data["connectionId"], data["kind"]) == (Q, "t", "c", "webhook")
    assert (data["bin"], data["reason"], data["status"]) == ("tenant_must_act", "no connection", "parked")
    envelope = Envelope.from_json(data["envelope"])
    assert (envelope.hop, envelope.attempt, dict(envelope.headers)) == (4, 3, {"x-topic": "y"})
    assert body_of(data) == b'{"a":1}'


@pytest.mark.parametrize("body", [b"", b"\xff\x00\xfe", "ü\0\u2028".encode(), b"\xef\xbb\xbf{}"])
async def test_any_bytes_come_back_as_they_were(world: World, body: bytes) -> None:
    identifier = await parked(world, body=body)
    await world.parked.replay(identifier)
    [delivery] = await world.queue.lease(Q, 1, duration=60.0)
    assert delivery.body == body


async def test_parking_one_hop_twice_is_one_document(world: World) -> None:
    delivery = await delivered(world)
    first = await world.parked.park(delivery, "poison", "the first reason")
    await world.clock.advance(86_400 * 20)  # into the next month
    assert await world.parked.park(delivery, "poison", "another reason") == first
    [found] = (await world.parked.list(Filter())).items
    assert found.data["reason"] == "the first reason"


async def test_a_replay_is_the_next_hop_with_everything_begun_anew(world: World) -> None:
    identifier = await parked(world, hop=2, attempt=3, expires_at=world.clock.now() + 60, event_id="reg:0.0")
    await world.clock.advance(3600)
    replayed = await world.parked.replay(identifier)
    assert replayed.data["status"] == "replayed"
    [delivery] = await world.queue.lease(Q, 1, duration=60.0)
    envelope = delivery.envelope
    assert (envelope.origin_id, envelope.hop, envelope.attempt, envelope.event_id) == ("one", 3, 0, "reg:0.0")
    assert envelope.expires_at == world.clock.now() + 7 * 86_400
    assert delivery.deliveries == 1


async def test_a_message_that_is_parked_again_is_another_document_with_the_next_hop(world: World) -> None:
    first = await parked(world)
    await world.parked.replay(first)
    [delivery] = await world.queue.lease(Q, 1, duration=60.0)
    second = await world.parked.park(delivery, "exhausted", "again")
    assert second != first
    await world.queue.settle([Complete(delivery)])
    await world.parked.replay(second)
    [delivery] = await world.queue.lease(Q, 1, duration=60.0)
    assert delivery.envelope.hop == 2


async def test_replaying_twice_sends_once(world: World) -> None:
    identifier = await parked(world)
    for _ in range(3):
        await world.parked.replay(identifier)
    assert len(await world.queue.peek(Q)) == 1


async def test_an_edited_body_is_replayed_and_the_original_stays_in_the_history(world: World) -> None:
    identifier = await parked(world, body=b"broken")
    await world.parked.edit(identifier, b"better")
    edited = await world.parked.edit(identifier, b"best")
    assert [body_of(entry) for entry in edited.data["history"]] == [b"broken", b"better"]
    await world.parked.replay(identifier)
    [delivery] = await world.queue.lease(Q, 1, duration=60.0)
    assert delivery.body == b"best"
    with pytest.raises(Conflict, match="replayed"):
        await world.parked.edit(identifier, b"too late")
    with pytest.raises(TooLarge):
        await world.parked.edit(identifier, b"x" * 100_000)


async def test_editing_a_body_kept_in_a_blob_takes_its_place(world: World) -> None:
    identifier = await parked(world, body=b"", body_ref="webhooks/reg/abc")
    edited = await world.parked.edit(identifier, b"inline")
    assert edited.data["history"][0]["bodyRef"] == "webhooks/reg/abc"
    await world.parked.replay(identifier)
    [delivery] = await world.queue.lease(Q, 1, duration=60.0)
    assert (delivery.body, delivery.envelope.body_ref) == (b"inline", None)


async def test_a_dropped_message_is_not_replayed_and_is_forgotten_after_thirty_days(world: World) -> None:
    identifier = await parked(world)
    await world.parked.drop(identifier)
    for attempt in (world.parked.replay(identifier), world.parked.drop(identifier)):
        with pytest.raises(Conflict, match="dropped"):
            await attempt
    await world.clock.advance(31 * 86_400)
    with pytest.raises(NotFound):
        await world.parked.get(identifier)


async def test_a_parked_message_waits_as_long_as_it_takes(world: World) -> None:
    identifier = await parked(world)
    await world.clock.advance(5 * 365 * 86_400)
    assert (await world.parked.replay(identifier)).data["status"] == "replayed"


@pytest.mark.parametrize("identifier", ["", "nothing", "sync-outbound:202311.0123", ".", "a."])
async def test_an_id_that_is_none_is_not_found(world: World, identifier: str) -> None:
    with pytest.raises(NotFound):
        await world.parked.replay(identifier)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Filter(), {"a", "b", "c", "d"}),
        (Filter(queue="reports"), {"d"}),
        (Filter(tenant="t2"), {"b"}),
        (Filter(connection="c1"), {"a", "b"}),
        (Filter(bin="poison"), {"c"}),
        (Filter(reason="time"), {"b", "c"}),
        (Filter(kind="push"), set()),
        (Filter(kind="webhook", tenant="t", connection="c1"), {"a"}),
        (Filter(before=1_700_000_002.0), {"a", "b"}),
        (Filter(after=1_700_000_002.0), {"c", "d"}),
        (Filter(after=1_700_000_001.0, before=1_700_000_002.0), {"b"}),
        (Filter(statuses=("replayed",)), set()),
    ],
)
async def test_filters_find_what_they_say(world: World, wanted: Filter, names: set[str]) -> None:
    await parked(world, "a", reason="5xx", connection_id="c1")
    await world.clock.advance(1)
    await parked(world, "b", reason="a timeout", tenant_id="t2", connection_id="c1")
    await world.clock.advance(1)
    await parked(world, "c", reason="time is over", bin="poison")
    await parked(world, "d", queue="reports")
    assert {one.data["envelope"]["originId"] for one in (await world.parked.list(wanted)).items} == names
    dry = await world.replay_all(wanted, dry_run=True)
    assert (dry.matched, dry.replayed) == (len(names), 0)


async def test_forty_of_many_are_replayed_by_filter_at_the_asked_rate_and_the_rest_stay(world: World) -> None:
    for number in range(120):
        await parked(world, f"m{number}", reason="quota" if number % 3 == 0 else "other")
    started = world.clock.now()
    result = await world.replay_all(Filter(reason="quota"), rate=20)
    assert (result.matched, result.replayed, result.failed) == (40, 40, 0)
    assert world.clock.now() - started == pytest.approx(2.0)
    assert len(await world.queue.peek(Q, limit=200)) == 40
    assert len((await world.parked.list(Filter(), limit=200)).items) == 80
    again = await world.replay_all(Filter(reason="quota"))
    assert again.matched == 0


async def test_paging_through_the_parked_ends(world: World) -> None:
    for number in range(25):
        await parked(world, f"m{number}", reason="quota" if number % 2 else "other")
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await world.parked.list(Filter(reason="quota"), limit=4, cursor=cursor)
        seen += [one.id for one in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 12


async def test_park_and_replay_at_every_crash_point_lose_nothing_and_send_one_hop_once(
    tmp_path: Path, backend: Backend
) -> None:
    directories = made_in(tmp_path)

    async def scenario(crash: CrashAt) -> None:
        directory, clock = next(directories), FrozenClock()
        async with opened(directory, clock, backend=backend) as world:
            await world.queue.send(Q, [Message(Envelope(kind="webhook", origin_id="one"), b"body")])

        async def first_half(world: World) -> None:
            for delivery in await world.queue.lease(Q, 1, duration=60.0):
                if delivery.envelope.hop == 0:
                    await world.parked.park(delivery, "we_must_act", "a bug")
                    await world.queue.settle([Complete(delivery)])
            for found in (await world.parked.list(Filter())).items:
                await world.parked.replay(found.id)

        async with opened(directory, clock, backend=backend, crash=crash) as world:
            with contextlib.suppress(Crash):
                await first_half(world)
        await clock.advance(120)
        async with opened(directory, clock, backend=backend) as world:
            await first_half(world)
            [found] = (await world.documents.query(PARKED, Query(across=True))).items
            assert found.data["status"] == "replayed"
        await clock.advance(120)  # the world before may have had it in its hands
        async with opened(directory, clock, backend=backend) as world:
            left = await world.queue.lease(Q, 10, duration=60.0)
            assert [(one.envelope.origin_id, one.envelope.hop, one.body) for one in left] == [("one", 1, b"body")]

    await backend.at_port_calls(scenario, more_than=9)
