"""G4, G6, G9: what people and maintenance ask for beside pulls and webhooks, killed at any port call, is done once by asking again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from syncd.domain.collections import CONFLICTS
from syncd.domain.conflicts import Choice
from syncd.domain.errors import Conflict
from syncd.domain.principal import LOCAL
from syncd.flows.operate.audit import AuditTrail
from syncd.flows.operate.conflicts import ConflictsFlow
from syncd.flows.parked import Filter
from syncd.ports.documents import Document, Query
from syncd.ports.queue import Complete
from tests.doubles.contract import Fault
from tests.integration.backends import Backend
from tests.integration.syncing.crashing import in_step, staged, with_two_hops_at_once
from tests.integration.syncing.systems import Telling, telling
from tests.integration.syncing.world import TENANT, World, at_start


@pytest.fixture
async def crm() -> AsyncIterator[Telling]:
    double = telling("page", at_start())
    async with double.serving():
        yield double


@pytest.fixture
async def mail(crm: Telling) -> AsyncIterator[Telling]:
    double = telling("offset", crm.clock)
    async with double.serving():
        yield double


async def test_a_new_connection_is_told_everything_once_whatever_call_the_push_of_all_is_killed_at(
    tmp_path: Path, backend: Backend, crm: Telling, mail: Telling
) -> None:
    async def prepare(world: World) -> None:
        for number in range(2):
            crm.put("contact", number)
        await world.connect("crm", crm)
        await world.pull("crm")
        await world.clock.advance(300)
        await world.connect("mail", mail, "push")
        await world.task("mail", "push")

    async def act(world: World) -> None:
        await world.plan.queue_due()
        await with_two_hops_at_once(world)

    async def check(world: World) -> None:
        await world.plan.queue_due()  # where it was killed before it was planned
        await world.work()
        await in_step(world, crm, mail, count=2)
        assert not crm.writes()
        assert {task.data["status"] for task in await world.tasks()} == {"succeeded"}

    async with staged(tmp_path, backend, prepare, crm=crm, mail=mail) as stage:
        await stage.at_port_calls(act, check, more_than=30)


async def test_a_conflict_that_a_person_decides_is_decided_once_whatever_call_it_is_killed_at(
    tmp_path: Path, backend: Backend, crm: Telling, mail: Telling
) -> None:
    async def prepare(world: World) -> None:
        crm.put("contact", 1)
        await world.connect("crm", crm, conflict={"default": "manual"})
        await world.connect("mail", mail)
        await world.pull("crm")
        await world.clock.advance(300)
        [entity] = await world.entities()
        await world.flows.entities.edit(TENANT, "contact", entity.id, {**entity.data["data"], "name": "Ours"})
        [identifier] = crm.live()
        crm.edit("contact", identifier, {"name": "Theirs"})
        await world.work()
        await world.clock.advance(300)
        [record] = await records(world)
        assert record.data["status"] == "open"

    async def decide(world: World) -> None:
        [record] = await records(world)
        ports = world.ports
        flow = ConflictsFlow(
            documents=ports.documents,
            entities=world.flows.entities,
            audit=AuditTrail(documents=ports.documents, clock=world.clock),
            clock=world.clock,
        )
        await flow.resolve(LOCAL, record.id, {"name": Choice("theirs")})

    async def act(world: World) -> None:
        await decide(world)
        await with_two_hops_at_once(world)

    async def check(world: World) -> None:
        with suppress(Conflict):  # decided already
            await decide(world)
        await world.work()
        [record] = await records(world)
        assert (record.data["status"], record.data["fields"][0]["taken"]) == ("resolved", "theirs")
        [entity] = await world.entities()
        assert entity.data["data"]["name"] == "Theirs"
        assert "dirtySince" not in entity.data
        assert {one["name"] for one in (*crm.live().values(), *mail.live().values())} == {"Theirs"}
        assert len(crm.live()) == len(mail.live()) == 1

    async with staged(tmp_path, backend, prepare, crm=crm, mail=mail) as stage:
        await stage.at_port_calls(act, check, more_than=10)


async def records(world: World) -> list[Document]:
    return (await world.ports.documents.query(CONFLICTS, Query(partition=TENANT))).items


async def test_a_debt_whose_hint_was_lost_is_told_once_whatever_call_maintenance_is_killed_at(
    tmp_path: Path, backend: Backend, crm: Telling, mail: Telling
) -> None:
    async def prepare(world: World) -> None:
        await world.connect("crm", crm)
        await world.connect("mail", mail)
        await world.flows.entities.create(TENANT, "contact", {"name": "Ana", "mail": "ana@example.com"})
        await world.ports.queue.settle([Complete(hint) for hint in await world.lease(10)])
        await world.clock.advance(300)

    async def act(world: World) -> None:
        assert await world.remind() == 2
        await with_two_hops_at_once(world)

    async def check(world: World) -> None:
        # Two looks further on it has been told again, whoever died: what was sent and lost is due at the next one.
        for _ in range(4):
            await world.remind()
            await world.work()
            await world.clock.advance(600)
        await in_step(world, crm, mail, count=1)

    async with staged(tmp_path, backend, prepare, crm=crm, mail=mail) as stage:
        await stage.at_port_calls(act, check, more_than=20)


async def test_a_push_that_is_dropped_is_forgiven_once_whatever_call_it_is_killed_at(
    tmp_path: Path, backend: Backend, crm: Telling
) -> None:
    async def prepare(world: World) -> None:
        await world.connect("crm", crm)
        crm.faults.append(Fault(status=422, writes=True))
        await world.flows.entities.create(TENANT, "contact", {"name": "Ana"})
        await world.work()
        await world.clock.advance(300)

    async def drop(world: World) -> None:
        for one in (await world.flows.parked.list(Filter())).items:
            await world.flows.parked.drop(one.id)

    async def act(world: World) -> None:
        [parked] = (await world.flows.parked.list(Filter())).items
        assert parked.data["bin"] == "tenant_must_act"
        await drop(world)
        await with_two_hops_at_once(world)

    async def check(world: World) -> None:
        await drop(world)
        [entity] = await world.entities()
        assert "dirtySince" not in entity.data
        assert await world.remind() == 0
        await world.work()
        assert not crm.live()
        await world.flows.entities.edit(TENANT, "contact", entity.id, {"name": "Again"})
        await world.work()
        assert [one["name"] for one in crm.live().values()] == ["Again"]
        assert (await world.flows.parked.list(Filter())).items == []

    async with staged(tmp_path, backend, prepare, crm=crm) as stage:
        await stage.at_port_calls(act, check, more_than=4)
