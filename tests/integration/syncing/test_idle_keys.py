"""Keys of what is gone, or is another thing by now, are cleared away; those under which something may still come never are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from syncd.domain.collections import ENTITIES, TOMBSTONE_TTL
from syncd.domain.times import DAY, HOUR
from syncd.flows.idlekeys import EVERY, IDLE_FOR, IdleKeys
from syncd.ports.documents import Document, Documents, Replace
from syncd.testing.crash import Crash, CrashAt
from tests.doubles.contract import START
from tests.doubles.rest import RestDouble
from tests.integration.backends import Backend
from tests.integration.syncing.contacts import BY_CONTENT, BY_MAIL, make, system, tell
from tests.integration.syncing.world import World, at_start, opened
from tests.integration.test_debts import Watched

#: Until a key that is found idle is removed, whenever its round began.
LONG = EVERY + IDLE_FOR


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, at_start()) as world:
        yield world


@pytest.fixture
async def anywhere(tmp_path: Path, backend: Backend) -> AsyncIterator[World]:
    """A world on either backend."""
    async with opened(tmp_path, at_start(), backend=backend) as world:
        yield world


@pytest.fixture
async def crm() -> AsyncIterator[RestDouble]:
    async with system() as double:
        yield double


def duty(world: World, *, documents: Documents | None = None, per_pass: int = 1000) -> IdleKeys:
    return IdleKeys(documents=documents or world.ports.documents, clock=world.clock, per_pass=per_pass)


async def keys(world: World) -> list[Document]:
    return [one for one in await world.everything() if one.id.startswith("k~")]


async def holders(world: World) -> list[str]:
    return sorted(one.data["externalId"] for one in await keys(world))


async def marked_and_due(world: World, idle: IdleKeys) -> None:
    """All that is idle has been marked, and the next pass removes it."""
    await idle.clear()
    await world.clock.advance(LONG)


async def pulled(world: World, crm: RestDouble) -> Any:
    await world.clock.advance(1000)
    return await world.pull("crm", full=True)


def change(crm: RestDouble, external_id: str, name: str, mail: str, *, at: float) -> None:
    crm.now = START + at
    crm.edit("contact", external_id, {"name": name, "mail": mail})


@pytest.mark.parametrize("rules", [BY_MAIL, BY_CONTENT], ids=["composite_key", "content_hash"])
async def test_the_key_of_what_is_gone_goes_and_all_others_stay(
    anywhere: World, crm: RestDouble, rules: dict[str, Any]
) -> None:
    world = anywhere
    for number in range(1, 4):
        make(crm, f"Ana {number}", f"ana{number}@example.com", at=1)
    await world.connect("crm", crm, **rules)
    assert await world.pull("crm") == {"fetched": 3, "created": 3}
    crm.now = START + 100
    crm.remove("contact", "2")
    await world.clock.advance(1000)
    await tell(world, crm, "2", "delete")
    await world.clock.advance(TOMBSTONE_TTL + HOUR)
    idle = duty(world)
    assert await idle.clear() == 1
    assert await holders(world) == ["1", "2", "3"], "it may be on its way back"
    await world.clock.advance(HOUR)
    assert await idle.clear() == 0, "one round a day"
    await world.clock.advance(EVERY)
    assert await idle.clear() == 1
    assert await holders(world) == ["1", "3"]
    make(crm, "Ana 1", "ana1@example.com", at=1)
    again = make(crm, "Ana 2", "ana2@example.com", at=1)
    assert (await pulled(world, crm))["created"] == 1
    assert await holders(world) == sorted(["1", "3", again]), "whoever still stands for it is known"


async def test_a_tombstone_keeps_the_key_that_brings_it_back(world: World, crm: RestDouble) -> None:
    make(crm, "Ana", "ana@example.com", at=1)
    await world.connect("crm", crm, **BY_MAIL)
    await world.pull("crm")
    [before] = await world.entities()
    crm.now = START + 100
    crm.remove("contact", "1")
    await world.clock.advance(1000)
    await tell(world, crm, "1", "delete")
    idle = duty(world)
    for _ in range(3):
        assert await idle.clear() == 0
        await world.clock.advance(LONG)
    make(crm, "Ana", "ana@example.com", at=2000)
    await pulled(world, crm)
    [after] = await world.entities()
    assert after.id == before.id


async def test_a_key_of_earlier_content_goes(world: World, crm: RestDouble) -> None:
    make(crm, "Ana", "ana@example.com", at=1)
    await world.connect("crm", crm, **BY_CONTENT)
    await world.pull("crm")
    for number in range(3):
        change(crm, "1", f"Ana {number}", "ana@example.com", at=100 + number)
        await tell(world, crm, "1", "update")
    assert len(await keys(world)) == 4
    idle = duty(world)
    await marked_and_due(world, idle)
    assert await idle.clear() == 3
    assert len(await keys(world)) == 1
    make(crm, "Ana 2", "ana@example.com", at=200)
    assert await pulled(world, crm) == {"fetched": 2, "unchanged": 1, "duplicates": 1}


@pytest.mark.parametrize("marking", [True, False], ids=["marked", "removed"])
async def test_what_comes_back_while_its_key_is_cleared_away_has_its_key_and_no_twin(
    anywhere: World, crm: RestDouble, marking: bool
) -> None:
    world = anywhere
    make(crm, "Ana", "ana@example.com", at=1)
    await world.connect("crm", crm, **BY_CONTENT)
    await world.pull("crm")
    change(crm, "1", "Other", "ana@example.com", at=100)
    await tell(world, crm, "1", "update")
    documents = Watched(world.ports.documents, [])
    idle = duty(world, documents=documents)
    if not marking:
        await marked_and_due(world, idle)

    async def back() -> None:
        change(crm, "1", "Ana", "ana@example.com", at=LONG + 2000)
        await tell(world, crm, "1", "update")

    documents.before = back
    await idle.clear()
    assert documents.before is None
    for _ in range(2):
        await world.clock.advance(LONG)
        await idle.clear()
    [entity] = await world.entities()
    assert entity.data["data"]["name"] == "Ana"
    assert [one.data.get("idleSince") for one in await keys(world)] == [None]
    make(crm, "Ana", "ana@example.com", at=LONG + 3000)
    assert await pulled(world, crm) == {"fetched": 2, "unchanged": 1, "duplicates": 1}


async def test_a_marked_key_is_claimed_though_there_is_nothing_new_to_say(world: World, crm: RestDouble) -> None:
    make(crm, "Ana", "ana@example.com", at=1)
    await world.connect("crm", crm, **BY_CONTENT)
    await world.pull("crm")
    [key] = await keys(world)
    data = {**key.data, "idleSince": "2023-11-14T22:13:20.000Z"}
    await world.ports.documents.write(ENTITIES, key.partition, [Replace(key.id, data, key.etag)])
    assert await pulled(world, crm) == {"fetched": 1, "unchanged": 1}
    assert [one.data.get("idleSince") for one in await keys(world)] == [None]


async def test_a_round_goes_on_where_the_last_pass_ended(world: World, crm: RestDouble) -> None:
    for number in range(1, 8):
        make(crm, f"Ana {number}", f"ana{number}@example.com", at=1)
    await world.connect("crm", crm, **BY_CONTENT)
    await world.pull("crm")
    for number in range(1, 8):
        change(crm, str(number), f"Other {number}", "ana@example.com", at=100)
    await pulled(world, crm)
    idle = duty(world, per_pass=5)
    for step in (idle.clear, idle.clear):
        await step()
    assert sum("idleSince" in one.data for one in await keys(world)) < 7
    await idle.clear()
    assert sum("idleSince" in one.data for one in await keys(world)) == 7
    assert await idle.clear() == 0
    await world.clock.advance(DAY)
    assert sum([await idle.clear() for _ in range(4)]) == 7
    assert len(await keys(world)) == 7


@pytest.mark.may_block  # it makes a directory for each world
async def test_killed_at_any_port_call_the_next_pass_does_it(tmp_path: Path, backend: Backend) -> None:
    numbers = iter(range(10_000))

    async def scenario(crash: CrashAt) -> None:
        directory, clock = tmp_path / f"c{next(numbers)}", at_start()
        directory.mkdir()
        async with system() as crm:
            for number in (1, 2):
                make(crm, f"Ana {number}", f"ana{number}@example.com", at=1)
            async with opened(directory, clock, backend=backend) as world:
                await world.connect("crm", crm, **BY_CONTENT)
                await world.pull("crm")
                change(crm, "1", "Other", "ana@example.com", at=100)
                await pulled(world, crm)
            with suppress(Crash):
                async with opened(directory, clock, backend=backend, crash=crash, boot="two") as world:
                    idle = duty(world)
                    await marked_and_due(world, idle)
                    await idle.clear()
            async with opened(directory, clock, backend=backend, boot="three") as world:
                idle = duty(world)
                await marked_and_due(world, idle)
                await idle.clear()
                assert await holders(world) == ["1", "2"]
                assert await pulled(world, crm) == {"fetched": 2, "unchanged": 2}

    await backend.at_port_calls(scenario, more_than=6)
