"""The provider `rest` against systems that lie: each lie has a clear result, and costs no more than what it is about."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from syncd.adapters.providers.rest import PROVIDER
from syncd.domain.errors import AuthenticationFailed, Conflict, Invalid, Rejected, ServerFault, SyncdError, Throttled
from syncd.domain.events import ReceivedEvent
from syncd.domain.jsontypes import JsonObject
from syncd.ports.api import Api
from syncd.ports.provider import Fetch, RecordPage, Records
from tests.doubles.client import api_to

assert PROVIDER.records is not None
REST: Records = PROVIDER.records
Serve = Callable[[web.Request], web.Response | Awaitable[web.Response]]
WRITABLE = {
    "list": "/things",
    "get": "/things/{id}",
    "create": "/things",
    "update": "/things/{id}",
    "delete": "/things/{id}",
    "items": "data",
    "updatedAt": "at",
}


@asynccontextmanager
async def thing(serve: Serve, **described: Any) -> AsyncIterator[Api]:
    """An API of the type `thing` whose every request is answered by `serve`."""

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        answer = serve(request)
        return answer if isinstance(answer, web.Response) else await answer

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        settings = {"baseUrl": url, "types": {"thing": {**WRITABLE, **described}}}
        async with api_to(url, PROVIDER, settings) as api:
            yield api
    finally:
        await runner.cleanup()


def always(
    body: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Callable[[web.Request], web.Response]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda request: web.Response(status=status, body=raw, headers=headers)


async def page(serve: Serve, cursor: str | None = None, **described: Any) -> RecordPage:
    async with thing(serve, **described) as api:
        return await REST.fetch(api, Fetch(kind="thing", cursor=cursor))


# -- items that are none --


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (5, "it is a number, not an object"),
        (None, "it is null"),
        ([], "it is an array"),
        ("x", "it is a string"),
        ({}, "id is missing"),
        ({"id": None}, "id is null"),
        ({"id": ""}, "id is empty"),
        ({"id": True}, "id is a boolean"),
        ({"id": 5.5}, r"id is a number \(5.5\)"),
        ({"id": {}}, "id is an object"),
        ({"id": "x" * 501}, "longer than 500"),
        ({"id": ".."}, "no id: '..'"),
        ({"id": "a\nb"}, "no id"),
        ({"id": 1, "at": "yesterday"}, "at: 'yesterday' is no time"),
        ({"id": 1, "at": {}}, "at: dict is no time"),
        ({"id": 1, "at": True}, "at: True is no time"),
    ],
)
async def test_an_item_that_is_no_record_is_set_aside_and_the_page_goes_on(item: Any, reason: str) -> None:
    good: list[JsonObject] = [{"id": "a", "n": 1}, {"id": 7, "at": None}]
    found = await page(always({"data": [good[0], item, good[1]]}))
    assert [record.external_id for record in found.records] == ["a", "7"]
    [aside] = found.unreadable
    assert (aside.position, aside.raw) == (1, item)
    assert re.search(reason, aside.reason)


async def test_the_same_id_twice_in_a_page_is_shown_twice_for_the_dedupe_to_decide() -> None:
    found = await page(always({"data": [{"id": 1, "n": 1}, {"id": "1", "n": 2}]}))
    assert [(record.external_id, record.data) for record in found.records] == [("1", {"n": 1}), ("1", {"n": 2})]


async def test_what_is_no_content_is_left_out_of_a_whole_object() -> None:
    item = {"id": 1, "at": 5, "seen": 9, "meta": {"views": 3, "owner": "a"}, "n": 1}
    found = await page(always({"data": [item]}), leaveOut=["seen", "meta.views", "meta.x.y"])
    assert [record.data for record in found.records] == [{"meta": {"owner": "a"}, "n": 1}]


async def test_names_and_values_in_any_script_arrive_as_they_are() -> None:
    content = {"名前": "Ünïcode 🦊", "a.b": {"": [None, 1.5]}, "\u0000x": "\u202e"}
    found = await page(always({"data": [{"id": "ключ-1", **content}]}))
    assert [(record.external_id, record.data) for record in found.records] == [("ключ-1", content)]


async def test_a_record_of_ten_megabytes_is_read_and_twenty_are_refused() -> None:
    found = await page(always({"data": [{"id": 1, "text": "x" * 10_000_000}, {"id": 2}]}))
    assert [len(record.data.get("text", "")) for record in found.records] == [10_000_000, 0]
    with pytest.raises(Rejected, match="longer than"):
        await page(always({"data": [{"id": 1, "text": "x" * 20_000_000}]}))


# -- answers that are no list --


@pytest.mark.parametrize(
    ("body", "error", "reason"),
    [
        (b"<html><h1>Sign in</h1></html>", ServerFault, "not JSON"),
        (b'{"data": [', ServerFault, "not JSON"),
        (b"", ServerFault, "not JSON"),
        (b"  \n", ServerFault, "not JSON"),
        ({"data": {}}, ServerFault, "holds no list at data"),
        ({"items": []}, ServerFault, "holds no list at data"),
        ([], ServerFault, "holds no list at data"),
        ("data", ServerFault, "holds no list at data"),
        ({"error": "the database is away"}, ServerFault, "it says 'the database is away'"),
        ({"error": "away", "data": []}, ServerFault, "it says 'away'"),
        ({"errors": [{"message": "x"}], "data": None}, ServerFault, "holds no list"),
        ({"success": False, "message": "maintenance", "data": []}, ServerFault, "maintenance"),
        ({"error": {"code": 404, "message": "no such view"}}, Rejected, "no such view"),
        ({"status": 422, "title": "bad filter"}, Rejected, "bad filter"),
        ({"statusCode": 429, "message": "slow down"}, Throttled, "slow down"),
        ({"code": 401, "message": "expired"}, AuthenticationFailed, "expired"),
        ({"code": 503, "message": "later"}, ServerFault, "later"),
    ],
)
async def test_an_answer_that_holds_no_list_is_an_error_and_never_an_empty_list(
    body: Any, error: type[SyncdError], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        await page(always(body))


@pytest.mark.parametrize("body", [b"", {"data": []}, {"data": None}, {"data": [], "error": None, "errors": []}])
async def test_what_is_really_empty_is_an_empty_page(body: Any) -> None:
    found = await page(always(body, status=204 if body == b"" else 200), paging="page")
    assert (list(found.records), list(found.unreadable), found.next) == ([], [], None)


# -- lists that lead nowhere --


async def test_an_empty_page_with_a_next_page_is_not_the_end() -> None:
    paging = {"style": "cursor", "next": "next"}
    assert (await page(always({"data": [], "next": "b"}), paging=paging)).next == "b"


async def test_a_cursor_that_leads_to_itself_is_a_circle() -> None:
    paging = {"style": "cursor", "next": "next"}
    with pytest.raises(ServerFault, match="runs in a circle"):
        await page(always({"data": [{"id": 1}], "next": "b"}), cursor="b", paging=paging)


async def test_a_cursor_that_leads_back_is_the_same_text_again_so_that_whoever_reads_can_tell() -> None:
    paging, onward = {"style": "cursor", "parameter": "at", "next": "next"}, {"a": "b", "b": "a"}
    seen = ["a"]
    async with thing(lambda r: always({"data": [], "next": onward[r.query["at"]]})(r), paging=paging) as api:
        while len(set(seen)) == len(seen):
            seen.append((await REST.fetch(api, Fetch(kind="thing", cursor=seen[-1]))).next or "")
    assert seen == ["a", "b", "a"]


@pytest.mark.parametrize("style", ["page", "offset"])
async def test_a_server_that_shows_the_same_page_for_every_number_is_found_out(style: str) -> None:
    paging = {"style": style}
    first = await page(always({"data": [{"id": 1}, {"id": 2}]}), paging=paging)
    with pytest.raises(ServerFault, match="shows the same objects as the page before"):
        await page(always({"data": [{"id": 1}, {"id": 2}]}), cursor=first.next, paging=paging)


async def test_a_page_that_shrinks_moves_an_offset_by_what_really_came() -> None:
    paging = {"style": "offset", "parameter": "skip", "limit": "take"}
    asked: list[tuple[str | None, str]] = []

    def serve(request: web.Request) -> web.Response:
        asked.append((request.query.get("skip"), request.query["take"]))
        start = int(request.query.get("skip", "0"))
        return always({"data": [{"id": n} for n in range(start, min(start + 2, 3))]})(request)

    async with thing(serve, paging=paging) as api:
        cursor, ids = None, []
        for _ in range(3):
            found = await REST.fetch(api, Fetch(kind="thing", cursor=cursor, limit=100))
            ids += [record.external_id for record in found.records]
            cursor = found.next
    assert (ids, cursor) == (["0", "1", "2"], None)
    assert asked == [(None, "100"), ("2", "100"), ("3", "100")]


@pytest.mark.parametrize(
    ("token", "reason"),
    [({}, "an object"), ([], "an array"), (True, "a boolean"), (1.5, "a number"), ("x" * 9000, "9000")],
)
async def test_a_next_page_that_is_no_token_is_an_error_and_not_the_end(token: Any, reason: str) -> None:
    with pytest.raises(ServerFault, match=reason):
        await page(always({"data": [], "next": token}), paging={"style": "cursor", "next": "next"})


@pytest.mark.parametrize("token", [None, "", False])
async def test_no_token_is_the_end(token: Any) -> None:
    assert (
        await page(always({"data": [{"id": 1}], "next": token}), paging={"style": "cursor", "next": "next"})
    ).next is None


@pytest.mark.parametrize(
    ("paging", "body", "ends"),
    [
        ({"style": "page", "more": "more"}, {"more": False}, True),
        ({"style": "page", "more": "more"}, {"more": True}, False),
        ({"style": "page", "more": "more"}, {}, False),
        ({"style": "page", "total": "pages"}, {"pages": 1}, True),
        ({"style": "page", "total": "pages"}, {"pages": 2}, False),
        ({"style": "page", "total": "pages"}, {"pages": "two"}, False),
        ({"style": "page", "first": 0, "total": "pages"}, {"pages": 1}, True),
        ({"style": "offset", "total": "count"}, {"count": 1}, True),
        ({"style": "offset", "total": "count"}, {"count": 2}, False),
        ({"style": "cursor", "next": "next", "more": "more"}, {"next": "b", "more": False}, True),
        ({"style": "none"}, {"next": "b"}, True),
    ],
)
async def test_the_list_ends_where_the_answer_says_so(paging: JsonObject, body: JsonObject, ends: bool) -> None:
    found = await page(always({"data": [{"id": 1}], **body}), paging=paging)
    assert (found.next is None) is ends


async def test_a_link_to_another_host_is_not_followed_and_one_without_host_is() -> None:
    paging = {"style": "link", "next": "next"}
    elsewhere = await page(always({"data": [], "next": "https://elsewhere.example/x"}), paging=paging)
    with pytest.raises(Invalid, match="links to elsewhere are not followed"):
        await page(always({"data": []}), cursor=elsewhere.next, paging=paging)

    def serve(request: web.Request) -> web.Response:
        there = request.path_qs == "/v2/things?after=1"
        return always({"data": [{"id": 2 if there else 1}], "next": None if there else "/v2/things?after=1"})(request)

    async with thing(serve, paging=paging) as api:
        first = await REST.fetch(api, Fetch(kind="thing"))
        second = await REST.fetch(api, Fetch(kind="thing", cursor=first.next))
    assert ([r.external_id for r in second.records], second.next) == (["2"], None)


async def test_a_cursor_of_another_kind_of_paging_is_refused() -> None:
    with pytest.raises(Invalid, match="is no place in a list that is read by page"):
        await page(always({"data": []}), cursor="https://x/y", paging="page")


# -- single objects and writes --


async def test_an_answer_about_another_object_is_not_taken_for_the_one_that_was_asked_for() -> None:
    async with thing(always({"id": 2})) as api:
        with pytest.raises(ServerFault, match="asked for thing '1', and got '2'"):
            await REST.read(api, "thing", "1")
        with pytest.raises(ServerFault, match="changed thing '1', and got '2'"):
            await REST.update(api, "thing", "1", {"a": 1}, whole={"a": 1}, version=None)


async def test_a_create_that_is_answered_with_nothing_is_found_by_its_location_or_is_unknown() -> None:
    async with thing(
        lambda r: (
            always({"id": "a/b", "n": 1})(r)
            if r.method == "GET"
            else always(b"", 201, {"Location": "/things/a%2Fb"})(r)
        )
    ) as api:
        assert (await REST.create(api, "thing", {"n": 1}, key="k")).external_id == "a/b"
    async with thing(always(b"", 201)) as api:
        with pytest.raises(ServerFault, match="says neither in its body nor in Location"):
            await REST.create(api, "thing", {"n": 1}, key="k")


async def test_a_list_that_does_not_heed_the_marker_is_no_proof_that_nothing_was_created() -> None:
    creates = {"style": "lookup", "parameter": "ref", "field": "custom.ref"}
    async with thing(always({"data": [{"id": 1, "custom": {"ref": "other"}}]}), creates=creates) as api:
        with pytest.raises(ServerFault, match="does not heed ref"):
            await REST.find(api, "thing", {}, key="mine")
    async with thing(always({"data": [{"id": 1, "custom": {"ref": "mine", "n": 2}}]}), creates=creates) as api:
        found = await REST.find(api, "thing", {}, key="mine")
        assert found is not None
        assert (found.external_id, found.data) == ("1", {"custom": {"n": 2}})


async def test_an_object_marked_deleted_reads_as_gone() -> None:
    async with thing(always({"id": 1, "state": "archived"}), deleted={"path": "state", "values": ["archived"]}) as api:
        assert await REST.read(api, "thing", "1") is None
    async with thing(always({"id": 1, "state": "open"}), deleted={"path": "state", "values": ["archived"]}) as api:
        assert await REST.read(api, "thing", "1") is not None


async def test_a_version_in_the_body_goes_back_as_the_number_or_text_that_it_was() -> None:
    sent: list[Any] = []

    async def update(version: Any) -> None:
        async def serve(request: web.Request) -> web.Response:
            if request.method == "PATCH":
                sent.append(await request.json())
            return always({"id": 1, "rev": version})(request)

        async with thing(serve, version="rev", conditional="field") as api:
            seen = await REST.read(api, "thing", "1")
            assert seen is not None
            await REST.update(api, "thing", "1", {"a": 1}, whole={"a": 1}, version=seen.version)

    for version in (5, "5", 'quo"ted'):
        await update(version)
    assert sent == [{"a": 1, "rev": 5}, {"a": 1, "rev": "5"}, {"a": 1, "rev": 'quo"ted'}]


@pytest.mark.parametrize(("version", "header"), [("7", '"7"'), ('"abc"', '"abc"'), ('W/"abc"', 'W/"abc"')])
async def test_an_if_match_is_an_entity_tag(version: str, header: str) -> None:
    def serve(request: web.Request) -> web.Response:
        assert request.headers["If-Match"] == header
        return web.Response(status=412)

    async with thing(serve, etag=True, conditional="if-match") as api:
        with pytest.raises(Conflict):
            await REST.update(api, "thing", "1", {}, whole={}, version=version)
        with pytest.raises(Conflict):
            await REST.delete(api, "thing", "1", version=version)


async def test_a_type_that_the_settings_do_not_describe_is_named() -> None:
    async with thing(always({})) as api:
        with pytest.raises(Invalid, match="describe no type 'other'"):
            await REST.fetch(api, Fetch(kind="other"))


# -- events --


def event(**given: Any) -> ReceivedEvent:
    fields: JsonObject = {"event_type": "thing.update", "entity_type": "thing", "entity_id": "1", "operation": "update"}
    return ReceivedEvent(**{**fields, "data": {}, "occurred_at": 50.0, **given})


def read(given: ReceivedEvent, **described: Any) -> ReceivedEvent:
    assert PROVIDER.read_event is not None
    settings = {"baseUrl": "http://x", "types": {"thing": {**WRITABLE, **described}}}
    return PROVIDER.read_event(settings, given)


def test_an_events_data_loses_what_is_no_content_and_gives_its_time() -> None:
    found = read(event(data={"id": 1, "at": "1970-01-01T00:00:40Z", "n": 1}))
    assert (found.data, found.occurred_at, found.partial) == ({"n": 1}, 40.0, True)
    assert read(event(data={"n": 1})).occurred_at == 50.0
    assert read(event(), wholeEvents=True).partial is False


def test_a_deletion_keeps_the_events_own_time_and_one_that_the_data_tells_is_one() -> None:
    gone = read(event(operation="delete", data={"id": 1, "at": "1970-01-01T00:00:40Z"}))
    assert (gone.operation, gone.occurred_at) == ("delete", 50.0)
    assert read(event(data={"id": 1, "gone": True}), deleted="gone").operation == "delete"


def test_an_event_of_a_type_that_is_not_described_stays_as_it_is() -> None:
    given = event(entity_type="other", data={"id": 9})
    assert read(given) == given


def test_an_event_whose_data_is_another_object_is_not_understood() -> None:
    with pytest.raises(SyncdError, match="is about '1', but its data is '2'"):
        read(event(data={"id": 2}))
