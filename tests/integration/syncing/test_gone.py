"""An update of an object that is not there (any more): what waits for a person, and what that person's word does (G4, G9)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.flows.parked import Filter
from syncd.ports.documents import Document
from tests.doubles.contract import Fault, JsonObject
from tests.doubles.rest import Contact
from tests.integration.backends import Backend
from tests.integration.syncing.crashing import staged, with_two_hops_at_once
from tests.integration.syncing.systems import Telling, telling, webhook
from tests.integration.syncing.world import TENANT, World, at_start, opened


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, at_start()) as world:
        yield world


@pytest.fixture(params=["page", "offset", "cursor"], ids=["idempotent", "lookup", "blind"])
async def crm(request: pytest.FixtureRequest, world: World) -> AsyncIterator[Telling]:
    double = telling(request.param, world.clock)
    async with double.serving():
        await world.connect("crm", double)
        yield double


one_kind = pytest.mark.parametrize("crm", ["page"], indirect=True, ids=["idempotent"])


async def edit(world: World, **changes: str) -> None:
    [found] = await world.entities()
    await world.flows.entities.edit(TENANT, "contact", found.id, {**found.data["data"], **changes})
    await world.work()


async def waiting(world: World) -> Document:
    [parked] = (await world.flows.parked.list(Filter())).items
    return parked


async def missed(world: World, crm: Telling) -> str:
    """Made here and there, deleted there without a word, then edited here. The id that it had."""
    await world.flows.entities.create(TENANT, "contact", {"name": "Ana", "mail": "ana@example.com"})
    await world.work()
    [there] = crm.ids("contact")
    await world.clock.advance(10)
    crm.remove("contact", there)
    await edit(world, name="Edited")
    return there


def brought_back(crm: Telling, there: str, changes: JsonObject) -> None:
    """Somebody there takes it out of the bin, as it was, and edits it."""
    kept = crm.contacts.setdefault(there, Contact(int(there), {"name": "Ana", "mail": "ana@example.com"}, crm.now))
    kept.deleted = False
    crm.edit("contact", there, changes)


async def told(world: World, crm: Telling, *bodies: bytes) -> None:
    for number, body in enumerate(bodies):
        sent = webhook("crm", body, f"{number} {crm.clock.now()}", world.clock.now())
        await world.ports.queue.send("sync-outbound", [sent])
    await world.work()


async def entity(world: World) -> Document:
    [found] = await world.entities()
    return found


async def test_the_person_is_told_what_replay_and_drop_will_do(world: World, crm: Telling) -> None:
    there = await missed(world, crm)
    parked = await waiting(world)
    assert parked.data["bin"] == "tenant_must_act"
    assert f"contact {there}: it is not there" in parked.data["reason"]
    assert "Replay looks again, and makes it anew" in parked.data["reason"]
    assert "Drop leaves it so" in parked.data["reason"]
    assert (await entity(world)).data["links"]["crm"]["held"]["reason"] == parked.data["reason"]


async def test_a_replay_makes_it_anew_with_all_of_its_fields(world: World, crm: Telling) -> None:
    there = await missed(world, crm)
    await world.flows.parked.replay((await waiting(world)).id)
    await world.work()
    [(made, content)] = crm.live().items()
    assert (content["name"], content["mail"]) == ("Edited", "ana@example.com")
    found = await entity(world)
    assert found.data["externalIds"] == {"crm": made} != {"crm": there}
    assert "dirtySince" not in found.data
    await edit(world, name="Again")
    assert crm.live()[made]["name"] == "Again"
    assert (await world.flows.parked.list(Filter())).items == []
    await world.clock.advance(300)
    assert (await world.pull("crm", full=True))["fetched"] == 1
    assert (await entity(world)).data["data"]["name"] == "Again"


async def test_what_is_still_said_of_the_former_object_changes_nothing(world: World, crm: Telling) -> None:
    await missed(world, crm)
    late = list(crm.told)  # its creation, and its deletion
    await world.flows.parked.replay((await waiting(world)).id)
    await told(world, crm, *late)
    assert [one["name"] for one in crm.live().values()] == ["Edited"]
    await told(world, crm, *late)
    found = await entity(world)
    assert (found.data["data"]["name"], list(crm.live())) == ("Edited", [found.data["externalIds"]["crm"]])


@one_kind
async def test_its_deletion_that_is_told_before_a_person_has_spoken_is_a_deletion(world: World, crm: Telling) -> None:
    await missed(world, crm)
    await told(world, crm, crm.told[-1])
    assert await world.entities() == []
    await world.flows.parked.replay((await waiting(world)).id)
    await world.work()
    assert not crm.live()


async def test_dropped_it_is_told_nothing_more_until_it_is_seen_there_again(world: World, crm: Telling) -> None:
    there = await missed(world, crm)
    await world.flows.parked.drop((await waiting(world)).id)
    assert "dirtySince" not in (await entity(world)).data
    asked = len(crm.log)
    await edit(world, mail="new@example.com")
    await world.clock.advance(4000)
    assert await world.remind() == 0
    assert len(crm.log) == asked
    assert "dirtySince" not in (await entity(world)).data
    assert (await world.flows.parked.list(Filter())).items == []
    brought_back(crm, there, {"größe": "XL"})
    await told(world, crm, crm.told[-1])
    assert crm.live()[there]["mail"] == "new@example.com"
    assert (await entity(world)).data["data"]["größe"] == "XL"


@one_kind
async def test_its_deletion_that_is_told_after_it_was_dropped_takes_nothing_from_us(world: World, crm: Telling) -> None:
    await missed(world, crm)
    deletion = crm.told[-1]
    await world.flows.parked.drop((await waiting(world)).id)
    await told(world, crm, deletion)
    assert (await entity(world)).data["data"]["name"] == "Edited"


async def test_dropped_and_deleted_here_it_is_made_when_it_comes_back(world: World, crm: Telling) -> None:
    await missed(world, crm)
    await world.flows.parked.drop((await waiting(world)).id)
    found = await entity(world)
    await world.flows.entities.remove(TENANT, "contact", found.id)
    await world.work()
    gone = await world.flows.entities.get(found.id)
    assert "dirtySince" not in gone.data
    await world.flows.entities.edit(TENANT, "contact", found.id, {"name": "Back"}, if_match=gone.etag)
    await world.work()
    assert [one["name"] for one in crm.live().values()] == ["Back"]


@one_kind
async def test_one_that_was_only_hidden_ends_the_wait_by_showing_itself(world: World, crm: Telling) -> None:
    there = await missed(world, crm)
    await world.clock.advance(10)
    brought_back(crm, there, {"mail": "theirs@example.com"})
    await told(world, crm, crm.told[-1])
    assert crm.live() == {there: {"name": "Edited", "mail": "theirs@example.com"}}
    await world.flows.parked.replay((await waiting(world)).id)
    await world.work()
    assert list(crm.live()) == [there]


async def test_one_that_is_back_when_its_push_is_replayed_is_no_second_one(world: World, crm: Telling) -> None:
    there = await missed(world, crm)
    brought_back(crm, there, {"mail": "theirs@example.com"})
    crm.told.clear()  # and nobody says so
    await world.flows.parked.replay((await waiting(world)).id)
    await world.work()
    assert crm.live() == {there: {"name": "Edited", "mail": "theirs@example.com"}}
    found = await entity(world)
    assert found.data["externalIds"] == {"crm": there}
    assert not {"gone", "create", "former"} & found.data["links"]["crm"].keys()
    assert "dirtySince" not in found.data


async def test_what_cannot_be_looked_for_just_now_is_not_taken_for_made(world: World, crm: Telling) -> None:
    there = await missed(world, crm)
    await world.flows.parked.replay((await waiting(world)).id)
    crm.faults.append(Fault(status=500))
    await world.work()
    assert (await world.flows.parked.list(Filter())).items == []
    assert [one["name"] for one in crm.live().values()] == ["Edited"]
    assert list(crm.live()) != [there]


async def test_what_is_made_anew_and_not_answered_is_there_once(world: World, crm: Telling) -> None:
    await missed(world, crm)
    crm.faults.append(Fault(status=500, when="after", writes=True))
    await world.flows.parked.replay((await waiting(world)).id)
    echoes = len(crm.told)
    await world.work()
    await told(world, crm, *crm.told[echoes:])
    found = await entity(world)
    assert list(crm.live()) == [found.data["externalIds"]["crm"]]
    assert "dirtySince" not in found.data


@pytest.fixture(params=["page", "offset"], ids=["idempotent", "lookup"])
async def system(request: pytest.FixtureRequest) -> AsyncIterator[Telling]:
    double = telling(request.param, at_start())
    async with double.serving():
        yield double


async def test_a_replay_makes_one_object_whatever_call_it_is_killed_at(
    tmp_path: Path, backend: Backend, system: Telling
) -> None:
    places: list[str] = []

    async def prepare(world: World) -> None:
        await world.connect("crm", system)
        places.append(await missed(world, system))

    async def act(world: World) -> None:
        await world.flows.parked.replay((await waiting(world)).id)
        await with_two_hops_at_once(world)

    async def check(world: World) -> None:
        for one in (await world.flows.parked.list(Filter())).items:
            await world.flows.parked.replay(one.id)  # as whoever saw no answer does
        await world.work()
        found = await entity(world)
        assert list(system.live()) == [found.data["externalIds"]["crm"]] != places
        assert [one["name"] for one in system.live().values()] == ["Edited"]
        assert "dirtySince" not in found.data

    async with staged(tmp_path, backend, prepare, crm=system) as stage:
        await stage.at_port_calls(act, check, more_than=8)
