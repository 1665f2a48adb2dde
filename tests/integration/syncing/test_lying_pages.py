"""Pulls of pages that are none, lead nowhere, or are refused for now: the run goes on, or ends with its reason and moves nothing."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web

from tests.doubles.contract import START
from tests.integration.syncing.lying import Answer, always, cursor, liar, pages, parked, pulled, refused, thing
from tests.integration.syncing.world import World, at_start, opened


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, at_start()) as world:
        yield world


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


@pytest.mark.parametrize("around", [1, 2, 3])
async def test_pages_of_the_same_objects_under_ever_new_tokens_end_the_run_with_an_error(
    world: World, around: int
) -> None:
    def serve(request: web.Request) -> web.Response:
        number = int(request.query.get("after", "0"))
        shown = [thing(2 * (number % around)), thing(2 * (number % around) + 1)]
        return web.json_response({"data": shown, "next": str(number + 1)})

    async with liar(world, serve) as system:
        _, result = await pulled(world)
    assert result["status"] == "failed"
    assert "lead back" in result["errorMessage"]
    assert len(system.asked) < 20 * around
    assert len(await world.entities()) == 2 * around
    assert "watermark" not in await cursor(world)


async def test_a_page_that_comes_twice_because_objects_moved_is_no_circle(world: World) -> None:
    again = [thing(1), thing(2)]
    async with liar(world, pages(again, again, [thing(3)], [], [], [], again, [thing(4)])):
        counts, result = await pulled(world)
    assert (result["status"], counts["created"], counts["fetched"]) == ("succeeded", 4, 8)


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
