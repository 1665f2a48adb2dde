"""The one outgoing session: its resolver obeys the SSRF policy, and the connection goes to exactly the addresses it judged."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from ipaddress import ip_address
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from syncd.adapters.http.ssrf import OutgoingPolicy, is_loopback_host
from syncd.domain.errors import Invalid

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace


class Reach:
    """How far a request came: once `connected`, it may have been processed."""

    __slots__ = ("connected",)

    def __init__(self) -> None:
        self.connected = False


#: Of the exchange that this task is in.
REACH: ContextVar[Reach | None] = ContextVar("REACH", default=None)


class GuardedResolver(AbstractResolver):
    """Answers only addresses that the policy allows. The connector connects to these and resolves nothing again."""

    def __init__(self, *, policy: OutgoingPolicy, resolver: AbstractResolver) -> None:
        self._policy = policy
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        name = host.lower().rstrip(".")
        allowed: list[ResolveResult] = []
        reasons: list[str] = []
        for result in await self._resolver.resolve(host, port, family):
            address = ip_address(result["host"])
            reason = self._policy.refusal(address, name)
            if not reason and is_loopback_host(name) and not address.is_loopback:
                reason = f"{name} must be loopback, and resolves to {address}"
            if reason:
                reasons.append(reason)
            else:
                allowed.append(result)
        if not allowed:
            why = "; ".join(reasons) or "it has no address"
            raise Invalid(f"{name} is not allowed: {why}", errors={"url": why})
        return allowed

    async def close(self) -> None:
        await self._resolver.close()


class NotingConnector(aiohttp.TCPConnector):
    """Says when a request owns a connection. The library's tracing says so too, for a tenth of the price of a whole request."""

    async def connect(self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:
        connection = await super().connect(req, traces, timeout)
        reach = REACH.get()
        if reach is not None:
            reach.connected = True
        return connection


async def sent_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """For RESENT. The library sends PUT and DELETE again by itself where a kept connection turns out closed, and repeats by that what may have
    been processed: a conditional write would then fail on its own success. It knows by the class; another class stops it."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:  # certainly not sent
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError(str(error) or "the server closed the connection") from error


#: Methods that the library may send twice and that change something, with what stops it.
RESENT = dict.fromkeys(("PUT", "DELETE", "OPTIONS", "TRACE"), (sent_once,))


@asynccontextmanager
async def open_session(
    *,
    policy: OutgoingPolicy,
    tls: ssl.SSLContext | None = None,
    resolver: AbstractResolver | None = None,
    connections: int = 100,
) -> AsyncIterator[aiohttp.ClientSession]:
    """A session without cookies, proxies of the environment, redirects or unbounded decompression.

    `connections` bounds all that are open at once. `tls` and `resolver` are for deployments with their own, and for tests.
    """
    connector = NotingConnector(
        limit=connections,
        use_dns_cache=False,  # a cached address would outlive its check
        resolver=GuardedResolver(policy=policy, resolver=resolver or aiohttp.ThreadedResolver()),
        ssl=tls if tls is not None else True,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),  # each call has one of its own, for everything
    )
    async with session:
        yield session
