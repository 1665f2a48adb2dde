"""The outgoing client against real servers on loopback, and resolvers that lie."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trustme
from aiohttp import web
from aiohttp.abc import ResolveResult

from syncd.adapters.http.ssrf import OutgoingPolicy
from syncd.domain.errors import Invalid, ServerFault, TimedOut, Unavailable
from syncd.domain.secrets import Secret
from syncd.ports.caller import Call
from tests.integration.outgoing import Names, World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(stack)


async def test_a_post_without_a_body_sends_exactly_what_it_was_given(world: World) -> None:
    seen: dict[str, Any] = {}

    async def handler(request: web.Request) -> web.Response:
        seen.update(method=request.method, headers=dict(request.headers), body=await request.read())
        return web.json_response({"ok": True}, status=202)

    port = await world.serve(handler)
    answer = await (await world.caller()).call(
        Call(method="POST", url=f"http://127.0.0.1:{port}/x/", secret_headers={"X-Sync-Token": Secret("a+/=b")})
    )
    assert (answer.status, answer.body, answer.truncated) == (202, b'{"ok": true}', False)
    assert answer.headers["content-type"].startswith("application/json")
    assert seen["method"] == "POST"
    assert seen["body"] == b""
    assert seen["headers"]["X-Sync-Token"] == "a+/=b"
    assert seen["headers"]["User-Agent"] == "syncd/test"
    assert seen["headers"]["Content-Length"] == "0"
    assert "Content-Type" not in seen["headers"]
    assert "Cookie" not in seen["headers"]


@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 404, 429, 500, 503, 504])
async def test_every_status_is_an_answer(world: World, status: int) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(status=status)

    port = await world.serve(handler)
    answer = await (await world.caller()).call(Call(method="POST", url=f"http://127.0.0.1:{port}/"))
    assert answer.status == status


async def test_a_redirect_to_another_origin_is_answered_as_it_came_and_never_gets_the_token(world: World) -> None:
    elsewhere: list[str] = []

    async def other(request: web.Request) -> web.Response:
        elsewhere.append(request.path)
        return web.Response()

    other_port = await world.serve(other)

    async def handler(_request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(f"http://127.0.0.1:{other_port}/stolen")

    port = await world.serve(handler)
    caller = await world.caller()
    for secrets in ({}, {"X-Sync-Token": Secret("t")}):
        answer = await caller.call(Call(method="POST", url=f"http://127.0.0.1:{port}/", secret_headers=secrets))
        assert answer.status == 307
        assert answer.headers["location"].endswith("/stolen")
    assert elsewhere == []


async def test_a_redirect_inside_the_origin_is_followed_where_the_method_stays(world: World) -> None:
    paths: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        paths.append(f"{request.method} {request.path} {request.headers.get('X-Sync-Token')}")
        if request.path == "/308":
            return web.Response(status=308, headers={"Location": "/end"})
        if request.path == "/302":
            return web.Response(status=302, headers={"Location": "/end"})
        if request.path == "/loop":
            return web.Response(status=307, headers={"Location": "/loop"})
        return web.Response(text="end")

    port = await world.serve(handler)
    caller = await world.caller()

    async def status(method: str, path: str) -> int:
        call = Call(method=method, url=f"http://127.0.0.1:{port}{path}", secret_headers={"X-Sync-Token": Secret("t")})
        return (await caller.call(call)).status

    assert await status("POST", "/308") == 200
    assert await status("POST", "/302") == 302
    assert await status("GET", "/302") == 200
    assert paths == ["POST /308 t", "POST /end t", "POST /302 t", "GET /302 t", "GET /end t"]
    paths.clear()
    assert await status("POST", "/loop") == 307
    assert len(paths) == 6


async def test_a_long_answer_is_cut_and_says_so(world: World) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 5000)

    port = await world.serve(handler)
    caller = await world.caller()
    answer = await caller.call(Call(method="GET", url=f"http://127.0.0.1:{port}/", max_response_bytes=4999))
    assert (len(answer.body), answer.truncated) == (4999, True)
    answer = await caller.call(Call(method="GET", url=f"http://127.0.0.1:{port}/", max_response_bytes=5000))
    assert (len(answer.body), answer.truncated) == (5000, False)


async def test_a_compressed_answer_is_unpacked_up_to_the_limit_and_a_bomb_is_cut(world: World) -> None:
    endless = b"\x1f\x8b\x08" + bytes(7) + b"\x00\x00\x00\xff\xff" * 60_000  # stored blocks of length 0, none the last

    async def handler(request: web.Request) -> web.Response:
        body = {
            "/small": gzip.compress(b"hello"),
            "/bomb": gzip.compress(b"\0" * 50_000_000),
            "/broken": b"\x1f\x8bnonsense",
            "/short": gzip.compress(b"hello" * 1000)[:-8],
            "/endless": endless,
        }[request.path]
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    port = await world.serve(handler)
    caller = await world.caller()

    def call(path: str) -> Call:
        return Call(method="GET", url=f"http://127.0.0.1:{port}{path}", max_response_bytes=100_000)

    small = await caller.call(call("/small"))
    assert (small.body, small.truncated) == (b"hello", False)
    bomb = await caller.call(call("/bomb"))
    assert (len(bomb.body), bomb.truncated) == (100_000, True)
    assert (await caller.call(call("/endless"))).truncated
    for path in ("/broken", "/short"):
        with pytest.raises(ServerFault):
            await caller.call(call(path))


async def test_a_refused_connection_is_certainly_not_processed(world: World) -> None:
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        port = placeholder.getsockname()[1]
    with pytest.raises(Unavailable):
        await (await world.caller()).call(Call(method="POST", url=f"http://127.0.0.1:{port}/"))


async def test_a_name_that_does_not_resolve_is_certainly_not_processed(world: World) -> None:
    class Nowhere(Names):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    caller = await world.caller(resolver=Nowhere())
    with pytest.raises(Unavailable, match="not known"):
        await caller.call(Call(method="POST", url="https://no-such-host.example/"))


async def test_an_untrusted_certificate_is_certainly_not_processed(world: World) -> None:
    ca = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(server)
    called: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        called.append(request.path)
        return web.Response(text="tls")

    port = await world.serve(handler, tls=server)
    with pytest.raises(Unavailable):
        await (await world.caller()).call(Call(method="POST", url=f"https://127.0.0.1:{port}/"))
    assert called == []
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    caller = await world.caller(tls=trusting)
    assert (await caller.call(Call(method="POST", url=f"https://localhost:{port}/"))).body == b"tls"


async def test_a_slow_answer_ends_with_the_timeout_and_may_have_been_processed(world: World) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/headers":
            await asyncio.Event().wait()
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begun")
        await asyncio.Event().wait()
        return response

    port = await world.serve(handler)
    caller = await world.caller()
    for path in ("/headers", "/body"):
        with pytest.raises(TimedOut):
            await caller.call(Call(method="POST", url=f"http://127.0.0.1:{port}{path}", timeout=0.2))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000,
    ],
)
async def test_a_connection_lost_in_mid_answer_may_have_been_processed(world: World, said: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        writer.close()

    port = await world.raw(handler)
    with pytest.raises(ServerFault):
        await (await world.caller()).call(Call(method="POST", url=f"http://127.0.0.1:{port}/"))


async def test_a_name_that_leads_to_a_forbidden_address_is_refused(world: World) -> None:
    for address in ("169.254.169.254", "10.0.0.1", "127.0.0.1"):
        caller = await world.caller(policy=OutgoingPolicy.of(), resolver=Names([address]))
        with pytest.raises(Invalid, match="not allowed"):
            await caller.call(Call(method="GET", url="https://innocent.example/"))


async def test_an_octal_or_hexadecimal_host_is_judged_by_where_it_leads(world: World) -> None:
    caller = await world.caller(policy=OutgoingPolicy.of())
    for host in ("0x7f.0.0.1", "0x7f000001", "2130706433", "0177.0.0.1"):
        with pytest.raises(Invalid):
            await caller.call(Call(method="GET", url=f"https://{host}/"))


async def test_the_address_that_was_judged_is_the_one_that_is_connected_to(world: World) -> None:
    """DNS rebinding: the first answer is harmless, every later one is not."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=request.headers["Host"])

    port = await world.serve(handler)
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    caller = await world.caller(resolver=names)
    answer = await caller.call(Call(method="GET", url=f"http://crm.example:{port}/", headers={"Connection": "close"}))
    assert answer.body == f"crm.example:{port}".encode()
    assert names.asked == 1
    with pytest.raises(Invalid, match=r"169\.254"):
        await caller.call(Call(method="GET", url=f"http://crm.example:{port}/"))


