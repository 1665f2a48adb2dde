"""What becomes of a push whose connection, entity or system is not as the message believes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.domain.collections import CONNECTIONS
from syncd.domain.messages import Envelope
from syncd.flows.hints import KIND, hint
from syncd.flows.parked import Filter
from syncd.ports.documents import Delete, Replace
from syncd.ports.queue import Message
from tests.doubles.contract import Fault
from tests.integration.syncing.systems import Telling, telling
from tests.integration.syncing.world import TENANT, World, at_start, opened


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, at_start()) as world:
        yield world


@pytest.fixture(params=["page", "offset"])
async def crm(request: pytest.FixtureRequest, world: World) -> AsyncIterator[Telling]:
    double = telling(request.param, world.clock)
    async with double.serving():
        await world.connect("crm", double)
        yield double


async def made(world: World) -> str:
    return (await world.flows.entities.create(TENANT, "contact", {"name": "Ana"})).id


async def connection(world: World, **fields: object) -> None:
    documents = world.ports.documents
    found = await documents.get(CONNECTIONS, "crm", "crm")
    assert found is not None
    await documents.write(CONNECTIONS, "crm", [Replace("crm", {**found.data, **fields}, found.etag)])
    await world.clock.advance(10)


async def dirty(world: World) -> list[bool]:
    return ["dirtySince" in one.data for one in await world.entities()]


async def test_a_connection_that_is_gone_is_owed_nothing(world: World, crm: Telling) -> None:
    await made(world)
    await world.ports.documents.write(CONNECTIONS, "crm", [Delete("crm")])
    await world.clock.advance(10)
    await world.work()
    assert await dirty(world) == [False]
    assert [one["reason"] for one in world.seen.named("push_skipped")] == ["gone"]


async def test_one_that_only_pulls_by_now_is_owed_nothing(world: World, crm: Telling) -> None:
    await made(world)
    await connection(world, entities={"contact": {"direction": "pull"}})
    await world.work()
    assert await dirty(world) == [False]
    assert not crm.live()


async def test_what_a_disabled_one_is_owed_stands_until_it_is_enabled(world: World, crm: Telling) -> None:
    await made(world)
    await connection(world, enabled=False)
    await world.work()
    assert await dirty(world) == [True]
    await connection(world, enabled=True)
    await world.clock.advance(4000)
    assert await world.remind() == 1
    await world.work()
    assert (await dirty(world), len(crm.live())) == ([False], 1)


@pytest.mark.parametrize("body", [b"{}", b"no json", b'{"entityId": "x~1", "connectionId": "crm"}'])
async def test_a_message_that_names_no_entity_is_parked(world: World, crm: Telling, body: bytes) -> None:
    now = world.clock.now()
    envelope = Envelope(kind=KIND, origin_id="o", tenant_id=TENANT, received_at=now, expires_at=now + 60)
    await world.ports.queue.send("sync-outbound", [Message(envelope, body)])
    await world.work()
    [parked] = (await world.flows.parked.list(Filter())).items
    assert parked.data["bin"] == "not_understood"
    await world.flows.parked.drop(parked.id)


@pytest.mark.parametrize("entity_id", ["gone", f"{TENANT}:contact.01HF7YAT00000000000000000A"])
async def test_an_entity_that_is_not_there_is_owed_to_nobody(world: World, crm: Telling, entity_id: str) -> None:
    await world.ports.queue.send("sync-outbound", [hint(entity_id, TENANT, "crm", 1, world.clock.now())])
    await world.work()
    assert not crm.log
    assert (await world.flows.parked.list(Filter())).items == []


async def test_an_update_of_what_is_not_there_any_more_waits_for_a_person_until_its_deletion_is_told(
    world: World, crm: Telling
) -> None:
    identifier = await made(world)
    await world.work()
    [there] = crm.ids("contact")
    crm.remove("contact", there)
    await world.flows.entities.edit(TENANT, "contact", identifier, {"name": "Edited"})
    await world.work()
    [parked] = (await world.flows.parked.list(Filter())).items
    assert (parked.data["bin"], await dirty(world)) == ("tenant_must_act", [True])


async def test_a_first_update_is_looked_at_and_written_by_one_message(world: World) -> None:
    double = telling("page", world.clock)  # its lists do not show the tag that it compares
    async with double.serving():
        double.put("contact", 1)
        await world.connect("crm", double)
        await world.pull("crm")
        [found] = await world.entities()
        await world.clock.advance(10)
        double.log.clear()
        await world.flows.entities.edit(TENANT, "contact", found.id, {**found.data["data"], "name": "Ours"})
        await world.execute(*await world.lease())
        assert [(one.method, one.status) for one in double.log] == [("GET", 200), ("PATCH", 200)]
        assert await world.waiting() is None, "nothing is left to be worked on"
        assert [one["name"] for one in double.live().values()] == ["Ours"]
        assert await dirty(world) == [False]


async def test_a_system_that_is_away_is_asked_four_times_and_then_a_person(world: World, crm: Telling) -> None:
    crm.faults += [Fault(status=500)] * 8
    await made(world)
    await world.work()
    [parked] = (await world.flows.parked.list(Filter())).items
    assert parked.data["bin"] == "exhausted"
    crm.faults.clear()
    await world.flows.parked.replay(parked.id)
    await world.work()
    assert (len(crm.live()), await dirty(world)) == (1, [False])


async def test_a_message_that_killed_its_worker_holds_its_debt(world: World, crm: Telling) -> None:
    await made(world)
    [delivery] = await world.lease()
    await world.flows.park(delivery, "poison", "the worker died with it")
    assert await world.remind() == 0
    [entity] = await world.entities()
    assert entity.data["links"]["crm"]["held"]["bin"] == "poison"
    [parked] = (await world.flows.parked.list(Filter())).items
    await world.flows.parked.replay(parked.id)
    await world.work()
    assert len(crm.live()) == 1
