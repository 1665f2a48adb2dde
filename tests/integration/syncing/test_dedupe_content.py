"""What has the content of another, what has no time, and both kinds of keys at every crash."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from syncd.testing.crash import Crash, CrashAt
from tests.doubles.contract import START
from tests.doubles.rest import RestDouble
from tests.integration.backends import Backend
from tests.integration.syncing.contacts import BY_CONTENT, BY_MAIL, behave, by_name, make, system, tell
from tests.integration.syncing.world import World, at_start, opened


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


# -- content_hash --


async def test_an_unknown_id_with_the_content_of_another_is_not_stored_in_pages_runs_and_events(
    world: World, crm: RestDouble, mail: RestDouble
) -> None:
    behave(crm, capped=1)
    make(crm, "Ana", "ana@example.com", at=1)
    make(crm, "Ana", "ana@example.com", at=2)
    await world.connect("crm", crm, **BY_CONTENT)
    await world.connect("mail", mail, "push")
    assert await world.pull("crm") == {"fetched": 2, "created": 1, "duplicates": 1}
    third = make(crm, "Ana", "ana@example.com", at=3)
    await tell(world, crm, third, "create")
    [entity] = await world.entities()
    assert entity.data["externalIds"]["crm"] == "1"
    assert len(mail.contacts) == 1
    await world.clock.advance(1000)
    assert await world.pull("crm", full=True) == {"fetched": 3, "unchanged": 1, "duplicates": 2}


async def test_an_id_that_has_its_entity_keeps_it_and_content_that_nobody_has_any_more_is_free(
    world: World, crm: RestDouble
) -> None:
    make(crm, "Ana", "ana@example.com", at=1)
    make(crm, "Bo", "bo@example.com", at=1)
    await world.connect("crm", crm, **BY_CONTENT)
    assert await world.pull("crm") == {"fetched": 2, "created": 2}
    crm.now = START + 10
    crm.edit("contact", "2", {"name": "Ana", "mail": "ana@example.com"})
    make(crm, "Bo", "bo@example.com", at=11)
    await world.clock.advance(100)
    assert await world.pull("crm", full=True) == {"fetched": 3, "unchanged": 1, "updated": 1, "created": 1}
    assert len(await world.entities()) == 3


# -- latest_wins --


async def test_what_has_no_time_does_not_replace_what_has_one(world: World, crm: RestDouble) -> None:
    make(crm, "Ana", "ana@example.com", at=1)
    await world.connect("crm", crm, dedupe="latest_wins")
    assert await world.pull("crm") == {"fetched": 1, "created": 1}
    stamp = crm.manners.stamp
    behave(crm, stamp=lambda at: None)
    crm.edit("contact", "1", {"name": "At no time"})
    await world.clock.advance(100)
    assert await world.pull("crm", full=True) == {"fetched": 1, "duplicates": 1}
    assert (await by_name(world)).keys() == {"Ana"}
    behave(crm, stamp=stamp)
    crm.now = START + 200
    crm.edit("contact", "1", {"name": "Later"})
    await world.clock.advance(100)
    assert await world.pull("crm", full=True) == {"fetched": 1, "updated": 1}


# -- crashes --


@pytest.mark.may_block  # it makes a directory for each world
@pytest.mark.parametrize(
    ("rules", "counts"),
    [(BY_MAIL, {"created": 2, "updated": 1}), (BY_CONTENT, {"created": 2, "duplicates": 1})],
    ids=["composite_key", "content_hash"],
)
async def test_killed_at_any_port_call_a_pull_ends_with_each_key_once_and_the_same_counts(
    tmp_path: Path, backend: Backend, rules: dict[str, Any], counts: dict[str, int]
) -> None:
    counts = {"fetched": 3} | counts
    numbers = iter(range(10_000))

    async def scenario(crash: CrashAt) -> None:
        directory, clock = tmp_path / str(next(numbers)), at_start()
        directory.mkdir()
        async with system() as crm:
            behave(crm, capped=2)
            for number in (1, 2, 1):
                make(crm, f"Ana {number}", f"ana{number}@example.com", at=len(crm.contacts))
            async with opened(directory, clock, backend=backend) as world:
                await world.connect("crm", crm, **rules)
                task = await world.task("crm")
                await world.plan.queue_due()
            with contextlib.suppress(Crash):
                async with opened(directory, clock, backend=backend, crash=crash, boot="two") as world:
                    await world.work()
            await clock.advance(200)
            async with opened(directory, clock, backend=backend, boot="three") as world:
                await world.remind()
                await world.work()
                assert await world.counts(task) == counts
                assert len(await world.entities()) == 2

    await backend.at_port_calls(scenario, more_than=30)