async def test_only_allowed_addresses_of_a_name_are_tried(world: World) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(text="here")

    port = await world.serve(handler)
    caller = await world.caller(resolver=Names(["169.254.169.254", "127.0.0.1"]))
    assert (await caller.call(Call(method="GET", url=f"http://crm.example:{port}/"))).body == b"here"


async def test_localhost_must_be_loopback_before_it_gets_a_secret_over_plain_http(world: World) -> None:
    caller = await world.caller(resolver=Names(["93.184.216.34"]))
    with pytest.raises(Invalid, match="must be loopback"):
        await caller.call(Call(method="POST", url="http://localhost:1/", secret_headers={"X-Sync-Token": Secret("t")}))


@pytest.mark.parametrize("value", ["token\n", "a\r\nX: y", "a\0b"])
async def test_a_header_that_cannot_be_sent_is_refused_without_showing_it(world: World, value: str) -> None:
    with pytest.raises(Invalid) as caught:
        await (await world.caller()).call(
            Call(method="POST", url="http://127.0.0.1:1/", secret_headers={"X-Sync-Token": Secret(value)})
        )
    assert "X-Sync-Token" in str(caught.value)
    assert value.strip() not in str(caught.value)


@pytest.mark.parametrize("url", ["", "x", "http://", "http://[::1", "http://a b/", "http://x\r\n/", "https://x:99999/"])
async def test_what_is_no_url_is_refused(world: World, url: str) -> None:
    with pytest.raises(Invalid):
        await (await world.caller()).call(Call(method="GET", url=url))
