"""Pulls from systems that lie: each lie has a clear result, what is no record is kept aside, and nothing goes missing in the counts."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web

from syncd.domain.collections import CURSORS
from syncd.domain.jsontypes import JsonObject
from syncd.flows.parked import Filter
from tests.doubles.contract import START
from tests.integration.syncing.world import World, at_start, opened

Answer = Callable[[web.Request], web.Response | Awaitable[web.Response]]
DAY = 86_400.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, at_start()) as world:
        yield world


class Liar:
    """`serve` answers every request; `asked`: path and query of each."""

    def __init__(self, serve: Answer) -> None:
        self.serve = serve
        self.asked: list[str] = []
        self.url = ""
        self.date: float | None = START

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        answer = self.serve(request)
        return answer if isinstance(answer, web.Response) else await answer

    async def dated(self, request: web.Request, response: web.StreamResponse) -> None:
        """aiohttp writes our own clock's Date where there is none; this system's has its own time, or none."""
        if self.date is None:
            response.headers.popall("Date", None)
        else:
            response.headers["Date"] = formatdate(self.date, usegmt=True)


@asynccontextmanager
async def liar(world: World, serve: Answer, **described: Any) -> AsyncIterator[Liar]:
    """Connected as `crm`: things with id, at and name, listed by a cursor unless `described` otherwise."""
    found = Liar(serve)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    app.on_response_prepare.append(found.dated)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        kind: JsonObject = {
            "list": "/things",
            "items": "data",
            "updatedAt": "at",
            "since": "since",
            "paging": {"style": "cursor", "parameter": "after", "next": "next"},
            **described,
        }
        settings: JsonObject = {"baseUrl": found.url, "types": {"contact": kind}}
        await world._connect("crm", "rest", settings, {"contact": {"direction": "pull"}})
        yield found
    finally:
        await runner.cleanup()


def thing(number: Any, at: Any = "2023-11-14T22:00:00Z", **fields: Any) -> JsonObject:
    return {"id": number, "at": at, "name": f"Thing {number}", **fields}


def pages(*bodies: list[Any], **extra: Any) -> Answer:
    """Pages 0, 1, 2 ... by cursor."""

    def serve(request: web.Request) -> web.Response:
        number = int(request.query.get("after", "0"))
        following = str(number + 1) if number + 1 < len(bodies) else None
        return web.json_response({"data": bodies[number], "next": following, **extra})

    return serve


def always(body: bytes, status: int = 200, **headers: str) -> Answer:
    return lambda request: web.Response(
        body=body, status=status, headers={n.replace("_", "-"): v for n, v in headers.items()}
    )


async def cursor(world: World) -> JsonObject:
    found = await world.ports.documents.get(CURSORS, "crm", "contact")
    return {} if found is None else found.data


async def pulled(world: World, **fields: Any) -> tuple[JsonObject, JsonObject]:
    """(counts, result) of one pull. Whatever was fetched is in one of the other counts."""
    task = await world.task("crm", **fields)
    await world.plan.queue_due()
    await world.work()
    result = await world.result(task)
    counts = {name: count for name, count in result["counts"].items() if count}
    became = ("created", "updated", "unchanged", "deleted", "duplicates", "failed")
    assert sum(counts.get(name, 0) for name in became) == counts.get("fetched", 0), counts
    return counts, result


async def parked(world: World) -> list[JsonObject]:
    return [one.data for one in (await world.flows.parked.list(Filter())).items]


async def refused(world: World, **fields: Any) -> JsonObject:
    """The task's message as it was parked; the watermark did not move."""
    before = (await cursor(world)).get("watermark")
    await world.task("crm", **fields)
    await world.plan.queue_due()
    await world.work()
    [found] = await parked(world)
    assert (await cursor(world)).get("watermark") == before
    return found


# -- records that are none --


async def test_what_is_no_record_is_kept_aside_with_its_reason_and_the_rest_is_stored(world: World) -> None:
    lies = [
        5,
        None,
        [],
        "x",
        {"name": "no id"},
        {"id": None},
        {"id": {}},
        {"id": 1.5},
        thing(9, "yesterday"),
        thing(8, {}),
    ]
    async with liar(world, pages([thing(1), *lies[:5]], [*lies[5:], thing(2)])):
        counts, result = await pulled(world)
    assert counts == {"fetched": 12, "created": 2, "failed": 10}
    assert result["status"] == "partial"
    failures = result["failures"]
    assert [(one["page"], one["position"]) for one in failures] == [(0, n) for n in range(1, 6)] + [
        (1, n) for n in range(5)
    ]
    assert all(one["reason"] and one["raw"] for one in failures)
    assert {one["reason"].partition(" ")[0] for one in failures} == {"it", "id", "at:"}
    assert (await cursor(world))["watermark"] == "2023-11-14T22:13:20.000Z"


