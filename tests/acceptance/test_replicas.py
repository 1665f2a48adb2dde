"""Three daemons of one deployment: restarted one after another under load, one of them killed, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from tests.acceptance.process import Daemon, eventually
from tests.acceptance.reading import logged, pages, parked, readiness
from tests.acceptance.services import share
from tests.acceptance.syncing import TYPE, System, begin, config, connect, in_step, register_hook, signed_event, task

pytestmark = [pytest.mark.azure, pytest.mark.slow, pytest.mark.timeout(400)]

REPLICAS = 3
#: Seconds from "not ready" to "does not listen": far more than lies between a look at readiness and the webhook that follows it.
LAME_DUCK = 5.0


@asynccontextmanager
async def replicas(directory: Path) -> AsyncIterator[list[Daemon]]:
    data = [directory / f"data-{number}" for number in range(REPLICAS)]
    share(*data)
    settings = config(directory)
    daemons = [
        Daemon(
            one, environment={**settings, "SYNCD_DAEMON__REPLICA": one.name, "SYNCD_DAEMON__LAME_DUCK": f"{LAME_DUCK}"}
        )
        for one in data
    ]
    async with AsyncExitStack() as stack:
        for daemon in daemons:
            stack.push_async_callback(daemon.close)
        await asyncio.gather(*(daemon.start(within=90) for daemon in daemons))
        yield daemons


class Sender:
    """The system's webhooks as its balancer spreads them: to replicas that say they are ready, and again where no 2xx came."""

    def __init__(self, daemons: Sequence[Daemon], system: System) -> None:
        self.daemons = daemons
        self.system = system
        self.accepted: list[str] = []
        self.turned_away = 0
        """Webhooks for which nobody listened although the replica had just said that it is ready."""
        self._turn = 0

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        at_work = asyncio.create_task(self._send(stop))
        try:
            yield
        finally:
            stop.set()
            await at_work

    async def _send(self, stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            identifier = self.system.put(TYPE, 10_000 + number)
            await self._deliver(f"d-{number}", str(identifier))
            number += 1
            await asyncio.sleep(0.05)  # the rate of the load

    async def _deliver(self, delivery: str, identifier: str) -> None:
        headers, body = signed_event(self.system, identifier, delivery=delivery)
        while True:
            self._turn += 1
            daemon = self.daemons[self._turn % len(self.daemons)]
            if await self._is_ready(daemon):
                try:
                    path = "/webhooks/hook/events"
                    answer = await daemon.request("POST", path, body=body, headers=headers, timeout=10)
                except TimeoutError:
                    pass  # it was taken or not: sent again
                except aiohttp.ClientError:
                    self.turned_away += 1
                else:
                    if answer.status == 200:
                        self.accepted.append(delivery)
                        return
                    assert answer.status == 503, answer  # the broker took longer than it is waited for
            await asyncio.sleep(0.02)  # a balancer's pause

    async def _is_ready(self, daemon: Daemon) -> bool:
        with suppress(aiohttp.ClientError, OSError):
            return (await daemon.request("GET", "/readyz", timeout=5)).status == 200
        return False


async def test_a_rolling_restart_and_a_kill_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    async with (
        System(latency=0.01).at_work() as crm,
        System(latency=0.01).at_work() as mail,
        replicas(tmp_path) as daemons,
    ):
        first, second, third = daemons
        crm.fill(200)
        await connect(first, "crm", crm)
        await connect(second, "mail", mail)
        await register_hook(third, "hook", "crm")
        sender = Sender(daemons, crm)
        async with sender.sending():
            identifier = await begin(first, "crm")
            for daemon in daemons:
                sent = len(sender.accepted)
                assert await daemon.terminate() == 0
                await daemon.start(within=90)
                await beyond(sender, sent + 5)
            assert sender.turned_away == 0, "who drains says so before it stops to listen"
            again = await begin(second, "crm")
            await beyond(sender, len(sender.accepted) + 5)
            await third.kill9()
            await beyond(sender, len(sender.accepted) + 5)
            await third.start(within=90)
            await beyond(sender, len(sender.accepted) + 5)
        for one in (identifier, again):
            await ended_anywhere(first, one)
        await assert_all_arrived_once(first, crm, mail, sender)
        assert crm.writes() == []
        assert await parked(first) == []
        for daemon in daemons:
            assert (await readiness(daemon))["status"] == "ready"
            for event in ("handler_bug", "service_failed"):
                assert logged(daemon, event) == [], event


async def beyond(sender: Sender, count: int) -> None:
    async def enough() -> bool:
        return len(sender.accepted) >= count

    await eventually(enough, within=60, what=f"{count} webhooks accepted")


async def assert_all_arrived_once(daemon: Daemon, crm: System, mail: System, sender: Sender) -> None:
    await in_step(daemon, within=120)
    assert mail.contents() == crm.contents()
    assert set(mail.made().values()) == {1}, "each is created once"
    rows = await pages(daemon, "/webhooks/hook/events")
    assert len(rows) == len(sender.accepted) == len(set(sender.accepted))
    assert {row["status"] for row in rows} == {"processed"}


async def ended_anywhere(daemon: Daemon, identifier: str) -> None:
    async def ended() -> bool:
        return (await task(daemon, identifier))["status"] == "succeeded"

    await eventually(ended, within=120, what="the pull")
