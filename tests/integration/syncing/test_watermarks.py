"""How far a pull has come, by the clock of the system that it reads from."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from syncd.domain.collections import CONNECTIONS, CURSORS
from syncd.domain.jsontypes import JsonObject
from syncd.domain.times import DAY, iso
from syncd.flows.parked import Filter
from syncd.ports.documents import Replace
from syncd.testing.crash import Crash, CrashAt
from tests.doubles.contract import START, Seen
from tests.doubles.github import GitHubDouble
from tests.doubles.rest import DOUBLES, RestDouble
from tests.integration.syncing.world import World, at_start, opened


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, at_start()) as world:
        yield world


class Watched(RestDouble):
    """`broken`: pages that it cannot show; `served` is called after each page."""

    def __init__(self) -> None:
        double = DOUBLES["page"]()
        assert isinstance(double, RestDouble)
        super().__init__(double.manners)
        self.broken: set[str] = set()
        self.served: Callable[[str], None] = lambda page: None

    async def _list(self, request: web.Request) -> web.Response:
        page = request.query.get("page", "1")
        if page in self.broken:
            raise web.HTTPInternalServerError
        answer = await super()._list(request)
        answer.headers["Date"] = formatdate(self.now, usegmt=True)
        self.served(page)
        return answer


@pytest.fixture
async def crm() -> AsyncIterator[Watched]:
    double = Watched()
    async with double.serving():
        yield double


def fill(double: RestDouble, count: int, *, in_pages_of: int = 1000) -> None:
    double.manners = replace(double.manners, capped=in_pages_of)
    for number in range(count):
        double.put("contact", number)


def lists(double: RestDouble) -> list[Seen]:
    return [one for one in double.log if one.method == "GET" and one.path == "/api/contacts"]


def asked(double: RestDouble) -> list[str | None]:
    return [one.query.get("page") for one in lists(double)]


def since(double: RestDouble) -> list[str | None]:
    return [one.query.get("changed_since") for one in lists(double)]


def written(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}"


async def cursor(world: World, kind: str = "contact", connection: str = "crm") -> JsonObject:
    found = await world.ports.documents.get(CURSORS, connection, kind)
    return {} if found is None else found.data


async def pass_time(world: World, double: Any, seconds: float) -> None:
    """On both clocks, however far they are apart."""
    await world.clock.advance(seconds)
    double.now += seconds


@pytest.mark.parametrize("off", [0.0, -5 * DAY, -3 * 3600.0, 300.0])
async def test_an_incremental_pull_begins_where_the_systems_own_clock_stood_and_a_little_before(
    world: World, crm: Watched, off: float
) -> None:
    crm.now += off
    fill(crm, 3)
    await pass_time(world, crm, 3600)
    await world.connect("crm", crm, "pull")
    assert await world.pull("crm") == {"fetched": 3, "created": 3}
    assert (await cursor(world))["watermark"] == iso(START + off + 3600)
    await pass_time(world, crm, 600)
    crm.edit("contact", "2", {"name": "later"})
    crm.log.clear()
    assert await world.pull("crm") == {"fetched": 1, "updated": 1}
    [asked_for, *_] = since(crm)
    assert asked_for is not None
    assert asked_for.startswith(written(START + off + 3600 - 60)), "sync.lag behind the last run"


async def test_a_system_whose_clock_runs_days_ahead_is_read_on_from_its_own_times(world: World, crm: Watched) -> None:
    crm.now += 5 * DAY
    fill(crm, 3)
    await world.connect("crm", crm, "pull")
    await world.pull("crm")
    assert (await cursor(world))["watermark"] == iso(START + 5 * DAY)
    for name in ("one", "two"):
        await pass_time(world, crm, 600)
        crm.edit("contact", "2", {"name": name})
        assert (await world.pull("crm"))["updated"] == 1
    crm.log.clear()
    await world.pull("crm")
    assert None not in since(crm)


async def test_the_lag_reads_again_what_a_late_list_had_not_shown_yet(world: World, crm: Watched) -> None:
    fill(crm, 2)
    await world.connect("crm", crm, "pull")
    await world.pull("crm")
    late = crm.put("contact", 9)  # written before the first answer's Date, and shown after it
    crm.contacts[late].changed = START - 30
    await pass_time(world, crm, 600)
    assert (await world.pull("crm"))["created"] == 1


async def test_the_watermark_moves_only_after_the_last_page_and_a_replay_goes_on_in_the_middle(
    world: World, crm: Watched
) -> None:
    fill(crm, 6, in_pages_of=2)
    await world.connect("crm", crm, "pull")
    task = await world.task("crm")
    await world.plan.queue_due()
    crm.broken = {"3"}
    await world.work()
    assert "watermark" not in await cursor(world)
    assert len(await world.entities()) == 4
    [parked] = (await world.flows.parked.list(Filter())).items
    crm.log.clear()
    crm.broken.clear()
    await world.flows.parked.replay(parked.id)
    await world.work()
    assert asked(crm)[0] == "3", "where it stopped"
    assert await world.counts(task) == {"fetched": 6, "created": 6}
    assert (await cursor(world))["watermark"] == iso(START)


async def test_what_is_edited_behind_a_running_pull_is_found_by_the_next(world: World, crm: Watched) -> None:
    fill(crm, 4, in_pages_of=2)
    await world.connect("crm", crm, "pull")
    await world.task("crm")
    await world.plan.queue_due()

    def edited(page: str) -> None:
        if page == "1":
            crm.now += 1
            crm.edit("contact", "1", {"name": "edited behind"})
            crm.now += 60

    crm.served = edited
    await world.work()
    assert (await cursor(world))["watermark"] == iso(START)
    crm.served = lambda page: None
    await world.clock.advance(600)
    await world.pull("crm")
    assert "edited behind" in {one.data["data"].get("name") for one in await world.entities()}


async def test_other_settings_are_another_question_and_begin_from_nothing(world: World, crm: Watched) -> None:
    fill(crm, 2)
    await world.connect("crm", crm, "pull")
    await world.pull("crm")
    found = await world.ports.documents.get(CONNECTIONS, "crm", "crm")
    assert found is not None
    settings = {**found.data["settings"], "headers": {"X-Client": "another"}}
    await world.ports.documents.write(
        CONNECTIONS, "crm", [Replace("crm", {**found.data, "settings": settings}, found.etag)]
    )
    await pass_time(world, crm, 600)
    crm.log.clear()
    assert await world.pull("crm") == {"fetched": 2, "unchanged": 2}
    assert set(since(crm)) == {None}
    crm.log.clear()
    await world.pull("crm")
    assert None not in since(crm)


async def test_a_full_pull_reads_everything_and_moves_the_watermark_too(world: World, crm: Watched) -> None:
    fill(crm, 2)
    await world.connect("crm", crm, "pull")
    await world.pull("crm")
    await pass_time(world, crm, 600)
    crm.log.clear()
    assert await world.pull("crm", full=True) == {"fetched": 2, "unchanged": 2}
    assert set(since(crm)) == {None}
    assert (await cursor(world))["watermark"] == iso(START + 600)


async def test_a_pull_that_is_killed_in_the_middle_goes_on_from_its_last_page(tmp_path: Path, crm: Watched) -> None:
    fill(crm, 10, in_pages_of=2)
    clock = at_start()
    async with opened(tmp_path, clock) as world:
        await world.connect("crm", crm, "pull")
        task = await world.task("crm")
        await world.plan.queue_due()
    crash = CrashAt()

    def killed(page: str) -> None:
        if page == "4":
            crash.n = crash.calls + 1

    crm.served = killed
    with contextlib.suppress(Crash, BaseExceptionGroup):  # a page that was on its way may be the one that meets the end
        async with opened(tmp_path, clock, crash=crash, boot="two") as world:
            await world.work()
    assert crash.dead
    crm.log.clear()
    async with opened(tmp_path, clock, boot="three") as world:
        left = await cursor(world)
        assert "watermark" not in left
        page = (left["run"]["cursor"] or "1").partition("~")[0]
        await world.work()
        assert await world.counts(task) == {"fetched": 10, "created": 10}
        assert (await cursor(world))["watermark"] == iso(START)
    assert asked(crm)[0] == page, "from the last page whose cursor was written"


async def test_two_pulls_of_one_type_take_turns(world: World, crm: Watched) -> None:
    fill(crm, 6, in_pages_of=2)
    await world.connect("crm", crm, "pull")
    tasks = [await world.task("crm"), await world.task("crm")]
    await world.plan.queue_due()
    deliveries = await world.lease(2)
    assert len(deliveries) == 2
    await asyncio.gather(*(world.execute(one) for one in deliveries))
    await world.work()
    results = [await world.counts(one) for one in tasks]
    assert sorted(one.get("created", 0) for one in results) == [0, 6]
    assert [(await world.task_now(one))["status"] for one in tasks] == ["succeeded", "succeeded"]
    assert asked(crm)[:4] == ["1", "2", "3", "4"], "the second began when the first was done"


# -- no news costs nothing --


async def test_where_nothing_is_new_github_says_so_and_what_is_new_is_seen(world: World) -> None:
    double = GitHubDouble(("issue",))
    async with double.serving():
        numbers = [double.put("issue", number) for number in range(3)]
        await world._connect("crm", "github", double.settings(), {"issue": {"direction": "pull"}})
        assert await world.pull("crm") == {"fetched": 3, "created": 3}
        for _ in range(3):
            await pass_time(world, double, 600)
            assert (await world.pull("crm")).get("created") is None
        assert double.log[-1].status == 304
        assert await world.pull("crm") == {}
        await pass_time(world, double, 600)
        double.edit("issue", numbers[1], {"title": "news"})
        counts = await world.pull("crm")
        assert counts["updated"] == 1
        await pass_time(world, double, 600)
        await world.pull("crm")
        await pass_time(world, double, 600)
        assert await world.pull("crm") == {}
        assert double.log[-1].status == 304
