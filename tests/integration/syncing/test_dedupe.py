"""Contacts that are one thing by their key, whatever their ids."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.domain.messages import Envelope
from syncd.ports.queue import Message
from tests.doubles.contract import START
from tests.doubles.rest import RestDouble
from tests.integration.syncing.contacts import BY_MAIL, behave, by_name, live, make, system, tell
from tests.integration.syncing.world import TENANT, World, at_start, opened


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, at_start()) as world:
        yield world


@pytest.fixture
async def crm() -> AsyncIterator[RestDouble]:
    async with system() as double:
        yield double


@pytest.fixture
async def mail() -> AsyncIterator[RestDouble]:
    async with system() as double:
        yield double


async def test_two_ids_with_one_key_are_one_entity_and_one_object_in_the_other_system(
    world: World, crm: RestDouble, mail: RestDouble
) -> None:
    make(crm, "Ana", "ana@example.com", at=1)
    make(crm, "Ana later", "ana@example.com", at=2)
    make(crm, "Bo", "bo@example.com", at=3)
    await world.connect("crm", crm, **BY_MAIL)
    await world.connect("mail", mail, "push")
    assert await world.pull("crm") == {"fetched": 3, "created": 2, "duplicates": 1}
    found = await by_name(world)
    assert found.keys() == {"Ana later", "Bo"}
    assert found["Ana later"].data["externalIds"]["crm"] == "2"
    assert sorted(one.fields["name"] for one in mail.contacts.values()) == ["Ana later", "Bo"]


@pytest.mark.parametrize("later_first", [True, False])
async def test_the_later_stands_across_pages_and_runs_and_nothing_takes_turns(
    world: World, crm: RestDouble, mail: RestDouble, later_first: bool
) -> None:
    behave(crm, capped=1)
    make(crm, "Ana old", "ana@example.com", at=1)
    for number in range(3):
        make(crm, f"Bo {number}", f"bo{number}@example.com", at=2 + number)
    make(crm, "Ana new", "ana@example.com", at=-5 if later_first else 9)
    await world.connect("crm", crm, **BY_MAIL)
    await world.connect("mail", mail, "push")
    first = await world.pull("crm")
    assert first["fetched"] == 5
    assert first["created"] == 4
    assert sum(first.values()) == 10
    standing = "Ana old" if later_first else "Ana new"
    assert standing in await by_name(world)
    writes = [one for one in mail.log if one.method != "GET"]
    assert len(mail.contacts) == 4
    for _ in range(2):
        await world.clock.advance(1000)
        again = await world.pull("crm", full=True)
        assert again == {"fetched": 5, "unchanged": 4, "duplicates": 1}
    assert [one for one in mail.log if one.method != "GET"] == writes


async def test_without_times_the_id_that_a_run_met_first_stands_in_each_run(world: World) -> None:
    async with system() as crm:
        timed = ("updatedAt", "since")
        settings = {name: value for name, value in crm.manners.settings.items() if name not in timed}
        behave(crm, capped=1, settings=settings | {"leaveOut": ["changed", "archived"]})
        make(crm, "First", "ana@example.com", at=1)
        make(crm, "Second", "ana@example.com", at=2)
        await world.connect("crm", crm, **BY_MAIL)
        assert await world.pull("crm") == {"fetched": 2, "created": 1, "duplicates": 1}
        for _ in range(2):
            await world.clock.advance(100)
            assert await world.pull("crm") == {"fetched": 2, "unchanged": 1, "duplicates": 1}
        assert (await by_name(world)).keys() == {"First"}


async def test_a_record_without_its_key_is_identified_by_its_id(world: World, crm: RestDouble) -> None:
    make(crm, "Without", None, at=1)
    make(crm, "Without either", None, at=1)
    make(crm, "Empty", "", at=1)
    await world.connect("crm", crm, **BY_MAIL)
    assert await world.pull("crm") == {"fetched": 3, "created": 3}


async def test_an_event_finds_the_keyed_entity_by_its_content_and_by_the_alias_of_an_id_that_stands_beside(
    world: World, crm: RestDouble
) -> None:
    make(crm, "Ana", "ana@example.com", at=1)
    await world.connect("crm", crm, **BY_MAIL)
    await world.pull("crm")
    [entity] = await world.entities()
    crm.now = START + 50
    await world.clock.advance(50)
    other = make(crm, "Ana anew", "ana@example.com", at=50)
    await tell(world, crm, other, "create")
    [after] = await world.entities()
    assert (after.id, after.data["data"]["name"]) == (entity.id, "Ana anew")
    assert after.data["externalIds"]["crm"] == other
    # The first id is not the holder any more: what it says, and its end, change nothing.
    crm.now = START + 60
    await world.clock.advance(10)
    await tell(world, crm, "1", "delete")
    [still] = await world.entities()
    assert still.data == after.data
    crm.remove("contact", other)
    await tell(world, crm, other, "delete")
    assert await world.entities() == []


async def test_an_event_about_an_id_that_stands_beside_changes_nothing_unless_it_is_later(
    world: World, crm: RestDouble
) -> None:
    make(crm, "Old", "ana@example.com", at=1)
    make(crm, "New", "ana@example.com", at=20)
    await world.connect("crm", crm, **BY_MAIL)
    await world.pull("crm")
    crm.contacts["1"].fields["name"], crm.contacts["1"].changed = "Old, touched", START + 10
    await tell(world, crm, "1", "update")
    assert (await by_name(world)).keys() == {"New"}
    crm.now = START + 30
    crm.contacts["1"].fields["name"], crm.contacts["1"].changed = "Old, later", START + 30
    await tell(world, crm, "1", "update")
    [entity] = await world.entities()
    assert (entity.data["data"]["name"], entity.data["externalIds"]["crm"]) == ("Old, later", "1")


async def test_an_entity_keeps_its_identity_when_its_key_changes_and_its_former_key_is_free(
    world: World, crm: RestDouble
) -> None:
    make(crm, "Ana", "ana@example.com", at=1)
    await world.connect("crm", crm, **BY_MAIL)
    await world.pull("crm")
    [ana] = await world.entities()
    crm.now = START + 10
    crm.edit("contact", "1", {"mail": "ana@new.example"})
    make(crm, "Another", "ana@example.com", at=11)
    await world.clock.advance(100)
    assert await world.pull("crm") == {"fetched": 2, "updated": 1, "created": 1}
    found = await by_name(world)
    assert found["Ana"].id == ana.id
    assert found["Another"].id != ana.id


async def test_a_record_that_takes_the_key_of_another_becomes_that_one_and_leaves_its_own_entity(
    world: World, crm: RestDouble, mail: RestDouble
) -> None:
    make(crm, "Ana", "ana@example.com", at=1)
    make(crm, "Bo", "bo@example.com", at=2)
    await world.connect("crm", crm, **BY_MAIL)
    await world.connect("mail", mail, "push")
    await world.pull("crm")
    before = await by_name(world)
    crm.now = START + 10
    crm.edit("contact", "2", {"mail": "ana@example.com"})
    await world.clock.advance(100)
    await world.pull("crm", full=True)
    entities = {one.id: one.data for one in await world.entities()}
    assert entities[before["Ana"].id]["externalIds"]["crm"] == "2"
    assert entities[before["Ana"].id]["data"]["name"] == "Bo"
    # What the other system has is not taken from it.
    assert entities[before["Bo"].id]["externalIds"].keys() == {"mail"}
    assert len(mail.ids("contact")) == 2
    again = await world.pull("crm", full=True)
    assert again == {"fetched": 2, "unchanged": 1, "duplicates": 1}


async def test_the_copy_that_is_left_after_the_holder_was_deleted_has_the_entity(world: World, crm: RestDouble) -> None:
    make(crm, "Old", "ana@example.com", at=1)
    make(crm, "New", "ana@example.com", at=20)
    await world.connect("crm", crm, **BY_MAIL)
    await world.pull("crm")
    [entity] = await world.entities()
    crm.now = START + 30
    await world.clock.advance(30)
    crm.remove("contact", "2")
    await tell(world, crm, "2", "delete")
    assert await world.entities() == []
    assert await world.pull("crm", full=True) == {"fetched": 1, "created": 1}
    [revived] = await world.entities()
    assert (revived.id, revived.data["data"]["name"]) == (entity.id, "Old")


async def test_two_connections_with_equal_keys_are_two_things(world: World, crm: RestDouble, mail: RestDouble) -> None:
    make(crm, "Ana", "ana@example.com", at=1)
    make(mail, "Ana there", "ana@example.com", at=1)
    await world.connect("crm", crm, "pull", **BY_MAIL)
    await world.connect("mail", mail, "pull", **BY_MAIL)
    assert await world.pull("crm") == {"fetched": 1, "created": 1}
    assert await world.pull("mail") == {"fetched": 1, "created": 1}
    assert len(await world.entities()) == 2


async def test_documents_of_keys_are_shown_to_nobody_and_count_for_nothing(world: World, crm: RestDouble) -> None:
    make(crm, "Ana", "ana@example.com", at=1)
    make(crm, "Ana", "ana@example.com", at=2)
    await world.connect("crm", crm, **BY_MAIL)
    await world.pull("crm")
    assert len(await world.entities()) == 1
    kinds = sorted(one.id[:2] for one in await world.everything() if one.id[1] == "~")
    assert kinds == ["k~", "x~", "x~"]
    assert await live(world) == 1


async def test_an_entity_counts_once_whoever_holds_it(world: World, crm: RestDouble) -> None:
    make(crm, "Ana", "ana@example.com", at=1)
    make(crm, "Ana later", "ana@example.com", at=2)
    await world.connect("crm", crm, **BY_MAIL)
    await world.pull("crm")
    for at, number in ((10, "1"), (20, "2"), (30, "1")):
        crm.contacts[number].changed = START + at
        crm.contacts[number].fields["name"] = f"At {at}"
        await world.clock.advance(100)
        await world.pull("crm", full=True)
        [entity] = await world.entities()
        assert (entity.data["externalIds"]["crm"], entity.data["data"]["name"]) == (number, f"At {at}")
        assert await live(world) == 1


async def test_a_new_id_with_the_key_of_a_tombstone_brings_its_entity_back(world: World, crm: RestDouble) -> None:
    make(crm, "Ana", "ana@example.com", at=1)
    await world.connect("crm", crm, **BY_MAIL)
    await world.pull("crm")
    [entity] = await world.entities()
    crm.now = START + 30
    await world.clock.advance(30)
    crm.remove("contact", "1")
    await tell(world, crm, "1", "delete")
    assert (await world.entities(), await live(world)) == ([], 0)
    make(crm, "Ana again", "ana@example.com", at=20)
    assert (await world.pull("crm", full=True)) == {"fetched": 1, "created": 1}
    [revived] = await world.entities()
    assert (revived.id, revived.data["externalIds"]["crm"]) == (entity.id, "2")
    assert await live(world) == 1


async def test_two_that_meet_over_one_key_make_one_entity(world: World, crm: RestDouble) -> None:
    await world.connect("crm", crm, **BY_MAIL)
    messages = []
    for number in range(1, 9):
        made = make(crm, f"Ana {number}", "ana@example.com", at=number)
        event = crm.event("contact", made, "create")
        assert event is not None
        body = json.dumps(json.loads(event[1]) | {"tenantId": TENANT, "connectionId": "crm"}).encode()
        envelope = Envelope(kind="webhook", origin_id=made, tenant_id=TENANT, received_at=world.clock.now())
        messages.append(Message(envelope=envelope, body=body))
    await world.ports.queue.send("sync-outbound", messages)
    await asyncio.gather(*(world.execute(one) for one in await world.lease(8)))
    await world.work()
    [entity] = await world.entities()
    assert entity.data["data"]["name"] == "Ana 8"
    assert await live(world) == 1
