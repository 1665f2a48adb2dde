"""A push that waits for a person, and what the person's word does (G4, G6); what is seen there meanwhile (G9)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.flows.hints import hint
from syncd.flows.parked import Filter
from syncd.ports.documents import Document
from syncd.ports.queue import Complete
from tests.doubles.contract import Fault
from tests.integration.backends import Backend
from tests.integration.syncing.crashing import staged
from tests.integration.syncing.systems import Telling, shared, telling, webhook
from tests.integration.syncing.world import TENANT, World, at_start, opened

LOST = Fault(status=500, when="after", writes=True)
REFUSED = Fault(status=422, writes=True)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, at_start()) as world:
        yield world


@pytest.fixture
async def blind(world: World) -> AsyncIterator[Telling]:
    double = telling("cursor", world.clock)
    async with double.serving():
        await world.connect("mail", double)
        yield double


@pytest.fixture
async def careful(world: World) -> AsyncIterator[Telling]:
    """Refuses conditional writes, knows creates again."""
    double = telling("page", world.clock)
    async with double.serving():
        await world.connect("crm", double)
        yield double


async def made(world: World, name: str = "Ana") -> str:
    document = await world.flows.entities.create(TENANT, "contact", {"name": name})
    await world.work()
    return document.id


async def waiting(world: World) -> Document:
    [parked] = (await world.flows.parked.list(Filter())).items
    return parked


async def entity(world: World) -> Document:
    [found] = await world.entities()
    return found


def creates(double: Telling) -> int:
    return sum(one.method == "POST" for one in double.log)


async def test_a_blind_create_without_an_answer_is_sent_again_by_its_replay_and_by_nothing_else(
    world: World, blind: Telling
) -> None:
    blind.faults.append(Fault(status=500, writes=True))
    identifier = await made(world)
    parked = await waiting(world)
    assert (parked.data["bin"], creates(blind)) == ("outcome_unknown", 1)
    # An edit, its hint, a much later hop of it and maintenance: none of them is a person.
    await world.flows.entities.edit(TENANT, "contact", identifier, {"name": "Edited"})
    await world.ports.queue.send("sync-outbound", [hint(identifier, TENANT, "mail", 2, world.clock.now(), hop=9)])
    await world.work()
    await world.clock.advance(4000)
    assert await world.remind() == 0
    assert creates(blind) == 1
    await world.flows.parked.replay(parked.id)
    await world.work()
    assert creates(blind) == 2
    assert [one["name"] for one in blind.live().values()] == ["Edited"]
    assert "dirtySince" not in (await entity(world)).data


async def test_two_messages_that_meet_over_a_create_nobody_can_tell_park_it_once(world: World, blind: Telling) -> None:
    blind.faults.append(LOST)
    identifier = await made(world)
    first = await waiting(world)
    body = hint(identifier, TENANT, "mail", 1, world.clock.now(), hop=5).body
    # As when its sender is killed in the middle of the call: uncertain, and held by nobody.
    await world.clock.advance(1)
    await world.flows.push.resumed(body, world.clock.now())
    for hop in (5, 6):
        await world.ports.queue.send("sync-outbound", [hint(identifier, TENANT, "mail", 1, world.clock.now(), hop=hop)])
    deliveries = await world.lease(2)
    assert len(deliveries) == 2
    await world.execute(*deliveries)
    assert len((await world.flows.parked.list(Filter())).items) == 1 + 1
    assert await world.waiting() is None
    [by] = {one.id for one in (await world.flows.parked.list(Filter())).items} - {first.id}
    await world.flows.parked.replay(by)
    # Where the next hop of the one is a hop that the other was, the queue takes it for that one, and maintenance tells the next.
    await world.clock.advance(600)
    await world.remind()
    await world.work()
    assert (creates(blind), len(blind.live())) == (2, 2), "the first was made, and what a person says is done once"


async def test_what_a_replay_was_parked_for_again_needs_a_replay_of_its_own(world: World, blind: Telling) -> None:
    blind.faults += [Fault(status=500, writes=True), Fault(status=500, writes=True)]
    await made(world)
    first = await waiting(world)
    await world.clock.advance(10)
    await world.flows.parked.replay(first.id)
    await world.work()
    second = await waiting(world)
    assert second.id != first.id
    assert creates(blind) == 2
    await world.clock.advance(4000)
    await world.remind()
    await world.work()
    assert creates(blind) == 2
    await world.flows.parked.replay(second.id)
    await world.work()
    assert (creates(blind), len(blind.live())) == (3, 1)


async def test_debts_that_wait_for_a_person_do_not_keep_the_others_from_being_told_again(
    world: World, careful: Telling
) -> None:
    careful.faults += [REFUSED] * 5
    for number in range(5):
        await made(world, f"Refused {number}")
    await world.clock.advance(1)
    await world.flows.entities.create(TENANT, "contact", {"name": "Lost"})
    for delivery in await world.lease():
        await world.ports.queue.settle([Complete(delivery)])  # as if its hint had never come
    await world.clock.advance(4000)
    debts = world.debts(per_pass=2)
    assert [await debts.remind() for _ in range(3)] == [0, 0, 1]
    await world.work()
    assert [one["name"] for one in careful.live().values()] == ["Lost"]
    # Round again from the oldest, with those that have come since.
    await world.flows.entities.create(TENANT, "contact", {"name": "Lost too"})
    for delivery in await world.lease():
        await world.ports.queue.settle([Complete(delivery)])
    await world.clock.advance(4000)
    assert [await debts.remind() for _ in range(3)] == [0, 0, 1]


async def test_dropping_a_push_forgives_its_debt_and_the_next_change_is_told(world: World, careful: Telling) -> None:
    careful.faults.append(REFUSED)
    identifier = await made(world)
    parked = await waiting(world)
    assert parked.data["bin"] == "tenant_must_act"
    await world.flows.parked.drop(parked.id)
    assert "dirtySince" not in (await entity(world)).data
    await world.clock.advance(4000)
    assert await world.remind() == 0
    await world.work()
    assert not careful.live()
    await world.flows.entities.edit(TENANT, "contact", identifier, {"name": "Again"})
    await world.work()
    assert [one["name"] for one in careful.live().values()] == ["Again"]


async def test_an_object_that_was_made_and_cannot_be_read_at_once_is_not_made_again(
    world: World, blind: Telling
) -> None:
    blind.unreadable = 1
    await made(world)
    assert len(blind.live()) == 1
    assert (await entity(world)).data["externalIds"] == {"mail": "1"}
    assert (await world.flows.parked.list(Filter())).items == []
    await world.clock.advance(100)
    blind.edit("contact", "1", {"name": "Theirs"})
    await world.pull("mail", full=True)
    assert (await entity(world)).data["data"]["name"] == "Theirs"


async def test_a_created_object_that_shows_itself_is_no_second_entity_and_ends_the_wait(
    world: World, blind: Telling
) -> None:
    blind.faults.append(LOST)
    identifier = await made(world)
    parked = await waiting(world)
    [told] = blind.told
    await world.ports.queue.send("sync-outbound", [webhook("mail", told, "echo", world.clock.now())])
    await world.work()
    found = await entity(world)
    assert found.id == identifier
    assert found.data["externalIds"] == {"mail": "1"}
    assert "dirtySince" not in found.data
    await world.flows.parked.replay(parked.id)
    await world.work()
    assert creates(blind) == 1


async def test_an_object_edited_there_before_its_create_is_asked_for_again_is_no_second_entity(
    world: World, careful: Telling
) -> None:
    careful.faults.append(LOST)
    document = await world.flows.entities.create(TENANT, "contact", {"name": "Ana"})
    await world.execute(*await world.lease())
    [identifier] = careful.ids("contact")
    careful.edit("contact", identifier, {"name": "Theirs"})
    messages = [webhook("crm", told, str(number), world.clock.now()) for number, told in enumerate(careful.told)]
    await world.ports.queue.send("sync-outbound", messages)
    await world.work()
    found = await entity(world)
    assert found.id == document.id
    assert found.data["data"]["name"] == "Theirs"
    assert [one["name"] for one in careful.live().values()] == ["Theirs"]


async def test_an_edit_after_a_create_without_an_answer_is_not_taken_back_by_the_answer(
    world: World, careful: Telling
) -> None:
    careful.faults.append(LOST)
    document = await world.flows.entities.create(TENANT, "contact", {"name": "First"})
    await world.execute(*await world.lease())
    await world.flows.entities.edit(TENANT, "contact", document.id, {"name": "Second"})
    await world.work()
    assert (await entity(world)).data["data"]["name"] == "Second"
    assert [one["name"] for one in careful.live().values()] == ["Second"]


async def test_what_was_deleted_here_before_its_create_was_answered_does_not_stay_there(
    world: World, careful: Telling
) -> None:
    careful.faults.append(LOST)
    document = await world.flows.entities.create(TENANT, "contact", {"name": "Ana"})
    await world.execute(*await world.lease())
    assert len(careful.live()) == 1
    await world.flows.entities.remove(TENANT, "contact", document.id)
    await world.work()
    assert not careful.live()
    assert await world.entities() == []


async def test_what_somebody_changed_there_meanwhile_is_merged_and_then_pushed(world: World, careful: Telling) -> None:
    identifier = await made(world)
    [there] = careful.ids("contact")
    await world.clock.advance(5)
    careful.edit("contact", there, {"mail": "theirs@example.com"})
    await world.flows.entities.edit(TENANT, "contact", identifier, {"name": "Ours"})
    await world.work()
    assert careful.held("contact", there) == {"name": "Ours", "mail": "theirs@example.com"}
    assert shared((await entity(world)).data["data"]) == {"name": "Ours", "mail": "theirs@example.com"}
    assert [one.status for one in careful.log if one.method == "PATCH"] == [412, 200]


async def test_what_is_made_anew_after_a_deletion_is_another_object(world: World, careful: Telling) -> None:
    identifier = await made(world)
    await world.flows.entities.remove(TENANT, "contact", identifier)
    await world.work()
    assert not careful.live()
    deleted = await world.flows.entities.get(identifier)
    again = {"name": "Back"}
    await world.flows.entities.edit(TENANT, "contact", identifier, again, if_match=deleted.etag)
    await world.work()
    assert list(careful.live().values()) == [again]


async def test_an_echo_of_an_edit_does_not_bring_back_what_was_deleted_after_it(world: World, careful: Telling) -> None:
    identifier = await made(world)
    await world.flows.entities.edit(TENANT, "contact", identifier, {"name": "Edited"})
    await world.work()
    echo = careful.told[-1]
    await world.clock.advance(5)
    await world.flows.entities.remove(TENANT, "contact", identifier)
    await world.ports.queue.send("sync-outbound", [webhook("crm", echo, "echo", world.clock.now())])
    await world.work()
    assert not careful.live()
    assert await world.entities() == []


async def test_what_turns_up_as_a_lost_create_is_its_object_and_the_next_one_like_it_is_another(
    world: World, blind: Telling
) -> None:
    blind.faults.append(LOST)
    identifier = await made(world)
    assert (await waiting(world)).data["bin"] == "outcome_unknown"
    await world.clock.advance(1000)
    assert await world.pull("mail") == {"fetched": 1, "updated": 1}
    assert (await entity(world)).data["externalIds"] == {"mail": next(iter(blind.live()))}
    blind.put("contact", 2)
    blind.edit("contact", blind.ids("contact")[-1], {"name": "Ana", "mail": None, "größe": None})
    await world.clock.advance(1000)
    await world.pull("mail", full=True)
    found = await world.entities()
    assert (len(found), identifier in {one.id for one in found}) == (2, True)
    assert len(blind.live()) == 2


async def test_what_is_held_can_be_found_among_the_parked_whatever_call_it_is_killed_at(
    tmp_path: Path, backend: Backend
) -> None:
    system = telling("page", at_start())

    async def prepare(world: World) -> None:
        await world.connect("mail", system)

    async def act(world: World) -> None:
        system.faults.clear()
        system.faults.extend([REFUSED] * 20)
        await made(world)

    async def check(world: World) -> None:
        if not await world.entities():
            return  # killed before there was one
        parked = await waiting(world)
        held = (await entity(world)).data["links"]["mail"]["held"]
        assert (held["bin"], held["reason"]) == (parked.data["bin"], parked.data["reason"])
        system.faults.clear()
        await world.flows.parked.replay(parked.id)
        await world.work()
        assert [one["name"] for one in system.live().values()] == ["Ana"]
        assert (await world.flows.parked.list(Filter())).items == []

    async with system.serving(), staged(tmp_path, backend, prepare, mail=system) as stage:
        await stage.at_port_calls(act, check, more_than=4)
