"""An account of its own for each test, through the real SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from syncd.adapters.azure.cosmos import CosmosDocuments, Options, check_cosmos, open_cosmos
from syncd.domain.collections import ENTITIES
from syncd.ports.observe import Observe, ignore
from syncd.testing.clock import FrozenClock
from tests.wire.cosmos import KEY, CosmosDouble

P = "tenant-1:issue"
QUICK = Options(enable_endpoint_discovery=False, timeout=5.0)


@asynccontextmanager
async def account(clock: FrozenClock) -> AsyncIterator[CosmosDouble]:
    """With everything made that syncd needs."""
    async with CosmosDouble(clock=clock) as double:
        place = {"endpoint": double.endpoint, "credential": KEY, "database": "syncd", "clock": clock}
        assert await check_cosmos(**place, options=QUICK, create=True) == []
        yield double


def opened(
    service: CosmosDouble, clock: FrozenClock, *, options: Options = QUICK, key: str = KEY, observe: Observe = ignore
) -> AbstractAsyncContextManager[CosmosDocuments]:
    return open_cosmos(
        endpoint=service.endpoint, credential=key, database="syncd", clock=clock, options=options, observe=observe
    )


@asynccontextmanager
async def warm(service: CosmosDouble, clock: FrozenClock) -> AsyncIterator[CosmosDocuments]:
    """What a process asks once is asked, and not among the calls any more."""
    async with opened(service, clock) as documents:
        await documents.get(ENTITIES, P, "warm")
        service.calls.clear()
        yield documents


async def advancing(clock: FrozenClock, task: asyncio.Task[object], step: float = 0.1) -> None:
    """Let time pass whenever the task waits for it."""
    while not task.done():
        if clock.sleeping:
            await clock.advance(step)
        else:
            await asyncio.wait({task}, timeout=0.01)
