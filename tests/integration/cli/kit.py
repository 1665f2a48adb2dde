"""A world whose data directory is locked as a daemon locks it, and the command line beside it on a thread."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.integration.http.test_resources import work_off
from tests.integration.http.test_webhooks import change, send
from tests.integration.http.world import World


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Syncd = Callable[..., Awaitable[Result]]


@asynccontextmanager
async def time_passes(world: World) -> AsyncIterator[None]:
    """The frozen clock moves on whenever somebody waits for it."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(0)
            if world.clock.sleeping:
                await world.clock.advance(0.05)

    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()


async def parked(world: World, count: int) -> list[str]:
    """That many messages that cannot be understood, parked; their ids."""
    await world.connection()
    await world.registration(connectionId="conn-gh")
    for number in range(count):
        await send(world, change(number, operation="odd"))
        await world.clock.advance(1)
    await work_off(world)
    await world.clock.advance(1)
    return [one["id"] for one in (await world.api("GET", "/queues/sync-outbound/parked")).json["items"]]
