"""What is sent to a provider, and where to."""

from __future__ import annotations

import base64

import pytest
from aiohttp import web

from syncd.adapters.http.limits import Limits
from syncd.domain.errors import (
    AuthenticationFailed,
    Invalid,
    Rejected,
    Throttled,
)
from tests.integration.outgoing_api.world import KEY, Keys, Providers, failed


async def test_a_request_goes_below_the_base_url_with_its_query_body_and_headers(world: Providers) -> None:
    api = await world.api(web.json_response({"id": 1}), keys=Keys())
    reply = await api.request(
        "POST",
        "items/a%2Fb?x=1",
        operation="create",
        query={"q": "ä&b", "fields": "a,b"},
        json={"name": "Ünï"},
        headers={"X-Idempotency": "k"},
    )
    assert (reply.status, reply.json()) == (200, {"id": 1})
    assert reply.served_at is not None
    [request] = world.requests
    assert request.raw_path.startswith("/v1/items/a%2Fb?x=1&q=")
    assert dict(request.query) == {"x": "1", "q": "ä&b", "fields": "a,b"}
    assert await request.json() == {"name": "Ünï"}
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Accept"] == "application/json"
    assert request.headers["X-Idempotency"] == "k"
    assert request.headers["User-Agent"] == "syncd/test"


async def test_a_header_of_the_caller_replaces_a_default_but_never_the_credential(world: Providers) -> None:
    api = await world.api(200, keys=Keys())
    await api.request(
        "GET", "/", operation="fetch", headers={"accept": "application/vnd.x", "authorization": "Bearer mine"}
    )
    [request] = world.requests
    assert request.headers.getall("Accept") == ["application/vnd.x"]
    assert request.headers.getall("Authorization") == [f"Bearer {KEY}"]


@pytest.mark.parametrize(
    ("keys", "header", "value"),
    [
        (Keys("bearer", token="t"), "Authorization", "Bearer t"),
        (Keys("oauth2", accessToken="t"), "Authorization", "Bearer t"),
        (
            Keys("basic", username="u", password="p:ö"),
            "Authorization",
            f"Basic {base64.b64encode('u:p:ö'.encode()).decode()}",
        ),
        (Keys("api_key", value="v"), "X-API-Key", "v"),
        (Keys("api_key", value="v", header="X-Token"), "X-Token", "v"),
    ],
)
async def test_each_kind_of_credential_is_shown_in_its_header(
    world: Providers, keys: Keys, header: str, value: str
) -> None:
    await (await world.api(200, keys=keys)).request("GET", "/", operation="fetch")
    assert world.requests[0].headers[header] == value


async def test_an_api_key_may_be_a_query_parameter_and_stays_out_of_next_links(world: Providers) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/v1/old":
            raise web.HTTPFound("/v1/new?page=1")
        return web.Response(headers={"Link": f'<{request.url.update_query(page="2")}>; rel="next"'})

    api = await world.api(handler, keys=Keys("api_key", value=KEY, parameter="key"))
    reply = await api.request("GET", "/old", operation="fetch")
    assert world.requests[0].query["key"] == KEY
    assert dict(world.requests[1].query) == {"page": "1", "key": KEY}, "a redirect inside the origin has it as well"
    link = reply.next_link()
    assert link is not None
    assert link.endswith("/v1/new?page=2")
    await api.request("GET", link, operation="fetch")
    assert dict(world.requests[2].query) == {"page": "2", "key": KEY}


@pytest.mark.parametrize(
    "keys",
    [
        Keys("bearer", other="x"),
        Keys("basic", username="u"),
        Keys("api_key", value="v", header="Host"),
        Keys("api_key", value="v", header="X Y"),
        Keys("bearer", token="a\r\nX-Evil: b"),
    ],
)
async def test_a_credential_that_cannot_be_shown_is_refused_before_anything_is_sent(
    world: Providers, keys: Keys
) -> None:
    error = await failed(await world.api(200, keys=keys))
    assert isinstance(error, AuthenticationFailed | Invalid)
    assert "evil" not in str(error).lower()
    assert world.requests == []


@pytest.mark.parametrize(
    "path",
    [
        "https://elsewhere.example/v1/items",
        "http://127.0.0.1:1/v1/items",
        "http://127.0.0.1@evil.example/",
        "//evil.example/items",
        "../admin",
        "items/../../admin",
        "items/%2e%2E/admin",
        "items\\..\\admin",
        "a\nb",
    ],
)
async def test_nothing_leads_out_of_the_origin_or_the_base_path(world: Providers, path: str) -> None:
    error = await failed(await world.api(200, keys=Keys()), path=path)
    assert isinstance(error, Invalid)
    assert world.requests == []


@pytest.mark.parametrize("base", ["/v1", "/v1/"])
@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("items", "/v1/items"),
        ("/items/", "/v1/items/"),
        ("?a=1", "/v1?a=1"),
        ("items:search", "/v1/items:search"),
        ("i#x", "/v1/i"),
    ],
)
async def test_paths_are_joined_to_the_base_path_with_one_slash(
    world: Providers, base: str, path: str, sent: str
) -> None:
    await (await world.api(200, base=base)).request("GET", path, operation="fetch")
    assert world.requests[0].raw_path.replace("/v1/?", "/v1?") == sent


@pytest.mark.parametrize("base", ["ftp://h/", "nonsense", "https://", "https://h/?a=1", "https://h/ x "])
async def test_a_base_url_that_is_none_is_refused(world: Providers, base: str) -> None:
    api = await world.api(200)
    apis = await world.apis()
    with pytest.raises(Invalid):
        apis.of(api.account, base)


async def test_what_is_no_json_is_not_sent(world: Providers) -> None:
    api = await world.api(200)
    for body in (float("nan"), {1, 2}, "\ud800"):
        with pytest.raises(Invalid):
            await api.request("POST", "/", operation="create", json=body)
    assert world.requests == []


async def test_a_redirect_to_another_host_is_rejected_and_never_gets_the_credential(world: Providers) -> None:
    elsewhere: list[str] = []

    async def other(request: web.Request) -> web.Response:
        elsewhere.append(request.path)
        return web.Response()

    port = await world.serve(other)
    api = await world.api(web.Response(status=307, headers={"Location": f"http://127.0.0.1:{port}/x?k=1"}), keys=Keys())
    error = await failed(api)
    assert isinstance(error, Rejected)
    assert "redirect to 127.0.0.1 that is not followed" in str(error)
    assert elsewhere == []


async def test_a_redirect_inside_the_origin_is_followed_where_the_method_stays_and_is_charged(
    world: Providers,
) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path.endswith("end"):
            return web.json_response({})
        return web.Response(status=int(request.path[-3:]), headers={"Location": "/v1/end"})

    api = await world.api(handler, limits=Limits(integration=5))
    await api.request("GET", "/302", operation="fetch")
    await api.request("POST", "/308", operation="create")
    with pytest.raises(Rejected):
        await api.request("POST", "/302", operation="create")
    assert [request.method for request in world.requests] == ["GET", "GET", "POST", "POST", "POST"]
    assert isinstance(await failed(api), Throttled), "three requests and two redirects made five"