async def test_one_id_many_times_in_and_across_pages_is_one_entity_with_the_latest_content(world: World) -> None:
    first = [thing(1, "2023-11-14T10:00:00Z"), thing(1, "2023-11-14T12:00:00Z", name="new"), thing("1", name="as text")]
    second = [thing(1, "2023-11-14T11:00:00Z", name="old"), thing(2), thing(1, "2023-11-14T12:00:00Z", name="new")]
    async with liar(world, pages(first[:2], second, first[:2])):
        counts, _ = await pulled(world)
    assert counts == {"fetched": 7, "created": 2, "unchanged": 2, "duplicates": 3}
    found = {one.data["externalIds"]["crm"]: one.data["data"]["name"] for one in await world.entities()}
    assert found == {"1": "new", "2": "Thing 2"}


async def test_names_and_values_in_any_script_are_stored_as_they_are(world: World) -> None:
    odd = {
        "ключ": "значение",
        "名前": ["値"],
        "é": "e\u0301",
        "\U0001f600": {"": 0},
        "a.b": 1,
        "__proto__": None,
        "\u202e": "rtl",
    }
    async with liar(world, pages([thing("Ü–1/2 ?#%", **odd)])):
        assert (await pulled(world))[0] == {"fetched": 1, "created": 1}
        assert (await pulled(world, full=True))[0] == {"fetched": 1, "unchanged": 1}
    [entity] = await world.entities()
    assert {name: entity.data["data"][name] for name in odd} == odd


async def test_a_record_of_ten_megabytes_is_kept_aside_and_its_page_goes_on(world: World) -> None:
    async with liar(world, pages([thing(1), thing(2, text="x" * 10_000_000), thing(3)])):
        counts, result = await pulled(world)
    assert counts == {"fetched": 3, "created": 2, "failed": 1}
    [failure] = result["failures"]
    assert failure["externalId"] == "2"
    assert "bytes" in failure["reason"]
    assert len(json.dumps(result)) < 100_000


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("2023-11-14T22:00:00Z", "2023-11-14T22:00:00.000Z"),
        ("2023-11-14T22:00:00.123456+02:00", "2023-11-14T20:00:00.123Z"),
        ("2023-11-14 22:00:00", "2023-11-14T22:00:00.000Z"),
        ("2023-11-14", "2023-11-14T00:00:00.000Z"),
        ("20231114T220000Z", "2023-11-14T22:00:00.000Z"),
        ("Tue, 14 Nov 2023 17:00:00 -0500", "2023-11-14T22:00:00.000Z"),
        (1_699_999_200, "2023-11-14T22:00:00.000Z"),
        (1_699_999_200_000, "2023-11-14T22:00:00.000Z"),
        ("1699999200", "2023-11-14T22:00:00.000Z"),
        ("/Date(1699999200000)/", "2023-11-14T22:00:00.000Z"),
    ],
)
async def test_times_are_read_in_every_form_and_zone(world: World, said: Any, read: str) -> None:
    async with liar(world, pages([thing(1, said)])):
        counts, result = await pulled(world)
        assert counts == {"fetched": 1, "created": 1}, result
    [entity] = await world.entities()
    assert entity.data["changedAt"] == read


@pytest.mark.parametrize("said", ["", None])
async def test_an_object_that_says_no_time_is_stored_and_stays_unchanged(world: World, said: Any) -> None:
    async with liar(world, pages([thing(1, said)])):
        assert (await pulled(world))[0] == {"fetched": 1, "created": 1}
        await world.clock.advance(100)
        assert (await pulled(world, full=True))[0] == {"fetched": 1, "unchanged": 1}


