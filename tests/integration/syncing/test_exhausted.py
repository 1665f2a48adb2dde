"""A minute's outage of a system needs no person; one that lasts does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.domain.jsontypes import JsonObject
from syncd.flows.parked import Filter
from syncd.testing.crash import Crash, CrashAt
from tests.doubles.contract import Fault
from tests.doubles.rest import DOUBLES, RestDouble
from tests.integration.backends import Backend
from tests.integration.syncing.world import TENANT, World, at_start, opened

AWAY = [Fault(status=503, body=b"away") for _ in range(4)]
REFUSED = [Fault(status=500, writes=True) for _ in range(4)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, at_start()) as world:
        yield world


@pytest.fixture
async def crm() -> AsyncIterator[RestDouble]:
    double = DOUBLES["page"]()
    assert isinstance(double, RestDouble)
    async with double.serving():
        yield double


async def waiting(world: World) -> list[JsonObject]:
    return [one.data for one in (await world.flows.parked.list(Filter())).items]


async def replayed(world: World) -> int:
    """One pass of the duty, and the work that follows."""
    count = await world.flows.exhausted.replay()
    await world.work()
    return count


async def test_a_pull_that_was_given_up_comes_back_when_the_system_answers_again(world: World, crm: RestDouble) -> None:
    crm.put("contact", 1)
    await world.connect("crm", crm)
    crm.faults.extend(AWAY)
    task = await world.task("crm")
    await world.plan.queue_due()
    await world.work()
    [parked] = await waiting(world)
    assert (parked["bin"], parked["kind"]) == ("exhausted", "task")
    assert await replayed(world) == 0  # it has not answered since
    await world.clock.advance(60)
    await world.pull("crm")
    assert await replayed(world) == 1
    assert await waiting(world) == []
    assert (await world.task_now(task))["status"] == "succeeded"
    assert await replayed(world) == 0


async def test_a_push_that_was_given_up_is_made_once_when_the_system_answers_again(
    world: World, crm: RestDouble
) -> None:
    number = crm.put("contact", 1)
    await world.connect("crm", crm)
    await world.pull("crm")
    [entity] = await world.entities()
    crm.faults.extend(REFUSED)
    await world.flows.entities.edit(TENANT, "contact", entity.id, {**entity.data["data"], "name": "Edited"})
    await world.work()
    [parked] = await waiting(world)
    assert (parked["bin"], parked["kind"]) == ("exhausted", "push")
    await world.clock.advance(60)
    await world.pull("crm")
    assert await replayed(world) == 1
    assert (crm.held("contact", number) or {})["name"] == "Edited"
    assert await waiting(world) == []
    [entity] = await world.entities()
    assert "held" not in entity.data["links"]["crm"]


async def test_what_is_given_up_again_after_it_came_back_waits_for_a_person(world: World, crm: RestDouble) -> None:
    crm.put("contact", 1)
    await world.connect("crm", crm)
    await world.pull("crm")
    [entity] = await world.entities()
    crm.faults.extend([*REFUSED, *REFUSED])
    await world.flows.entities.edit(TENANT, "contact", entity.id, {**entity.data["data"], "name": "Edited"})
    await world.work()
    for came_back in (1, 0, 0):
        await world.clock.advance(100)
        await world.pull("crm", full=True)
        assert await replayed(world) == came_back
        [parked] = await waiting(world)
        assert parked["bin"] == "exhausted"
    # The person may send it as often as he likes.
    [found] = (await world.flows.parked.list(Filter())).items
    await world.flows.parked.replay(found.id)
    await world.work()
    assert await waiting(world) == []
    assert (crm.held("contact", "1") or {})["name"] == "Edited"


async def test_another_connection_that_answers_brings_nothing_back(world: World, crm: RestDouble) -> None:
    crm.put("contact", 1)
    await world.connect("crm", crm, "pull")
    await world.connect("other", crm, "pull")
    crm.faults.extend(AWAY)
    await world.task("crm")
    await world.plan.queue_due()
    await world.work()
    await world.clock.advance(60)
    await world.pull("other")
    assert await replayed(world) == 0
    assert len(await waiting(world)) == 1


async def test_another_replica_knows_of_the_answer_by_the_document(tmp_path: Path, crm: RestDouble) -> None:
    crm.put("contact", 1)
    clock = at_start()
    async with opened(tmp_path, clock) as world:
        await world.connect("crm", crm)
        crm.faults.extend(AWAY)
        await world.task("crm")
        await world.plan.queue_due()
        await world.work()
        await clock.advance(60)
        await world.pull("crm")
    async with opened(tmp_path, clock, boot="two") as world:
        assert await replayed(world) == 1
        assert await waiting(world) == []


@pytest.mark.may_block  # it makes a directory for each world
async def test_killed_at_any_port_call_it_comes_back_once(tmp_path: Path, backend: Backend) -> None:
    numbers = iter(range(10_000))

    async def scenario(crash: CrashAt) -> None:
        directory, clock = tmp_path / str(next(numbers)), at_start()
        directory.mkdir()
        crm = DOUBLES["page"]()
        assert isinstance(crm, RestDouble)
        async with crm.serving():
            crm.put("contact", 1)
            async with opened(directory, clock, backend=backend) as world:
                await world.connect("crm", crm)
                await world.pull("crm")
                [entity] = await world.entities()
                crm.faults.extend(REFUSED)
                await world.flows.entities.edit(TENANT, "contact", entity.id, {**entity.data["data"], "name": "Edited"})
                await world.work()
                await clock.advance(60)
                await world.pull("crm")
            try:
                async with opened(directory, clock, backend=backend, crash=crash, boot="two") as world:
                    await world.flows.exhausted.replay()
            except Crash:
                pass
            async with opened(directory, clock, backend=backend, boot="three") as world:
                await world.flows.exhausted.replay()
                await world.work()
                assert await waiting(world) == []
            assert (crm.held("contact", "1") or {})["name"] == "Edited"
            assert [one.status for one in crm.log if one.method == "PATCH"] == [500, 500, 500, 500, 200]

    await backend.at_port_calls(scenario, more_than=8)
