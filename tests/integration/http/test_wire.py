"""Clients that do not behave: slow, cut off, oversized, not HTTP at all. None of them disturbs the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.domain.errors import Unavailable
from syncd.http.connection import ListenerLimits
from syncd.http.server import Server
from syncd.http.services import HttpLimits
from tests.integration.http.test_webhooks import EVENTS, change, send, signed
from tests.integration.http.world import World, opened


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[World]:
    """Short deadlines and few connections, so that a test need not wait for the real ones."""
    listener = ListenerLimits(header_timeout=0.2, keepalive_timeout=0.3, connections=3)
    async with opened(tmp_path, listener=listener, limits=HttpLimits(body_timeout=0.2)) as world:
        await world.registration()
        yield world


def head(body: bytes, length: int | None = None) -> bytes:
    lines = [
        f"POST {EVENTS} HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"X-Signature: {signed(body)['X-Signature']}",
        f"Content-Length: {len(body) if length is None else length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def test_who_sends_no_request_is_cut_with_408(strict: World) -> None:
    assert (await strict.raw(b"")).startswith(b"HTTP/1.1 408 ")


async def test_headers_that_never_end_are_cut_with_408(strict: World) -> None:
    answer = await strict.raw(f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\nX-Slow: ".encode())
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_trickles_is_cut_with_408(strict: World) -> None:
    body = change()
    answer = await strict.raw(head(body) + body[:5])
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer
    assert await strict.store.queue.peek("sync-outbound") == []


async def test_an_idle_connection_is_closed_after_its_answer(strict: World) -> None:
    answer = await strict.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK"), "and reading came to an end: the server closed it"


async def test_a_body_that_ends_early_stores_nothing(strict: World) -> None:
    body = change()
    await strict.raw(head(body) + body[:-1], close=True)
    assert await strict.store.queue.peek("sync-outbound") == []
    assert (await send(strict, body)).json["status"] == "accepted"


async def test_connections_beyond_the_limit_wait_and_are_served_in_their_turn(strict: World) -> None:
    held = [await asyncio.open_connection("127.0.0.1", strict.server.port) for _ in range(3)]
    try:
        async with asyncio.timeout(10):
            assert (await strict.ask("GET", "/healthz")).status == 200
    finally:
        for _, writer in held:
            writer.close()


@pytest.mark.parametrize(
    "request_line",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["no request", "version", "NUL", "TLS", "header name", "negative length", "two lengths", "smuggling"],
)
async def test_what_is_not_http_is_answered_400_without_an_echo(world: World, request_line: bytes) -> None:
    answer = await world.raw(request_line)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"application/problem+json" in answer
    assert b"NONSENSE" not in answer
    assert (await world.ask("GET", "/healthz")).status == 200


async def test_a_header_of_ten_megabytes_is_400_and_costs_nobody_else_anything(world: World) -> None:
    start = f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\nX-Huge: ".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", world.server.port)
    try:
        writer.write(start + b"a" * 10_000_000 + b"\r\n\r\n")
        answer = await reader.read(64)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    except ConnectionResetError:
        pass  # refused while we were still sending: the answer was overtaken by the reset
    finally:
        writer.transport.abort()
    assert (await world.ask("GET", "/healthz")).status == 200


async def test_a_header_just_too_long_is_answered_400(world: World) -> None:
    answer = await world.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 20_000 + b"\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))


async def test_a_chunked_body_is_cut_as_soon_as_it_is_over_the_limit(world: World) -> None:
    await world.registration(maxBodyBytes=1_000)
    chunk = b"400\r\n" + b"x" * 0x400 + b"\r\n"
    start = f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    answer = await world.raw(start + chunk + chunk)  # and no end: only a cut can answer
    assert answer.startswith(b"HTTP/1.1 413 ")
    rejected = [facts["reason"] for event, facts in world.observed if event == "webhook_rejected"]
    assert rejected == ["http_413"]


async def test_a_chunked_body_within_the_limit_is_taken(world: World) -> None:
    await world.registration()
    body = change()
    start = (
        f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\nX-Signature: {signed(body)['X-Signature']}\r\n"
        "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    answer = await world.raw(start + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_who_asks_before_sending_a_body_is_told_to_go_on(world: World) -> None:
    await world.registration()
    body = change()
    reader, writer = await asyncio.open_connection("127.0.0.1", world.server.port)
    try:
        writer.write(head(body)[:-2] + b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        await reader.readline()
        writer.write(body)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    finally:
        writer.close()


async def test_who_asks_before_sending_too_much_is_told_before_it_is_sent(world: World) -> None:
    await world.registration(maxBodyBytes=1_000)
    asked = head(b"", 5_000)[:-2] + b"Expect: 100-continue\r\n\r\n"
    assert (await world.raw(asked)).startswith(b"HTTP/1.1 413 ")


async def test_an_expectation_that_nobody_knows_is_417(world: World) -> None:
    await world.registration()
    asked = head(b"", 50)[:-2] + b"Expect: the-impossible\r\n\r\n"
    assert (await world.raw(asked)).startswith(b"HTTP/1.1 417 ")


async def test_a_large_body_for_an_unknown_registration_is_refused_before_it_is_read(world: World) -> None:
    start = b"POST /webhooks/nobody/events HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n"
    answer = await world.raw(start + b"x" * 10)  # the rest never comes
    assert answer.startswith(b"HTTP/1.1 404 ")


async def test_pipelined_requests_are_answered_in_order(world: World) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = await world.raw(one + one + last)
    assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [200, 200, 404]


async def test_an_api_body_over_its_limit_is_413(world: World) -> None:
    world.change(limits=HttpLimits(api_bytes=1_000))
    answer = await world.api("POST", "/tasks", {"x": "y" * 2_000})
    assert answer.status == 413


async def test_a_port_in_use_is_one_line_that_says_what_to_do(world: World) -> None:
    other = Server(current=lambda: world.services, clock=world.clock, host="127.0.0.1", port=world.server.port)
    with pytest.raises(Unavailable, match=r"cannot listen on 127.0.0.1:\d+: the address is in use; .* http.port"):
        await other.start()
    await other.stop()


async def test_an_address_that_this_machine_has_not_is_one_line_too(world: World) -> None:
    other = Server(current=lambda: world.services, clock=world.clock, host="192.0.2.1", port=0)
    with pytest.raises(Unavailable, match=r"cannot listen on 192.0.2.1:0: .*set http.host"):
        await other.start()


async def test_stopping_what_never_started_and_stopping_twice_are_harmless(world: World) -> None:
    server = Server(current=lambda: world.services, clock=world.clock, host="127.0.0.1", port=0)
    await server.stop()
    await world.server.stop()
    await world.server.stop()


async def test_a_drain_lets_a_request_under_way_end_and_takes_no_more(world: World) -> None:
    await world.registration()
    body = change()
    reader, writer = await asyncio.open_connection("127.0.0.1", world.server.port)
    began = asyncio.Event()
    find = world.services.registrations.find

    async def noticed(identifier: str) -> object:
        began.set()
        return await find(identifier)

    world.services.registrations.find = noticed  # type: ignore[method-assign, assignment] # to see that it has begun
    writer.write(head(body) + body[:10])
    await began.wait()
    draining = asyncio.create_task(world.server.drain(5))
    writer.write(body[10:])
    answer = await reader.read()
    writer.close()
    await draining
    assert answer.startswith(b"HTTP/1.1 200 OK")
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", world.server.port)
