"""What every answer of a provider means."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from aiohttp import web

from syncd.domain.errors import (
    AuthenticationFailed,
    Conflict,
    Invalid,
    NotFound,
    Rejected,
    ServerFault,
    SyncdError,
    Throttled,
)
from tests.integration.outgoing_api.world import KEY, Keys, Providers, failed


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected),
        (401, AuthenticationFailed),
        (402, Rejected),
        (403, Rejected),
        (404, NotFound),
        (405, Rejected),
        (408, ServerFault),
        (409, Conflict),
        (410, NotFound),
        (412, Conflict),
        (413, Rejected),
        (422, Rejected),
        (429, Throttled),
        (500, ServerFault),
        (502, ServerFault),
        (503, ServerFault),
        (504, ServerFault),
        (529, Throttled),
        (304, Rejected),
        (300, Rejected),
    ],
)
async def test_every_status_has_its_error_unless_the_caller_accepts_it(
    world: Providers, status: int, kind: type[SyncdError]
) -> None:
    api = await world.api(status)
    assert type(await failed(api)) is kind
    assert (await api.request("GET", "/", operation="fetch", accept={status})).status == status
    facts = world.seen.named("provider_request")[0]
    assert (facts["status"], facts["operation"], facts["integrationId"]) == (status, "fetch", "crm")


@pytest.mark.parametrize(
    ("status", "headers", "body", "wait"),
    [
        (429, {}, "", 30.0),
        (429, {"Retry-After": "7"}, "", 7.0),
        (429, {"Retry-After": "0"}, "", 1.0),
        (429, {"Retry-After": "-5"}, "", 1.0),
        (429, {"Retry-After": "nonsense"}, "", 30.0),
        (429, {"Retry-After": "86400"}, "", 3600.0),
        (429, {"Retry-After": "Tue, 14 Nov 2023 22:14:20 GMT", "Date": "Tue, 14 Nov 2023 22:13:20 GMT"}, "", 60.0),
        (429, {"Retry-After": "Tue, 14 Nov 2023 22:12:20 GMT", "Date": "Tue, 14 Nov 2023 22:13:20 GMT"}, "", 1.0),
        (429, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "12"}, "", 12.0),
        (
            429,
            {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1700000090", "Date": "Tue, 14 Nov 2023 22:13:20 GMT"},
            "",
            90.0,
        ),
        (429, {"X-RateLimit-Remaining": "4000", "X-RateLimit-Reset": "3000"}, "", 30.0),
        (429, {"RateLimit": '"default";r=0;t=15'}, "", 15.0),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "12"}, "", 12.0),
        (403, {"Retry-After": "9"}, "", 9.0),
        (403, {}, '{"message":"You have exceeded a secondary rate limit."}', 60.0),
        (429, {}, '{"message":"You have exceeded a secondary rate limit."}', 60.0),
        (403, {}, '{"error":{"errors":[{"reason":"userRateLimitExceeded"}]}}', 30.0),
        (503, {"Retry-After": "3"}, "", 3.0),
    ],
)
async def test_a_refusal_for_now_says_when_to_come_back(
    world: Providers, status: int, headers: dict[str, str], body: str, wait: float
) -> None:
    error = await failed(await world.api(web.Response(status=status, headers=headers, text=body)))
    assert isinstance(error, Throttled)
    assert (error.retry_after, error.reservation) == (wait, None)
    assert {"seconds": wait, "by": "provider"}.items() <= world.seen.named("ratelimit_wait")[0].items()


async def test_a_wait_that_is_cut_says_so(world: Providers) -> None:
    error = await failed(await world.api(web.Response(status=429, headers={"Retry-After": "86400"})))
    assert "names a wait of 86400 s and is asked again after 3600 s" in str(error)


async def test_a_server_fault_keeps_what_it_says_about_time(world: Providers) -> None:
    error = await failed(await world.api(web.Response(status=502, headers={"Retry-After": "8"})))
    assert isinstance(error, ServerFault)
    assert error.retry_after == 8.0


async def test_an_error_names_method_host_and_path_and_what_the_provider_said_but_no_secret(world: Providers) -> None:
    said = json.dumps({"message": f"key {KEY} is\x07 not\nallowed, nor s3cr3t%2Fkey%2Bwith%3Dsigns"})
    api = await world.api(web.Response(status=422, text=said), keys=Keys("api_key", value=KEY, parameter="key"))
    text = str(await failed(api, path="/items?token=abc"))
    assert text.startswith("GET http://127.0.0.1:")
    assert text.endswith("/v1/items: answered 422: key *** is not allowed, nor ***")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "deep"}}, "deep"),
        ({"errors": [{"detail": "listed"}]}, "listed"),
        ({"error": "invalid", "error_description": "why"}, "why"),
        ({"errorMessages": ["jira"]}, "jira"),
        ([{"message": "salesforce"}], "salesforce"),
    ],
)
async def test_what_a_provider_says_is_found_where_providers_put_it(world: Providers, body: Any, said: str) -> None:
    error = await failed(await world.api(web.json_response(body, status=400)))
    assert str(error).endswith(f": answered 400: {said}")


async def test_html_instead_of_json_is_a_fault_of_the_server_that_shows_how_it_begins(world: Providers) -> None:
    html = f"<!DOCTYPE html>\n<title>Maintenance</title> {KEY}" + "x" * 500
    api = await world.api(web.Response(text=html, content_type="text/html"), keys=Keys())
    reply = await api.request("GET", "/items", operation="fetch")
    with pytest.raises(ServerFault) as caught:
        reply.json()
    assert "it begins '<!DOCTYPE html> <title>Maintenance</title> ***" in str(caught.value)
    assert KEY not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("status", [200, 204])
async def test_an_answer_with_nothing_in_it_is_a_reply_and_no_json(world: Providers, status: int) -> None:
    reply = await (await world.api(status)).request("DELETE", "/items/1", operation="delete")
    assert (reply.status, reply.body, reply.next_link()) == (status, b"", None)
    with pytest.raises(ServerFault, match="the body is empty"):
        reply.json()


@pytest.mark.parametrize("body", [b"[NaN]", b'{"a":1,"a":2}', b"[" * 5000, b'"\xff"', b'["\\ud800"]'])
async def test_json_that_readers_take_differently_is_a_fault_of_the_server(world: Providers, body: bytes) -> None:
    reply = await (await world.api(web.Response(body=body))).request("GET", "/", operation="fetch")
    with pytest.raises(ServerFault, match="not JSON"):
        reply.json()


async def test_a_record_of_ten_megabytes_is_read_and_one_beyond_the_bound_is_rejected(world: Providers) -> None:
    api = await world.api(web.Response(body=json.dumps([{"note": "x" * 10_000_000}]).encode()))
    reply = await api.request("GET", "/", operation="fetch")
    assert len(reply.json()[0]["note"]) == 10_000_000
    small = await world.api(web.Response(body=b'"' + b"x" * 5000 + b'"'), max_response_bytes=5000)
    error = await failed(small)
    assert isinstance(error, Rejected)
    assert "longer than 5000 bytes" in str(error)


async def test_a_gzip_bomb_is_cut_and_rejected(world: Providers) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    api = await world.api(web.Response(body=bomb, headers={"Content-Encoding": "gzip"}), max_response_bytes=1_000_000)
    assert isinstance(await failed(api), Rejected)
    broken = await world.api(web.Response(body=b"\x1f\x8bnonsense", headers={"Content-Encoding": "gzip"}))
    assert isinstance(await failed(broken), ServerFault)


async def test_the_next_link_is_a_whole_url_and_one_to_another_host_is_refused_when_asked_for(
    world: Providers,
) -> None:
    links = iter(['</v1/items?page=2>; rel="next"', '<https://evil.example/x>; rel="next"', "<::>; rel=next", ""])

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(headers={"Link": next(links)})

    api = await world.api(handler, keys=Keys())
    link = (await api.request("GET", "/items", operation="fetch")).next_link()
    assert link is not None
    assert link.endswith("/v1/items?page=2")
    assert link.startswith("http://127.0.0.1:")
    link = (await api.request("GET", link, operation="fetch")).next_link()
    assert link == "https://evil.example/x"
    assert isinstance(await failed(api, path=link), Invalid)
    assert len(world.requests) == 2
    (await api.request("GET", "/", operation="fetch")).next_link()
    assert (await api.request("GET", "/", operation="fetch")).next_link() is None
