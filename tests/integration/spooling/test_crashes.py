"""Killed at every port call between the request and the entity, by way of the spool: what was answered has one effect."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from syncd.flows.accept import QUEUE
from syncd.flows.parked import Filter
from syncd.ports.queue import Message
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import Crash, CrashAt
from tests.integration.backends import Backend
from tests.integration.http.parts import MemoryVault
from tests.integration.spooling.broker import Line
from tests.integration.spooling.world import Front, opened
from tests.integration.webhooks import issue


class Worlds:
    """A directory for each scenario, all alike: the registration and the connection are in it, and their secret in one vault."""

    def __init__(self, root: Path, backend: Backend) -> None:
        self._root = root
        self._backend = backend
        self._made = 0
        self.vault = MemoryVault()

    async def prepare(self) -> None:
        (self._root / "first").mkdir()
        async with opened(self._root / "first", vault=self.vault, backend=self._backend):
            pass

    async def directory(self, clock: FrozenClock, line: Line) -> Path:
        self._made += 1
        directory = self._root / str(self._made)
        await self._backend.copy(self._root / "first", directory, clock, dedupes=line.dedupes)
        return directory


@pytest.fixture
async def worlds(tmp_path: Path, backend: Backend) -> Worlds:
    made = Worlds(tmp_path, backend)
    await made.prepare()
    return made


async def answered(front: Front, number: int, **more: Any) -> bool:
    """Whether the sender heard that it was taken. A daemon that dies answers nothing."""
    try:
        return (await front.post(number, **more)).status == 200
    except aiohttp.ServerDisconnectedError:
        return False


async def hops(front: Front) -> list[Any]:
    """The messages, and each once more as its next hop: as after an outcome whose completion was lost."""
    first = await front.world.lease()
    await front.world.queue.send(QUEUE, [Message(one.envelope.next_hop(), one.body) for one in first])
    return [*first, *await front.world.lease()]


async def test_at_every_crash_point_from_accept_over_spool_and_drain_to_apply_an_answered_event_has_one_effect(
    worlds: Worlds, backend: Backend
) -> None:
    """Without duplicate detection in the queue, so that all rests on the events' own rows."""

    async def scenario(crash: CrashAt) -> None:
        clock, line = FrozenClock(), Line(dedupes=False)
        directory = await worlds.directory(clock, line)
        heard = {1: False, 2: False}
        line.mode = "refuses"
        with suppress(Crash):
            async with opened(
                directory, clock, line=line, crash=crash, register=False, vault=worlds.vault, backend=backend
            ) as front:
                for number in heard:
                    heard[number] = await answered(front, number)
                line.mode = "well"
                await front.drained()
                await asyncio.gather(*(front.world.execute(one) for one in await hops(front)))
        line.mode = "well"
        await clock.advance(120)
        async with opened(
            directory,
            clock,
            line=line,
            register=False,
            vault=worlds.vault,
            backend=backend,
            boot="two",
            sole=bool(crash.n % 2),
        ) as front:
            await front.drained()
            await front.world.work()
            known = {entity.data["data"]["number"]: entity.data["version"] for entity in await front.world.issues()}
            for number, taken in heard.items():
                assert not taken or known[number] == 1, "answered, and not there, or there more than once"
            assert set(known.values()) <= {1}
            for number in heard:
                await front.accepted(number)  # who heard nothing sends again, and so may who did
            await front.drained()
            await front.world.work()
            known = {entity.data["data"]["number"]: entity.data["version"] for entity in await front.world.issues()}
            assert known == {1: 1, 2: 1}
            assert (await front.world.queue.depth(QUEUE)).ready == 0
            assert (await front.world.parked.list(Filter())).items == []
            assert front.spooling.messages == 0

    await backend.at_port_calls(scenario, more_than=40)


async def test_at_every_crash_point_a_large_body_finds_its_way_from_the_spool_through_its_blob(
    worlds: Worlds, backend: Backend
) -> None:
    body = issue(1, title="x" * 80_000)

    async def scenario(crash: CrashAt) -> None:
        clock, line = FrozenClock(), Line()
        directory = await worlds.directory(clock, line)
        line.mode = "refuses"
        heard = False
        with suppress(Crash):
            async with opened(
                directory, clock, line=line, crash=crash, register=False, vault=worlds.vault, backend=backend
            ) as front:
                heard = await answered(front, 1, body=body)
                line.mode = "well"
                await front.drained()
        line.mode = "well"
        await clock.advance(120)
        async with opened(
            directory, clock, line=line, register=False, vault=worlds.vault, backend=backend, boot="two"
        ) as front:
            if not heard:
                await front.accepted(1, body=body)
            await front.drained()
            await front.world.work()
            [entity] = await front.world.issues()
            assert (entity.data["version"], entity.data["data"]["title"]) == (1, "x" * 80_000)

    await backend.at_port_calls(scenario, more_than=12)
