"""Servers on loopback and the outgoing client that talks to them, closed at the end of a test."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from syncd.adapters.embedded.clock import SystemClock
from syncd.adapters.http.caller import HttpCaller
from syncd.adapters.http.client import open_session
from syncd.adapters.http.ssrf import OutgoingPolicy
from syncd.ports.observe import ignore

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class World:
    """Servers and callers of one test, closed at its end."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def serve(self, handler: Handler, tls: ssl.SSLContext | None = None) -> int:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port: int = runner.addresses[0][1]
        return port

    async def raw(self, handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> int:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        self._stack.callback(server.close)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def session(
        self,
        policy: OutgoingPolicy,
        tls: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
    ) -> aiohttp.ClientSession:
        return await self._stack.enter_async_context(open_session(policy=policy, tls=tls, resolver=resolver))

    async def caller(
        self,
        policy: OutgoingPolicy | None = None,
        tls: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
    ) -> HttpCaller:
        policy = policy or OutgoingPolicy.of(loopback=True)
        session = await self.session(policy, tls, resolver)
        return HttpCaller(session=session, policy=policy, clock=SystemClock(), observe=ignore, user_agent="syncd/test")


class Names(AbstractResolver):
    """A name server whose zone the test writes; it counts how often it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(hostname=host, host=a, port=port, family=socket.AF_INET, proto=0, flags=socket.AI_NUMERICHOST)
            for a in addresses
        ]

    async def close(self) -> None:
        pass
