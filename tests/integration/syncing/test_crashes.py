"""G4, G6: killed at any port call, with two hops of each message at once, nothing is lost and nothing is done twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.backends import Backend
from tests.integration.syncing.crashing import in_step, staged, with_two_hops_at_once
from tests.integration.syncing.systems import Telling, telling, webhook
from tests.integration.syncing.world import TENANT, World, at_start


@pytest.fixture
async def crm() -> AsyncIterator[Telling]:
    double = telling("page", at_start())
    async with double.serving():
        yield double


@pytest.fixture(params=["page", "offset", "cursor"], ids=["idempotent", "lookup", "blind"])
async def mail(request: pytest.FixtureRequest, crm: Telling) -> AsyncIterator[Telling]:
    double = telling(request.param, crm.clock)
    async with double.serving():
        yield double


#: Of changes that create nothing there, all kinds are one.
one_kind = pytest.mark.parametrize("mail", ["offset"], indirect=True, ids=["lookup"])


async def test_a_pull_of_two_pages_is_fanned_out_once_whatever_call_it_is_killed_at(
    tmp_path: Path, backend: Backend, crm: Telling, mail: Telling
) -> None:
    async def prepare(world: World) -> None:
        for number in range(3):
            crm.put("contact", number)
        await world.connect("crm", crm, "pull")
        await world.connect("mail", mail, "push")
        await world.task("crm")

    async def act(world: World) -> None:
        await world.plan.queue_due()
        await with_two_hops_at_once(world)

    async def check(world: World) -> None:
        await world.plan.queue_due()  # where it was killed before it was planned
        await world.work()
        await in_step(world, crm, mail, count=3)
        [task] = await world.tasks()
        assert task.data["status"] == "succeeded"
        counts = await world.counts(task.id)
        assert counts == {"fetched": 3, "created": 3}

    async with staged(tmp_path, backend, prepare, crm=crm, mail=mail) as stage:
        await stage.at_port_calls(act, check, more_than=40)


@one_kind
async def test_a_webhook_is_merged_and_pushed_on_once_whatever_call_it_is_killed_at(
    tmp_path: Path, backend: Backend, crm: Telling, mail: Telling
) -> None:
    async def prepare(world: World) -> None:
        await world.connect("crm", crm)
        await world.connect("mail", mail)
        crm.put("contact", 1)

    async def act(world: World) -> None:
        [told] = crm.told
        await world.ports.queue.send("sync-outbound", [webhook("crm", told, "first", world.clock.now())])
        await with_two_hops_at_once(world)

    async def check(world: World) -> None:
        for name, double in (("crm", crm), ("mail", mail)):
            for number, told in enumerate(double.told):  # the sender's own repetition, and the echo of our create
                sent = webhook(name, told, f"{number} again", world.clock.now())
                await world.ports.queue.send("sync-outbound", [sent])
        await world.work()
        await in_step(world, crm, mail, count=1)
        assert not crm.writes()

    async with staged(tmp_path, backend, prepare, crm=crm, mail=mail) as stage:
        await stage.at_port_calls(act, check, more_than=20)


@one_kind
@pytest.mark.parametrize("change", ["edit", "remove"])
async def test_a_local_change_reaches_both_systems_once_whatever_call_it_is_killed_at(
    tmp_path: Path, backend: Backend, crm: Telling, mail: Telling, change: str
) -> None:
    async def prepare(world: World) -> None:
        crm.put("contact", 1)
        await world.connect("crm", crm)
        await world.connect("mail", mail)
        await world.pull("crm")
        await world.clock.advance(300)

    async def change_it(world: World) -> None:
        for entity in await world.entities():
            if change == "edit":
                data = {**entity.data["data"], "name": "Edited"}
                await world.flows.entities.edit(TENANT, "contact", entity.id, data)
            else:
                await world.flows.entities.remove(TENANT, "contact", entity.id)

    async def act(world: World) -> None:
        await change_it(world)
        await with_two_hops_at_once(world)

    async def check(world: World) -> None:
        await change_it(world)  # the user's own repetition, where there was no answer
        await world.work()
        if change == "edit":
            await in_step(world, crm, mail, count=1)
            assert {one["name"] for one in (*crm.live().values(), *mail.live().values())} == {"Edited"}
        else:
            assert not crm.live()
            assert not mail.live()
            [entity] = await world.entities(deleted=True)
            assert "dirtySince" not in entity.data
        for double in (crm, mail):
            # A killed attempt is made again: the same change of the same object.
            assert len(set(double.writes())) == 1

    async with staged(tmp_path, backend, prepare, crm=crm, mail=mail) as stage:
        await stage.at_port_calls(act, check, more_than=20)
