"""G10: killed at any port call, deletions are counted once: a few stay few, and a storm is held and let through as one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.domain.collections import CURSORS
from syncd.domain.jsontypes import JsonObject
from syncd.flows.parked import Filter
from syncd.settings import Settings
from tests.integration.backends import Backend
from tests.integration.syncing.crashing import small_pages, staged, with_two_hops_at_once
from tests.integration.syncing.systems import Telling, telling, webhook
from tests.integration.syncing.world import TENANT, World, at_start

#: As many deletions as go through whatever their share.
FEW = 3


@pytest.fixture
async def crm() -> AsyncIterator[Telling]:
    double = telling("page", at_start())
    async with double.serving():
        yield double


def few(settings: Settings) -> Settings:
    return small_pages(settings).model_copy(
        update={
            "sync": settings.sync.model_copy(update={"page_size": 2, "delete_guard_records": FEW}),
        }
    )


async def pulled(world: World, crm: Telling, *, live: int, gone: int) -> None:
    """So many contacts, of which some are gone since."""
    for number in range(live):
        crm.put("contact", number)
    await world.connect("crm", crm)
    await world.pull("crm")
    await world.clock.advance(600)
    crm.told.clear()
    for number in range(1, gone + 1):
        crm.remove("contact", str(number))


async def pull(world: World) -> None:
    await world.plan.queue_due()
    await with_two_hops_at_once(world)


async def counted(world: World) -> JsonObject:
    found = await world.ports.documents.get(CURSORS, "crm", "deletes~contact")
    assert found is not None
    return found.data


async def last(world: World) -> JsonObject:
    """The result of the latest pull."""
    await world.plan.queue_due()  # where it was killed before it was planned
    await world.work()
    return await world.result(max(task.id for task in await world.tasks()))


async def test_a_few_deletions_go_through_whatever_call_their_pull_is_killed_at(
    tmp_path: Path, backend: Backend, crm: Telling
) -> None:
    async def prepare(world: World) -> None:
        await pulled(world, crm, live=5, gone=FEW)
        await world.task("crm")

    async def check(world: World) -> None:
        result = await last(world)
        assert (result["status"], result.get("errorMessage")) == ("succeeded", None)
        assert len(await world.entities()) == 5 - FEW
        count = await counted(world)
        assert (count["inRun"], count["inHour"]) == (FEW, FEW)

    async with staged(tmp_path, backend, prepare, adjust=few, crm=crm) as stage:
        await stage.at_port_calls(pull, check, more_than=30)


async def test_a_storm_of_deletions_is_held_whatever_call_its_pull_is_killed_at(
    tmp_path: Path, backend: Backend, crm: Telling
) -> None:
    async def prepare(world: World) -> None:
        await pulled(world, crm, live=6, gone=5)
        await world.task("crm")

    async def check(world: World) -> None:
        assert "allow-deletes crm" in (await last(world))["errorMessage"]
        assert len(await world.entities()) == 6 - FEW
        await world.flows.guard.allow(TENANT, "crm", "contact")
        assert (await world.pull("crm"))["deleted"] == 5 - FEW
        assert len(await world.entities()) == 1

    async with staged(tmp_path, backend, prepare, adjust=few, crm=crm) as stage:
        await stage.at_port_calls(pull, check, more_than=30)


async def test_a_storm_that_was_let_through_goes_through_whatever_call_its_pull_is_killed_at(
    tmp_path: Path, backend: Backend, crm: Telling
) -> None:
    async def prepare(world: World) -> None:
        await pulled(world, crm, live=6, gone=5)
        await world.flows.guard.allow(TENANT, "crm", "contact")
        await world.task("crm")

    async def check(world: World) -> None:
        result = await last(world)
        assert (result["status"], result.get("errorMessage")) == ("succeeded", None)
        assert len(await world.entities()) == 1
        assert not (await counted(world))["allowed"], "one run, and no more"

    async with staged(tmp_path, backend, prepare, adjust=few, crm=crm) as stage:
        await stage.at_port_calls(pull, check, more_than=30)


async def test_a_flood_of_deletions_by_webhook_is_held_at_the_same_one_whatever_call_it_is_killed_at(
    tmp_path: Path, backend: Backend, crm: Telling
) -> None:
    async def prepare(world: World) -> None:
        await pulled(world, crm, live=6, gone=5)

    async def tell(world: World, delivery: str) -> None:
        now = world.clock.now()
        messages = [webhook("crm", told, f"{delivery} {number}", now) for number, told in enumerate(crm.told)]
        await world.ports.queue.send("sync-outbound", messages)

    async def act(world: World) -> None:
        await tell(world, "first")
        await with_two_hops_at_once(world)

    async def check(world: World) -> None:
        await tell(world, "again")
        await world.work()
        assert len(await world.entities()) == 6 - FEW
        assert (await counted(world))["inHour"] == FEW
        waiting = (await world.flows.parked.list(Filter())).items
        assert all("allow-deletes crm" in one.data["reason"] for one in waiting)
        await world.flows.guard.allow(TENANT, "crm", "contact")
        for one in waiting:
            await world.flows.parked.replay(one.id)
        await world.work()
        assert len(await world.entities()) == 1

    async with staged(tmp_path, backend, prepare, adjust=few, crm=crm) as stage:
        await stage.at_port_calls(act, check, more_than=30)
