"""Connections that were away: what was owed before, what changed meanwhile, and debts to one that is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from syncd.domain.collections import CONNECTIONS
from syncd.domain.times import HOUR
from syncd.ports.documents import Delete, Replace
from tests.doubles.rest import DOUBLES, RestDouble
from tests.integration.syncing.world import TENANT, World, at_start, opened


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, at_start()) as world:
        yield world


@pytest.fixture
async def mail() -> AsyncIterator[RestDouble]:
    double = DOUBLES["page"]()
    assert isinstance(double, RestDouble)
    async with double.serving():
        yield double


async def change(world: World, **fields: Any) -> None:
    """Of the connection `mail`, when everybody has forgotten what it was."""
    found = await world.ports.documents.get(CONNECTIONS, "mail", "mail")
    assert found is not None
    await world.ports.documents.write(CONNECTIONS, "mail", [Replace("mail", {**found.data, **fields}, found.etag)])
    await world.clock.advance(10)


async def push(world: World) -> dict[str, Any]:
    task = await world.task("mail", "push")
    await world.plan.queue_due()
    await world.work(patience=1)
    return await world.counts(task)


async def create(world: World, number: int) -> str:
    data = {"name": f"Ana {number}", "mail": "a@example.com"}
    return (await world.flows.entities.create(TENANT, "contact", data)).id


async def test_what_was_owed_to_a_connection_before_it_was_switched_off_goes_at_once_when_it_is_on_again(
    world: World, mail: RestDouble
) -> None:
    await world.connect("mail", mail)
    await create(world, 1)
    await change(world, enabled=False)
    await world.work(patience=1)
    assert mail.log == []
    await change(world, enabled=True)
    # The message of the debt was worked on a moment ago, and one like it would be absorbed.
    assert await push(world) == {"fetched": 1, "updated": 1}
    assert len(mail.ids("contact")) == 1


async def test_what_changed_and_went_while_a_connection_was_off_is_told_when_it_is_on_again(
    world: World, mail: RestDouble
) -> None:
    await world.connect("mail", mail)
    edited, removed, same = [await create(world, number) for number in range(3)]
    await world.work(patience=1)
    ids = {one.id: one.data["externalIds"]["mail"] for one in await world.entities()}
    await change(world, enabled=False)
    await world.flows.entities.edit(TENANT, "contact", edited, {"name": "Änne"})
    await world.flows.entities.remove(TENANT, "contact", removed)
    added = await create(world, 9)
    await world.work(patience=1)
    await change(world, enabled=True)
    before = len(mail.log)
    assert await push(world) == {"fetched": 4, "updated": 3, "unchanged": 1}
    writes = sorted(one.method for one in mail.log[before:] if one.method != "GET")
    assert writes == ["DELETE", "PATCH", "POST"]
    assert mail.held("contact", ids[edited]) == {"name": "Änne"}
    assert mail.held("contact", ids[removed]) is None
    assert mail.held("contact", ids[same]) == {"name": "Ana 2", "mail": "a@example.com"}
    assert "mail" in next(one for one in await world.entities() if one.id == added).data["externalIds"]
    before = len(mail.log)
    assert await push(world) == {"fetched": 4, "unchanged": 4}
    assert mail.log[before:] == []


async def test_debts_to_a_connection_that_is_deleted_are_settled_and_nobody_is_called(
    world: World, mail: RestDouble
) -> None:
    await world.connect("mail", mail)
    told, lost = await create(world, 1), await create(world, 2)
    await world.ports.documents.write(CONNECTIONS, "mail", [Delete("mail")])
    await world.clock.advance(10)
    for delivery in await world.lease(10):
        if str(told).encode() in delivery.body:
            await world.execute(delivery)
    # The other's message is lost with whoever leased it; maintenance finds the debt.
    await world.clock.advance(HOUR)
    await world.remind()
    await world.work(patience=HOUR)
    for entity in await world.entities():
        link = entity.data["links"]["mail"]
        assert (entity.id in (told, lost), link["pushed"], "dirtySince" in entity.data) == (True, link["want"], False)
    assert mail.log == []
    assert await world.remind() == 0
