"""Connections that are slow, lost, refused or not allowed."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from syncd.adapters.http.ssrf import OutgoingPolicy
from syncd.domain.errors import (
    Invalid,
    ServerFault,
    TimedOut,
    Unavailable,
)
from syncd.ports.api import Account
from tests.integration.outgoing_api.world import Keys, Providers, failed


async def test_a_slow_body_ends_with_the_timeout(world: Providers) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"[")
        await asyncio.Event().wait()
        return response

    assert isinstance(await failed(await world.api(handler, timeout=0.2)), TimedOut)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_connection_that_is_lost_after_sending_is_never_sent_on_again_by_a_write(
    world: Providers, method: str
) -> None:
    """The first answer keeps the connection; the second request on it is read and never answered."""
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n"))[:6])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        seen.append((await reader.readuntil(b"\r\n\r\n"))[:6])
        writer.close()

    api = await world.at(await world.raw(handler))
    await api.request("GET", "/", operation="fetch")
    if method == "GET":
        await api.request("GET", "/", operation="fetch")
        assert len(seen) == 3, "reading again is harmless, and the library does"
        return
    assert isinstance(await failed(api, method, operation="update"), ServerFault)
    assert len(seen) == 2
    assert world.seen.named("provider_request")[-1]["status"] == 0


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", b"garbage\r\n\r\n"])
async def test_a_broken_answer_may_have_been_processed_and_shows_no_key(world: Providers, said: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        writer.close()

    api = await world.at(await world.raw(handler), keys=Keys("api_key", value="topsecret", parameter="key"))
    error = await failed(api, "POST", operation="create")
    assert isinstance(error, ServerFault)
    assert "topsecret" not in f"{error} {error.__cause__}"


async def test_a_refused_connection_is_certainly_not_processed(world: Providers) -> None:
    assert isinstance(await failed(await world.at(1), "POST", operation="create"), Unavailable)


async def test_a_token_is_not_sent_in_clear_text_beyond_this_machine(world: Providers) -> None:
    policy = OutgoingPolicy.of(["10.0.0.0/8"])
    apis = await world.apis(policy)
    account = Account(connection_id="c", tenant_id="t1", integration_id="crm", settings={}, credential_id="cred")
    with pytest.raises(Invalid, match="clear text"):
        await apis.of(account, "http://10.0.0.1").request("GET", "/", operation="fetch")