@pytest.mark.parametrize(
    ("said", "expected"),
    [("9999-12-31T23:59:59Z", {"fetched": 1, "updated": 1}), (99_999_999_999, {"fetched": 1, "updated": 1})],
)
async def test_a_time_in_the_far_future_freezes_neither_the_entity_nor_the_pull(
    world: World, said: Any, expected: JsonObject
) -> None:
    served = [thing(1, said)]
    async with liar(world, pages(served)) as system:
        await pulled(world)
        assert (await cursor(world))["watermark"] == "2023-11-14T22:13:20.000Z"
        await world.clock.advance(2 * DAY)
        system.date = world.clock.now()
        served[0] = thing(1, "2023-11-16T21:00:00Z", name="corrected")
        counts, result = await pulled(world)
        assert counts == expected, result
    assert [one.data["data"]["name"] for one in await world.entities()] == ["corrected"]


# -- pages that are none --


async def test_an_empty_page_with_a_next_page_is_not_the_end_and_short_pages_are_not_either(world: World) -> None:
    async with liar(world, pages([thing(1), thing(2), thing(3)], [], [thing(4)], [], [thing(5), thing(6)])):
        assert (await pulled(world))[0] == {"fetched": 6, "created": 6}


@pytest.mark.parametrize("length", [2, 3, 7])
async def test_pages_that_lead_in_a_circle_end_the_run_with_an_error_and_keep_what_was_read(
    world: World, length: int
) -> None:
    def serve(request: web.Request) -> web.Response:
        number = int(request.query.get("after", "0"))
        following = 1 + number % length
        return web.json_response({"data": [thing(number)], "next": str(following)})

    async with liar(world, serve) as system:
        _, result = await pulled(world)
    assert result["status"] == "failed"
    assert "lead back" in result["errorMessage"]
    assert len(system.asked) < 10 * length
    assert len(await world.entities()) == length + 1
    assert "watermark" not in await cursor(world)


@pytest.mark.parametrize(
    ("serve", "bin_name", "reason"),
    [
        (always(b"<html><body>Login</body></html>", Content_Type="text/html"), "exhausted", "html"),
        (always(b'{"data": [{"id": 1}'), "exhausted", "JSON"),
        (always(b"\xff\xfe\x00"), "exhausted", "JSON"),
        (always(b'{"error": {"code": 500, "message": "database away"}}'), "exhausted", "database away"),
        (always(b'{"error": "invalid_field", "status": 400, "data": []}'), "tenant_must_act", "invalid_field"),
        (always(b'{"success": false, "data": null, "message": "no"}'), "exhausted", "no list"),
        (always(b'{"data": {"1": {"id": 1}}}'), "exhausted", "no list at data"),
        (always(b""), "exhausted", "JSON"),
        (always(b"", 500), "exhausted", "500"),
        (always(b"nobody", 403), "tenant_must_act", "403"),
        (always(b"", 302, Location="http://elsewhere.example/things"), "tenant_must_act", "302"),
    ],
)
async def test_an_answer_that_is_no_page_ends_in_a_clear_reason_and_moves_nothing(
    world: World, serve: Answer, bin_name: str, reason: str
) -> None:
    async with liar(world, serve):
        found = await refused(world)
    assert found["bin"] == bin_name
    assert reason.lower() in found["reason"].lower()
    assert await world.entities() == []


@pytest.mark.parametrize("members", [1, 50])
async def test_a_gzip_bomb_is_refused_and_not_held(world: World, members: int) -> None:
    bomb = gzip.compress(b" " * (50_000_000 // members), compresslevel=6) * members
    async with liar(world, always(bomb, Content_Encoding="gzip", Content_Type="application/json")):
        found = await refused(world)
    assert found["bin"] == "tenant_must_act"
    assert "longer than" in found["reason"]


async def test_an_answer_without_content_is_an_empty_list(world: World) -> None:
    async with liar(world, always(b"", 204)):
        counts, result = await pulled(world)
    assert (counts, result["status"]) == ({}, "succeeded")


@pytest.mark.parametrize("said", ["http://elsewhere.example/things?page=2", "//elsewhere.example/things", "ftp://x/y"])
async def test_a_next_link_to_another_host_is_not_followed_and_the_pages_before_it_are_kept(
    world: World, said: str
) -> None:
    def serve(request: web.Request) -> web.Response:
        return web.json_response({"data": [thing(1), thing(2)], "next": said})

    async with liar(world, serve, paging={"style": "link", "next": "next"}) as system:
        found = await refused(world)
    assert found["bin"] == "tenant_must_act"
    assert "links to elsewhere are not followed" in found["reason"]
    assert len(await world.entities()) == 2
    assert len(system.asked) == 1


# -- refusals --


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {}, 30.0),
        (429, {"Retry-After": formatdate(START + 77, usegmt=True)}, 77.0),
        (429, {"Retry-After": "5"}, 5.0),
        (503, {"Retry-After": "12"}, 12.0),
        (429, {"Retry-After": "soon"}, 30.0),
    ],
)
async def test_a_refusal_for_now_is_waited_for_and_burns_no_attempt(
    world: World, status: int, headers: dict[str, str], wait: float
) -> None:
    answers = iter([web.Response(status=status, headers=headers) for _ in range(6)])
    right = pages([thing(1)])

    async def serve(request: web.Request) -> web.Response:
        system.date = world.clock.now()
        found = next(answers, None)
        if found is not None and "GMT" in headers.get("Retry-After", ""):
            found.headers["Retry-After"] = formatdate(world.clock.now() + 77, usegmt=True)
        answer = found or right(request)
        assert isinstance(answer, web.Response)
        return answer

    async with liar(world, serve) as system:
        assert (await pulled(world))[0] == {"fetched": 1, "created": 1}
    assert world.clock.now() - START == pytest.approx(6 * wait, abs=6.5)
    assert await parked(world) == []


