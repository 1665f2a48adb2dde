"""Worlds that end at a port call, each beginning from the same state, and the ones that come after them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncd.flows.parked import Filter
from syncd.ports.queue import Message
from syncd.settings import Settings
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import Crash, CrashAt
from tests.integration.backends import Backend
from tests.integration.syncing.systems import Memory, Telling, shared
from tests.integration.syncing.world import World, opened

Act = Callable[[World], Awaitable[object]]
Adjust = Callable[[Settings], Settings]


@dataclass
class Stage:
    """`systems` run for the whole test; what they hold and what the store holds begins anew for each world."""

    root: Path
    systems: dict[str, Telling]
    clock: FrozenClock
    memories: dict[str, Memory]
    backend: Backend
    adjust: Adjust

    async def at_port_calls(self, act: Act, check: Act, *, more_than: int) -> None:
        """More worlds than that end in `act`. In the world after it the work is ended as it is after a kill -9: leases run out,
        maintenance looks at what is owed, and `check` sees the result."""
        numbers = iter(range(10_000))

        async def scenario(crash: CrashAt) -> None:
            directory = self.root / f"world-{next(numbers)}"
            clock = FrozenClock(self.clock.now())
            await self.backend.copy(self.root / "stage", directory, clock)
            for name, double in self.systems.items():
                double.restore(self.memories[name], clock)
            async with self._opened(directory, clock, crash=crash) as world:
                await _until_dead(act(world), crash)
            await clock.advance(130)
            async with self._opened(directory, clock, boot="two") as world:
                for _ in range(5):
                    await world.work()
                    await clock.advance(130)
                    if not await world.remind() + await world.plan.revive():
                        break
                await check(world)
            await asyncio.to_thread(shutil.rmtree, directory)

        await self.backend.at_port_calls(scenario, more_than=more_than)

    def _opened(self, directory: Path, clock: FrozenClock, **fields: Any) -> AbstractAsyncContextManager[World]:
        return opened(directory, clock, backend=self.backend, adjust=self.adjust, **fields)


def small_pages(settings: Settings) -> Settings:
    return settings.model_copy(update={"sync": settings.sync.model_copy(update={"page_size": 2})})


@asynccontextmanager
async def staged(
    root: Path, backend: Backend, prepare: Act, *, adjust: Adjust = small_pages, **systems: Telling
) -> AsyncIterator[Stage]:
    """`prepare` makes the state that each world begins from."""
    clock = next(iter(systems.values())).clock
    (root / "stage").mkdir()
    async with opened(root / "stage", clock, backend=backend, adjust=adjust) as world:
        await prepare(world)
    memories = {name: double.remember() for name, double in systems.items()}
    yield Stage(root, systems, clock, memories, backend, adjust)


async def _until_dead(acting: Awaitable[object], crash: CrashAt) -> None:
    try:
        await acting
    except (Crash, BaseExceptionGroup):  # a group of Crashes where several were at work
        if not crash.dead:
            raise


async def with_two_hops_at_once(world: World, *, most: int = 200) -> None:
    """Work until nothing is due, each message together with its next hop: as after an outcome whose completion was lost."""
    twice: set[str] = set()
    for _ in range(most):
        deliveries = await world.lease()
        fresh = [one for one in deliveries if one.envelope.origin_id not in twice]
        for one in fresh:
            twice.add(one.envelope.origin_id)
            await world.ports.queue.send(one.queue, [Message(one.envelope.next_hop(), one.body)])
        if fresh:
            deliveries += await world.lease(4)
        if not deliveries:
            wait = await world.waiting()
            if wait is None or wait > 100:
                return
            await world.clock.advance(max(wait, 0.001))
            continue
        await world.execute(*deliveries)
    raise AssertionError("still busy")


async def in_step(world: World, crm: Telling, mail: Telling, *, count: int) -> None:
    """Every entity is once at the CRM and once at the other system; or, where that cannot tell whether it made it, at most once and
    waiting for a person."""
    entities = await world.entities()
    assert len(entities) == count
    assert {one.data["externalIds"]["crm"]: shared(one.data["data"]) for one in entities} == crm.live()
    there = mail.live()
    blind = mail.manners.creates == "blind"
    unknown = 0
    for one in entities:
        link = one.data["links"]["mail"]
        identifier = one.data["externalIds"].get("mail")
        if identifier is None:
            assert blind
            assert link["held"]["bin"] == "outcome_unknown"
            unknown += 1
        else:
            assert there.pop(identifier) == shared(one.data["data"])
            assert "dirtySince" not in one.data
    assert len(there) <= unknown, "nothing is there twice"
    parked = (await world.flows.parked.list(Filter())).items
    assert {one.data["bin"] for one in parked} <= {"outcome_unknown"}
    assert len(parked) >= unknown  # more where it was parked, and was seen there since
