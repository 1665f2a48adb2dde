"""Webhooks over real HTTP, with a spool on the disk and a broker that can be away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp

from syncd.adapters.embedded.spool import EmbeddedSpool, open_spool
from syncd.flows.accept import QUEUE
from syncd.flows.spooling import COMPONENT, Spooling
from syncd.http.server import Server
from syncd.http.services import HttpLimits, Services
from syncd.ports.control import Component
from syncd.ports.queue import Queue
from syncd.ports.vault import Vault
from syncd.runtime.health import HealthBoard
from syncd.runtime.loopwatch import LoopWatch
from syncd.runtime.supervision import Supervisor
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import Crash, CrashAt
from tests.integration.backends import Backend, Embedded
from tests.integration.http.world import Answer
from tests.integration.spooling.broker import Broker, Line
from tests.integration.webhooks import Seen, World, github, issue

#: The time that senders have, where a test waits for it to pass; and where the broker must take the event within it. Seconds.
SHORT, LONGER = 0.05, 0.5
#: More than any disk and any broker of these tests takes.
PATIENT = 60.0


@dataclass
class Front:
    world: World
    spooling: Spooling
    spool: EmbeddedSpool | None
    line: Line
    server: Server
    client: aiohttp.ClientSession
    crash: CrashAt
    serving: asyncio.Task[None] | None = field(default=None, init=False)

    @property
    def clock(self) -> FrozenClock:
        return self.world.clock

    @property
    def seen(self) -> Seen:
        return self.world.seen

    async def post(self, number: int = 1, registration: str = "reg", *, body: bytes | None = None) -> Answer:
        """Event `d-<number>` of issue `number`."""
        body = issue(number) if body is None else body
        address = f"http://127.0.0.1:{self.server.port}/webhooks/{registration}/events"
        async with self.client.post(address, data=body, headers=github(body, f"d-{number}")) as response:
            return Answer(response.status, response.headers, await response.text())

    async def accepted(self, number: int = 1, registration: str = "reg", **more: Any) -> str:
        """The answer's status field, from an event that was taken."""
        answer = await self.post(number, registration, **more)
        assert answer.status == 200, answer
        return str(answer.json["status"])

    async def readiness(self) -> tuple[int, Component]:
        async with self.client.get(f"http://127.0.0.1:{self.server.port}/readyz") as response:
            [found] = [one for one in (await response.json())["components"] if one["name"] == COMPONENT]
            return response.status, Component(**found)

    async def queued(self) -> list[str]:
        """Deliveries in the queue, in its order: `registration/d-number`."""
        return [named(one.envelope.origin_id) for one in await self.world.queue.peek(QUEUE, limit=10_000)]

    def taken(self) -> list[str]:
        return [named(origin) for origin in self.line.taken]

    async def spooled(self) -> list[str]:
        assert self.spool is not None
        return [named(one.message.envelope.origin_id) for one in await self.spool.read(limit=10_000, at_most=2**40)]

    def serve(self) -> None:
        """The service that drains begins."""
        self.serving = asyncio.create_task(self.spooling.run())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let time pass until it is so. Raises Crash where the world has ended."""
        while not condition():
            if self.crash.dead:
                raise Crash(self.crash.last)
            if self.clock.sleeping:
                await self.clock.advance(0.05)
            if self.serving is None:
                await asyncio.sleep(0)  # the disk answers from its thread
            elif (await asyncio.wait([self.serving], timeout=0.001))[0]:
                self.serving.result()

    async def drained(self) -> None:
        if self.serving is None:
            self.serve()
        await self.until(lambda: self.spooling.messages == 0)


def named(origin: str) -> str:
    return origin.rpartition("/")[0]


@asynccontextmanager
async def opened(
    directory: Path,
    clock: FrozenClock | None = None,
    *,
    line: Line | None = None,
    crash: CrashAt | None = None,
    spool: bool = True,
    max_bytes: int = 64 * 1024 * 1024,
    enqueue_timeout: float = PATIENT,
    spool_timeout: float = PATIENT,
    drain_timeout: float = PATIENT,
    register: bool = True,
    vault: Vault | None = None,
    backend: Backend | None = None,
    **fields: Any,
) -> AsyncIterator[Front]:
    """A world on what is kept in `directory`, by the embedded backend unless another is given; its spool is there as well. `vault`: one that outlives it, where many are opened."""
    clock, line, crash, seen = clock or FrozenClock(), line or Line(), crash or CrashAt(), Seen()
    async with AsyncExitStack() as stack:
        kept = await stack.enter_async_context(
            (backend or Embedded()).opened(
                directory, clock, crash, line=lambda queue: cast("Queue", Broker(queue, line)), dedupes=line.dedupes
            )
        )
        disk = None
        if spool:
            disk = await stack.enter_async_context(
                open_spool(directory, max_bytes=max_bytes, clock=clock, durable=False)
            )
        spooling = Spooling(
            spool=None if disk is None else crash.wrap("spool", disk),
            queue=kept.queue,
            takes=spool,
            name=QUEUE,
            blobs=kept.blobs,
            clock=clock,
            observe=seen,
            spool_timeout=spool_timeout,
            drain_timeout=drain_timeout,
        )
        world = World(
            documents=kept.documents,
            queue=kept.queue,
            blobs=kept.blobs,
            vault=kept.vault if vault is None else crash.wrap("vault", vault),
            clock=clock,
            seen=seen,
            given={"spooling": spooling, "enqueue_timeout": enqueue_timeout},
            **fields,
        )
        if register:
            await world.register()
            await world.connect()
        await spooling.recover()
        server = Server(current=_services(world, spooling), clock=clock, host="127.0.0.1", port=0)
        await server.start()
        stack.push_async_callback(server.stop)
        client = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        front = Front(world, spooling, disk, line, server, client, crash)
        try:
            yield front
        finally:
            if front.serving is not None:
                front.serving.cancel()
                await asyncio.wait([front.serving])


def _services(world: World, spooling: Spooling) -> Callable[[], Services]:
    """As much of a generation as webhooks and probes ask for, with the real board."""
    clock, seen = world.clock, world.seen
    board = HealthBoard(
        version="1",
        roles=("webhooks",),
        supervisor=Supervisor(clock=clock, observe=seen),
        loop=LoopWatch(clock=clock, observe=seen),
    )
    board.phase = "running"
    board.add(spooling.look)
    services = SimpleNamespace(
        accept=world.accept,
        registrations=world.registrations,
        limits=HttpLimits(),
        control=board,
        observe=seen,
        clock=clock,
    )
    return lambda: cast("Services", services)