async def test_an_expired_page_cursor_begins_the_run_again_once_and_counts_once(world: World) -> None:
    right, expired = pages([thing(1)], [thing(2)], [thing(3)]), [True]

    def serve(request: web.Request) -> web.Response:
        if request.query.get("after") == "2" and expired:
            expired.pop()
            return web.Response(status=410, text="cursor expired")
        answer = right(request)
        assert isinstance(answer, web.Response)
        return answer

    async with liar(world, serve) as system:
        counts, result = await pulled(world)
    assert (counts, result["status"]) == ({"fetched": 3, "created": 3}, "succeeded")
    assert [one.partition("after=")[2] for one in system.asked] == ["", "1", "2", "", "1", "2"]


async def test_a_page_cursor_that_expires_again_and_again_ends_with_its_reason(world: World) -> None:
    right = pages([thing(1)], [thing(2)], [thing(3)])

    def serve(request: web.Request) -> web.Response:
        if request.query.get("after") == "1":
            return web.Response(status=400, text="cursor expired")
        answer = right(request)
        assert isinstance(answer, web.Response)
        return answer

    async with liar(world, serve) as system:
        found = await refused(world)
    assert found["bin"] == "tenant_must_act"
    assert "cursor expired" in found["reason"]
    assert len(system.asked) == 4


# -- the provider's clock --


async def test_a_provider_without_a_date_is_read_on_from_the_latest_change_that_it_showed(world: World) -> None:
    served = [thing(1, "2023-11-14T22:00:00Z"), thing(2, "2023-11-14T21:00:00Z"), thing(3, "2099-01-01T00:00:00Z")]
    async with liar(world, pages(served)) as system:
        system.date = None
        await pulled(world)
        assert (await cursor(world))["watermark"] == "2023-11-14T22:00:00.000Z"
        await world.clock.advance(3600)
        await pulled(world)
        assert "since=2023-11-14T21:59:00Z" in unquote(system.asked[-1])


async def test_without_any_time_at_all_everything_is_read_again(world: World) -> None:
    async with liar(world, pages([thing(1, None)])) as system:
        system.date = None
        await pulled(world)
        await world.clock.advance(3600)
        assert (await pulled(world))[0] == {"fetched": 1, "unchanged": 1}
        assert "since" not in system.asked[-1]


@pytest.mark.parametrize("off", [3 * DAY, 2 * 3600.0, -3 * DAY])
async def test_a_date_that_is_wrong_hides_no_change(world: World, off: float) -> None:
    """Its objects' times are right, and it heeds `since`."""
    held = [thing(1, "2023-11-14T22:00:00Z")]

    def serve(request: web.Request) -> web.Response:
        return web.json_response(
            {"data": [one for one in held if one["at"] >= request.query.get("since", "")], "next": None}
        )

    async with liar(world, serve) as system:
        system.date = START + off
        await pulled(world)
        await world.clock.advance(600)
        system.date = world.clock.now() + off
        held.append(thing(2, "2023-11-14T22:20:00Z"))
        counts, _ = await pulled(world)
    assert counts["created"] == 1
    assert len(await world.entities()) == 2
