"""Reloads and stops in the middle of pulls and pushes: what was begun goes on where it was, and is done once."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.acceptance.process import Daemon, eventually
from tests.acceptance.reading import logged, parked
from tests.acceptance.services import patience
from tests.acceptance.syncing import (
    TYPE,
    System,
    assert_sums_up,
    begin,
    config,
    connect,
    ended,
    entities,
    in_step,
    run,
    task,
    told,
)

CONTACTS = 800


#: However slow the machine is, what is under way when the signal comes can end by itself.
DRAIN = "[daemon]\ndrain_timeout = 60"


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "data", environment=config(tmp_path)) as daemon:
        yield daemon


@pytest.fixture
async def crm() -> AsyncIterator[System]:
    async with System().at_work() as system:
        system.fill(CONTACTS)
        yield system


@pytest.fixture
async def mail() -> AsyncIterator[System]:
    async with System(latency=0.05).at_work() as system:
        yield system


async def stopping(daemon: Daemon) -> None:
    """Wait until it has heard of its second stop; the first was to take up the test's configuration."""

    async def asked() -> bool:
        return len(logged(daemon, "stop_requested")) == 2

    await eventually(asked, what="the stop")


def pages_asked(crm: System) -> Counter[str]:
    return Counter(one.query.get("page", "1") for one in crm.log if one.method == "GET")


async def once_in(crm: System, mail: System, daemon: Daemon) -> None:
    await in_step(daemon)
    assert mail.contents() == crm.contents()
    assert set(mail.made().values()) == {1}
    assert crm.writes() == []
    assert len(await entities(daemon)) == CONTACTS
    for queue in ("sync-inbound", "sync-outbound"):
        assert await parked(daemon, queue) == []


async def test_a_reload_in_the_middle_of_a_pull_disturbs_nobody(
    daemon: Daemon, crm: System, mail: System, tmp_path: Path
) -> None:
    await connect(daemon, "crm", crm)
    await connect(daemon, "mail", mail)
    gate = crm.gate_page(4)
    identifier = await begin(daemon, "crm")
    async with gate:
        config(tmp_path, sync={"page_size": "50"}, limits={"integration": 5_000_000})
        daemon.hup()

        async def taken() -> bool:
            return bool(logged(daemon, "reload_ok"))

        await eventually(taken, what="the new configuration")
        assert (await task(daemon, identifier))["status"] == "running"
    result = await ended(daemon, identifier)
    assert told(result) == {"fetched": CONTACTS, "created": CONTACTS}
    assert_sums_up(result)
    assert set(pages_asked(crm).values()) == {1}, "no page twice"
    assert {one.query["per_page"] for one in crm.log if one.method == "GET"} == {"100"}, "a run keeps its page size"
    await once_in(crm, mail, daemon)
    before = len(crm.log)
    assert await run(daemon, "crm", full=True) == {"fetched": CONTACTS, "unchanged": CONTACTS}
    asked = [one.query["per_page"] for one in crm.log[before:]]
    assert set(asked) == {"50"}, "the next pull goes by the new configuration"


async def test_a_stop_in_the_middle_of_a_pull_goes_on_at_the_same_page(
    tmp_path: Path, daemon: Daemon, crm: System, mail: System
) -> None:
    # Far more pages than are fetched ahead: what is there when the stop is seen is stored, and must not be all.
    config(tmp_path, sync={"page_size": "20"}, more=DRAIN)
    await daemon.restart()
    await connect(daemon, "crm", crm)
    await connect(daemon, "mail", mail)
    gate = crm.gate_page(5)
    identifier = await begin(daemon, "crm")
    async with gate:
        daemon.send(signal.SIGTERM)
        await stopping(daemon)
    assert await daemon.wait() == 0
    assert logged(daemon, "stopped")[-1]["cut"] == 0, "the slice ended by itself"
    await daemon.start()
    result = await ended(daemon, identifier)
    assert result["status"] == "succeeded"
    assert told(result) == {"fetched": CONTACTS, "created": CONTACTS}
    assert result["attempt"] == 0
    assert result["hops"] > 1
    asked_for = pages_asked(crm)
    assert max(asked_for.values()) <= 2, f"only pages that were under way are asked for again: {asked_for}"
    await once_in(crm, mail, daemon)


async def test_a_stop_does_not_wait_for_a_system_that_never_answers(daemon: Daemon, crm: System, mail: System) -> None:
    await connect(daemon, "crm", crm)
    await connect(daemon, "mail", mail)
    gate = crm.gate_page(5)
    identifier = await begin(daemon, "crm")
    async with gate:
        began = time.monotonic()
        assert await daemon.terminate() == 0
        assert time.monotonic() - began < 20, "8 s, and whatever a busy machine adds; not as long as a request may take"
        await daemon.start()
        result = await ended(daemon, identifier)
    assert told(result) == {"fetched": CONTACTS, "created": CONTACTS}
    assert_sums_up(result)
    assert result["attempt"] == 0, "a stop is no failure"
    await once_in(crm, mail, daemon)


@pytest.mark.timeout(240)
async def test_a_stop_in_the_middle_of_pushes_ends_those_under_way_and_sends_none_twice(
    tmp_path: Path, daemon: Daemon, crm: System, mail: System
) -> None:
    config(tmp_path, more=DRAIN)
    await daemon.restart()
    await connect(daemon, "crm", crm)
    await connect(daemon, "mail", mail)
    await run(daemon, "crm")
    for part in (100, 300, 500):

        async def so_many(part: int = part) -> bool:
            return len(mail.contacts) >= part

        await eventually(so_many, within=60 * patience(), what=f"{part} pushes")
        await daemon.restart()
    await once_in(crm, mail, daemon)
    sent = Counter(one.headers["idempotency-key"] for one in mail.writes("POST"))
    assert set(sent.values()) == {1}
    assert [one["cut"] for one in logged(daemon, "stopped")] == [0, 0, 0, 0]


@pytest.mark.timeout(300)
async def test_a_second_signal_in_the_middle_of_pushes_loses_none_of_them(
    tmp_path: Path, daemon: Daemon, crm: System, mail: System
) -> None:
    # The drain lasts until the second signal; leases of pushes are over after 50 s instead of 70.
    config(tmp_path, more=f"{DRAIN}\n[http]\noutgoing_timeout = 20")
    await daemon.restart()
    await connect(daemon, "crm", crm)
    await connect(daemon, "mail", mail)
    gate = mail.gate_write()
    await run(daemon, "crm")
    async with gate:
        daemon.send(signal.SIGTERM)
        await stopping(daemon)
        daemon.send(signal.SIGTERM)
        assert await daemon.wait() == 128 + signal.SIGTERM
    await daemon.start()

    async def all_there() -> bool:
        return len(mail.contacts) == CONTACTS

    # What was on its way when its sender died may have got lost: nobody knows until its lease is over.
    await eventually(all_there, within=200, what="all in the second system")
    assert mail.contents() == crm.contents()
    assert set(mail.made().values()) == {1}
    assert len(mail.ids(TYPE)) == CONTACTS
