"""Deletes cannot storm (G10), whatever they come from; and what only looks like a deletion is none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from syncd.domain.collections import CURSORS
from syncd.domain.jsontypes import JsonObject
from syncd.domain.messages import Envelope
from syncd.flows.parked import Filter
from syncd.ports.queue import Message
from tests.doubles.contract import Fault
from tests.doubles.rest import DOUBLES, RestDouble
from tests.integration.syncing.world import TENANT, World, at_start, opened


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, at_start()) as world:
        yield world


@asynccontextmanager
async def system() -> AsyncIterator[RestDouble]:
    double = DOUBLES["page"]()
    assert isinstance(double, RestDouble)
    async with double.serving():
        yield double


@pytest.fixture
async def crm() -> AsyncIterator[RestDouble]:
    async with system() as double:
        yield double


async def pulled(world: World, crm: RestDouble, count: int) -> None:
    """So many contacts, and some time later."""
    for number in range(count):
        crm.put("contact", number)
    await world.connect("crm", crm)
    assert (await world.pull("crm"))["created"] == count
    await world.clock.advance(600)
    crm.now += 600


def remove(crm: RestDouble, count: int) -> None:
    for number in range(1, count + 1):
        crm.remove("contact", str(number))


async def result_of_pull(world: World) -> JsonObject:
    task = await world.task("crm")
    await world.plan.queue_due()
    await world.work()
    return await world.result(task)


async def watermark(world: World) -> str:
    found = await world.ports.documents.get(CURSORS, "crm", "contact")
    assert found is not None
    return str(found.data["watermark"])


@pytest.mark.parametrize(("live", "gone"), [(60, 20), (230, 23), (1, 1)])
async def test_deletions_that_are_few_or_a_small_share_go_through(
    world: World, crm: RestDouble, live: int, gone: int
) -> None:
    await pulled(world, crm, live)
    remove(crm, gone)
    result = await result_of_pull(world)
    assert (result["status"], result["counts"]["deleted"]) == ("succeeded", gone)
    assert len(await world.entities()) == live - gone


async def test_objects_that_came_and_went_between_two_pulls_are_no_deletions_here(
    world: World, crm: RestDouble
) -> None:
    await pulled(world, crm, 10)
    for number in range(10, 50):
        crm.put("contact", number)
        crm.remove("contact", str(number + 1))
    result = await result_of_pull(world)
    assert (result["status"], result.get("errorMessage")) == ("succeeded", None)
    assert result["counts"]["fetched"] >= 40
    assert len(await world.entities()) == 10


async def test_a_feed_of_many_tombstones_is_held_until_somebody_lets_it_through(world: World, crm: RestDouble) -> None:
    async with system() as mail:
        await world.connect("mail", mail)
        await pulled(world, crm, 100)
        before = await watermark(world)
        remove(crm, 30)
        for _ in range(2):  # trying again does not wear the guard down
            result = await result_of_pull(world)
            assert result["status"] == "failed"
            assert "allow-deletes crm" in result["errorMessage"]
            assert len(await world.entities()) == 100
            assert len(mail.ids("contact")) == 100
            assert await watermark(world) == before
        await world.flows.guard.allow(TENANT, "crm", "contact")
        result = await result_of_pull(world)
        assert (result["status"], result["counts"]["deleted"]) == ("succeeded", 30)
        assert len(await world.entities()) == 70
        assert len(mail.ids("contact")) == 70
        # It let one run through and no more.
        await world.clock.advance(7200)
        crm.now += 7200
        for number in range(31, 61):
            crm.remove("contact", str(number))
        assert (await result_of_pull(world))["status"] == "failed"
        assert len(await world.entities()) == 70


async def test_many_tombstones_in_small_pages_are_held_as_those_in_one(world: World, crm: RestDouble) -> None:
    crm.manners = replace(crm.manners, capped=8)
    await pulled(world, crm, 100)
    remove(crm, 60)
    result = await result_of_pull(world)
    assert result["status"] == "failed"
    assert len(await world.entities()) >= 80


async def test_a_flood_of_deletions_by_webhook_is_parked_and_comes_back_when_it_is_let_through(
    world: World, crm: RestDouble
) -> None:
    await pulled(world, crm, 100)
    messages = []
    for number in range(1, 51):
        told = crm.event("contact", str(number), "delete")
        assert told is not None
        body = json.dumps(json.loads(told[1]) | {"tenantId": TENANT, "connectionId": "crm"}).encode()
        origin = f"delete-{number}"
        envelope = Envelope(kind="webhook", origin_id=origin, tenant_id=TENANT, received_at=world.clock.now())
        messages.append(Message(envelope=envelope, body=body))
    await world.ports.queue.send("sync-outbound", messages)
    await world.work()
    assert len(await world.entities()) == 80
    waiting = (await world.flows.parked.list(Filter())).items
    assert len(waiting) == 30
    assert {one.data["bin"] for one in waiting} == {"tenant_must_act"}
    assert all("allow-deletes crm" in one.data["reason"] for one in waiting)
    await world.flows.guard.allow(TENANT, "crm", "contact")
    for one in waiting:
        await world.flows.parked.replay(one.id)
    await world.work()
    assert len(await world.entities()) == 50
    assert (await world.flows.parked.list(Filter())).items == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=200, body=b'{"data": [], "meta": {"total": 0}}'),
        Fault(status=200, body=b'{"data": [{"id": 1, "name": "A", "changed": "2023-11-14T22:13:20Z"}]}'),
        Fault(status=204),
        Fault(status=200, body=b'{"data": null, "error": "away"}'),
        Fault(status=200, body=b""),
        Fault(status=500),
    ],
)
async def test_a_page_that_is_cut_or_empty_or_an_error_deletes_nothing(
    world: World, crm: RestDouble, fault: Fault
) -> None:
    """An error is tried again, and then it is the right list."""
    await pulled(world, crm, 40)
    crm.faults.append(fault)
    task = await world.task("crm", full=True)
    await world.plan.queue_due()
    await world.work()
    assert (await world.result(task))["status"] == "succeeded"
    assert (await world.counts(task)).get("deleted") is None
    assert len(await world.entities()) == 40
