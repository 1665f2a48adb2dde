"""`POST /connections/{id}/test`: what is told where it works, and whose matter it is where it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.acceptance.process import free_port
from tests.doubles.contract import Fault
from tests.doubles.rest import RestDouble
from tests.integration.http.connecting import connect, crm_double, description
from tests.integration.http.world import PER_MINUTE, READER, Answer, World


@pytest.fixture
async def crm() -> AsyncIterator[RestDouble]:
    async with crm_double() as double:
        yield double


async def asked(world: World) -> Answer:
    """The answer; time passes for whatever waits."""
    asking = asyncio.create_task(world.api("POST", "/connections/crm/test"))
    while not asking.done():
        await asyncio.sleep(0)
        if world.clock.sleeping:
            await world.clock.advance(5.0)
    return await asking


async def test_a_connection_that_works_says_what_the_provider_tells_of_the_account(
    world: World, crm: RestDouble
) -> None:
    await connect(world, crm)
    answer = await asked(world)
    assert answer.status == 200, answer.text
    assert (answer.json["status"], answer.json["attempts"], answer.json["enabled"]) == ("ok", 1, True)
    assert answer.json["account"] == {"asked": "GET /contacts", "status": 200}
    assert crm.log[-1].headers["authorization"].startswith("Bearer ")


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (Fault(status=401), 502, "the credential of crm is refused"),
        (Fault(status=403), 502, "look at its settings and its credential's rights"),
        (Fault(status=404), 502, "look at its settings"),
        (Fault(status=200, body=b"<html>"), 200, ""),
    ],
    ids=["401", "403", "404", "second answer is right"],
)
async def test_a_refusal_stands_at_once_and_names_whose_matter_it_is(
    world: World, crm: RestDouble, fault: Fault, status: int, words: str
) -> None:
    await connect(world, crm)
    crm.faults.append(fault)
    answer = await asked(world)
    assert (answer.status, words in answer.text) == (status, True), answer.text
    assert len(crm.log) == (1 if status != 200 else 2)


async def test_without_a_credential_it_is_said_that_one_is_needed(world: World, crm: RestDouble) -> None:
    described = description(crm)
    del described["credential"]
    await world.connection("crm", **described)
    crm.faults.append(Fault(status=401))
    assert "the credential of crm is needed, and there is none" in (await asked(world)).json["detail"]


async def test_one_that_is_throttled_is_answered_429_with_the_time_the_provider_said(
    world: World, crm: RestDouble
) -> None:
    await connect(world, crm)
    crm.faults.append(Fault(status=429, headers={"Retry-After": "17"}))
    answer = await asked(world)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "17"), answer.text
    assert answer.json["type"] == "urn:syncd:problem:throttled"


async def test_our_own_limits_answer_429_with_the_time_of_the_next_turn(world: World, crm: RestDouble) -> None:
    await connect(world, crm)
    for _ in range(PER_MINUTE):
        assert (await asked(world)).status == 200
    answer = await world.api("POST", "/connections/crm/test")
    assert answer.status == 429, answer.text
    wait = int(answer.headers["Retry-After"])
    assert 55 <= wait <= 65, "the limits count by the minute"
    again = {(await world.api("POST", "/connections/crm/test")).headers["Retry-After"] for _ in range(PER_MINUTE + 5)}
    assert again == {str(wait)}, "who is refused takes no turn from those who wait for theirs"
    assert len(crm.log) == PER_MINUTE, "what is refused is not sent"


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(status=408)], ids=["500", "408"])
async def test_what_may_pass_is_tried_once_more_after_five_seconds(world: World, crm: RestDouble, fault: Fault) -> None:
    await connect(world, crm)
    crm.faults.append(fault)
    before = world.clock.now()
    answer = await asked(world)
    assert (answer.status, answer.json["attempts"], world.clock.now() - before) == (200, 2, 5.0)
    crm.faults.extend([fault, fault])
    broken = await asked(world)
    assert (broken.status, len(crm.log)) == (502, 4)
    assert "crm answered with a fault" in broken.json["detail"]


async def test_nobody_there_is_answered_503_with_a_retry_after(world: World, crm: RestDouble) -> None:
    described = description(crm)
    described["settings"] = {**described["settings"], "baseUrl": f"http://127.0.0.1:{free_port()}/api"}
    await world.connection("crm", **described)
    answer = await asked(world)
    assert (answer.status, "Retry-After" in answer.headers) == (503, True)
    assert "crm cannot be reached" in answer.json["detail"]


@pytest.mark.parametrize(
    "address", ["http://169.254.169.254/latest", "http://10.0.0.1/api", "http://[fd00::1]/api", "http://0x7f.1/"]
)
async def test_an_address_that_must_not_be_called_is_refused_with_its_setting(
    world: World, crm: RestDouble, address: str
) -> None:
    described = description(crm)
    described["settings"] = {**described["settings"], "baseUrl": address}
    made = await world.connection("crm", **described)
    answer = await asked(world) if made.status == 201 else made
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "settings.baseUrl"), answer.text


async def test_nothing_is_asked_for_whoever_may_not_operate_the_connection(world: World, crm: RestDouble) -> None:
    await connect(world, crm)
    assert (await world.api("POST", "/connections/crm/test", token=READER)).status == 403
    assert (await world.api("POST", "/connections/nobody/test")).status == 404
    assert crm.log == []
