from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.doubles.rest import DOUBLES, RestDouble
from tests.integration.syncing.world import TENANT, World, at_start, opened


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, at_start()) as world:
        yield world


@pytest.fixture(params=sorted(DOUBLES))
async def crm(request: pytest.FixtureRequest) -> AsyncIterator[RestDouble]:
    double = DOUBLES[request.param]()
    assert isinstance(double, RestDouble)
    async with double.serving():
        yield double


@pytest.fixture
async def mail() -> AsyncIterator[RestDouble]:
    double = DOUBLES["page"]()
    assert isinstance(double, RestDouble)
    async with double.serving():
        yield double


async def test_what_one_system_holds_is_pulled_and_pushed_to_the_other_once(
    world: World, crm: RestDouble, mail: RestDouble
) -> None:
    for number in range(7):
        crm.put("contact", number)
    await world.connect("crm", crm)
    await world.connect("mail", mail, "push")
    assert await world.pull("crm") == {"fetched": 7, "created": 7}
    assert len(mail.ids("contact")) == 7
    for document in await world.entities():
        assert document.data["externalIds"].keys() == {"crm", "mail"}
        assert "dirtySince" not in document.data
        held = mail.held("contact", document.data["externalIds"]["mail"]) or {}
        assert held == {name: value for name, value in document.data["data"].items() if name != "url"}
    writes = [one for one in mail.log if one.method != "GET"]
    assert len(writes) == 7
    await world.clock.advance(1000)
    assert await world.pull("crm") in ({}, {"fetched": 7, "unchanged": 7})
    assert [one for one in mail.log if one.method != "GET"] == writes


@pytest.mark.parametrize("crm", sorted(DOUBLES.keys() - {"none"}), indirect=True)  # that one can only be read
async def test_a_local_edit_goes_to_both_and_comes_back_as_nothing_new(
    world: World, crm: RestDouble, mail: RestDouble
) -> None:
    crm.put("contact", 1)
    await world.connect("crm", crm)
    await world.connect("mail", mail)
    await world.pull("crm")
    [entity] = await world.entities()
    data = {**entity.data["data"], "name": "Edited"}
    await world.flows.entities.edit(TENANT, "contact", entity.id, data)
    await world.work()
    [crm_id], [mail_id] = crm.ids("contact"), mail.ids("contact")
    assert (crm.held("contact", crm_id) or {})["name"] == "Edited"
    assert (mail.held("contact", mail_id) or {})["name"] == "Edited"
    before = len([one for one in (*crm.log, *mail.log) if one.method != "GET"])
    await world.clock.advance(1000)
    crm.now = mail.now = world.clock.now()
    for name in ("crm", "mail"):
        await world.pull(name, full=True)
    assert len([one for one in (*crm.log, *mail.log) if one.method != "GET"]) == before
    [entity] = await world.entities()
    assert entity.data["data"]["name"] == "Edited"
