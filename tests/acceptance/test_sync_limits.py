"""Rate limits through the product, judged by when requests arrived at the system: its own 429, and ours.

A window of ours is a minute long. The suite looks at its beginning; `make chaos` waits it out.
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest

from syncd.domain.jsontypes import JsonObject
from syncd.domain.times import parse
from tests.acceptance.process import Daemon, eventually
from tests.acceptance.reading import pages, parked
from tests.acceptance.syncing import (
    TYPE,
    System,
    begin,
    config,
    connect,
    edit,
    ended,
    entities,
    in_step,
    run,
    told,
)
from tests.doubles.contract import Fault

WHOLE_WINDOW = "CHAOS_KILLS" in os.environ
MINUTE = 60.0


async def waiting(daemon: Daemon, count: int) -> list[JsonObject]:
    """The pushes that wait for their time, once all that is left are those of so many objects. An object may have two hints."""
    found: list[JsonObject] = []

    async def there() -> bool:
        found[:] = await pages(daemon, "/queues/sync-outbound/peek")
        return {one["state"] for one in found} == {"scheduled"} and len({one["originId"] for one in found}) == count

    await eventually(there, within=50, what=f"{count} pushes that wait")
    return found


def arrived(system: System, *methods: str) -> list[float]:
    return [at for at, method in system.arrivals if method in methods]


async def test_a_pull_that_is_told_to_wait_comes_back_when_it_was_told_to(tmp_path: Path) -> None:
    async with System().at_work() as crm, Daemon(tmp_path / "data", environment=config(tmp_path)) as daemon:
        crm.fill(5)
        crm.faults.append(Fault(status=429, headers={"Retry-After": "3"}))
        await connect(daemon, "crm", crm)
        identifier = await begin(daemon, "crm")
        result = await ended(daemon, identifier)
        assert told(result) == {"fetched": 5, "created": 5}
        assert result["attempt"] == 0, "to be told to wait is no failure"
        first, second, *_ = arrived(crm, "GET")
        assert 3.0 <= second - first < 30.0


async def test_a_push_that_is_told_to_wait_burns_no_attempt(tmp_path: Path) -> None:
    sync = {"max_retries": "0"}
    async with System().at_work() as crm, Daemon(tmp_path / "data", environment=config(tmp_path, sync=sync)) as daemon:
        crm.fill(1)
        await connect(daemon, "crm", crm)
        await run(daemon, "crm")
        crm.faults.extend([Fault(status=429, headers={"Retry-After": "2"}, writes=True)] * 2)
        [entity] = await entities(daemon)
        (await edit(daemon, entity, {"name": "Bea"})).ok()
        await in_step(daemon)
        assert await parked(daemon) == [], "the first attempt that is burned would be one too many"
        assert crm.contents().keys() == {"Bea"}
        tries = arrived(crm, "PATCH")
        assert len(tries) == 3
        assert all(2.0 <= later - earlier < 30.0 for earlier, later in itertools.pairwise(tries)), tries


@pytest.mark.timeout(200)
async def test_creates_never_pass_the_limit_and_wait_without_an_attempt(tmp_path: Path) -> None:
    limit, contacts = 20, 30
    environment = config(tmp_path, limits={"create": limit}, sync={"max_retries": "0"})
    async with (
        System().at_work() as crm,
        System().at_work() as mail,
        Daemon(tmp_path / "data", environment=environment) as daemon,
    ):
        crm.fill(contacts)
        await connect(daemon, "crm", crm, "pull")
        await connect(daemon, "mail", mail)
        began = time.monotonic()
        await run(daemon, "crm")
        messages = await waiting(daemon, contacts - limit)
        assert len(mail.writes("POST")) == limit
        assert {one.get("attempt", 0) for one in messages} == {0}
        assert all(one.get("reservation") for one in messages), "each has its own turn"
        turns = [parse(one["dueAt"]) for one in messages]
        assert max(turns) - time.time() <= MINUTE
        assert min(turns) - time.time() > MINUTE - (time.monotonic() - began) - 1.0
        # Another operation of the same system is not held up by it.
        known = next(one for one in await entities(daemon) if "mail" in one["externalIds"])
        (await edit(daemon, known, {"name": "Bea"})).ok()

        async def pushed() -> bool:
            return bool(mail.writes("PATCH"))

        await eventually(pushed, what="an update")
        if WHOLE_WINDOW:
            await in_step(daemon, within=MINUTE + 30)
            assert len(mail.contents()) == len(mail.ids(TYPE)) == contacts
            assert set(mail.made().values()) == {1}
        at = arrived(mail, "POST")
        for first, later in zip(at, at[limit:], strict=False):
            assert later - first >= MINUTE, "never more than the limit in any window"
        assert await parked(daemon) == []


async def test_deletions_book_no_turn_ahead(tmp_path: Path) -> None:
    environment = config(tmp_path, limits={"delete": 2}, sync={"max_retries": "0"})
    async with System().at_work() as crm, Daemon(tmp_path / "data", environment=environment) as daemon:
        crm.fill(5)
        await connect(daemon, "crm", crm)
        await run(daemon, "crm")
        began = time.monotonic()
        for one in await entities(daemon):
            (await daemon.api("DELETE", f"/entities/{TYPE}/{one['id']}")).ok()
        messages = await waiting(daemon, 3)
        assert len(crm.writes("DELETE")) == 2
        for one in messages:
            assert one.get("attempt", 0) == 0
            assert one.get("reservation") is None, "nothing is booked for a deletion"
            assert MINUTE - (time.monotonic() - began) - 1.0 < parse(one["dueAt"]) - time.time() <= MINUTE + 1
        assert await parked(daemon) == []
        assert len(crm.ids(TYPE)) == 3
