"""An upgrade without a pause: replicas of this release and of the next one share the work, and nothing is lost, doubled or set aside."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from syncd import __version__
from syncd.adapters.azure.cosmos.checking import open_cosmos
from syncd.adapters.azure.cosmos.client import Options
from syncd.adapters.azure.servicebus.opening import open_service_bus
from syncd.adapters.embedded.clock import SystemClock
from syncd.domain.collections import COLLECTIONS
from syncd.domain.messages import Envelope
from syncd.domain.secrets import Secret
from syncd.ports.queue import Message
from tests.acceptance import releases
from tests.acceptance.process import Daemon, eventually
from tests.acceptance.reading import logged, parked, readiness
from tests.acceptance.services import share
from tests.acceptance.syncing import System, begin, config, connect, edit, entities, register_hook
from tests.acceptance.test_replicas import Sender, assert_all_arrived_once, beyond, ended_anywhere

pytestmark = [pytest.mark.azure, pytest.mark.slow, pytest.mark.timeout(600)]

#: The SDK asks for it, and the first answer runs a program: not on the event loop.
PLATFORM = platform.platform()
REPLICAS = 3
Q = "sync-outbound"


@asynccontextmanager
async def replicas(directory: Path) -> AsyncIterator[list[Daemon]]:
    """Of this release."""
    data = [directory / f"data-{number}" for number in range(REPLICAS)]
    share(*data)
    settings = {**config(directory), **releases.ENVIRONMENT, "SYNCD_DAEMON__LAME_DUCK": "1"}
    daemons = [
        Daemon(one, command=releases.this(), environment={**settings, "SYNCD_DAEMON__REPLICA": one.name})
        for one in data
    ]
    async with AsyncExitStack() as stack:
        for daemon in daemons:
            stack.push_async_callback(daemon.close)
        await asyncio.gather(*(daemon.start(within=90) for daemon in daemons))
        yield daemons


async def upgrade(daemon: Daemon, journal: Path) -> None:
    assert await daemon.terminate() == 0
    daemon.command = releases.following(journal)
    await daemon.start(within=90)
    assert (await readiness(daemon))["version"] == releases.NEXT


async def ask_the_next(environment: dict[str, str], names: Sequence[str]) -> None:
    """Messages that only the next release knows, as one of its replicas sends them."""
    sent = [
        Message(
            Envelope(kind=releases.KIND, origin_id=name, schema=releases.SCHEMA, newer={releases.SHADE: releases.BLUE})
        )
        for name in names
    ]
    async with open_service_bus(
        connection_string=environment["SERVICE_BUS_CONNECTION_STRING"], queues=[Q], clock=SystemClock()
    ) as queue:
        await queue.send(Q, sent)


async def test_while_replicas_are_upgraded_one_by_one_under_load_nothing_is_lost_doubled_or_set_aside(
    tmp_path: Path,
) -> None:
    journal = tmp_path / "journal"
    asked: list[str] = []

    async def ask(count: int = 5) -> None:
        names = [f"shading-{len(asked) + number}" for number in range(count)]
        asked.extend(names)
        await ask_the_next(first.environment, names)

    async with (
        System(latency=0.01).at_work() as crm,
        System(latency=0.01).at_work() as mail,
        replicas(tmp_path) as daemons,
    ):
        first, second, third = daemons
        crm.fill(100)
        await connect(first, "crm", crm)
        await connect(second, "mail", mail)
        await register_hook(third, "hook", "crm")
        sender = Sender(daemons, crm)
        async with sender.sending():
            pulls = [await begin(first, "crm")]
            await ask()  # before there is anybody who knows them
            await beyond(sender, 5)
            for number, daemon in enumerate(daemons):
                await upgrade(daemon, journal)
                await ask()
                pulls.append(await begin(daemon, "crm"))
                await beyond(sender, len(sender.accepted) + 10)
                # People work on both releases, on what either of them wrote.
                for at, who in enumerate(daemons):
                    entity = (await entities(who))[10 * number + at]
                    (await edit(who, entity, {"mail": f"edited-{number}-{at}@example.com"})).ok()
        for one in pulls:
            await ended_anywhere(first, one)
        await assert_all_arrived_once(first, crm, mail, sender)

        async def shaded() -> bool:
            return {one["origin"] for one in releases.noted(journal, "message")} == set(asked)

        await eventually(shaded, within=60, what="the messages of the next release")
        assert {one["shade"] for one in releases.noted(journal, "message")} == {releases.BLUE}
        for queue in ("sync-outbound", "sync-inbound"):
            assert await parked(first, queue) == []
        assert await lost_shades(first.environment, journal) == []
        for daemon in daemons:
            assert [one["version"] for one in logged(daemon, "ready")] == [__version__, releases.NEXT]
            for event in ("handler_bug", "service_failed", "duty_failed"):
                assert logged(daemon, event) == [], event


async def lost_shades(environment: dict[str, str], journal: Path) -> list[str]:
    """Documents that the next release wrote, and that have lost its field to a rewrite by this one."""
    written = {(one["collection"], one["partition"], one["id"]) for one in releases.noted(journal, "document")}
    assert len(written) > 100
    lost = []
    async with open_cosmos(
        endpoint=environment["COSMOS_ENDPOINT"],
        credential=Secret(environment["COSMOS_KEY"]).reveal(),
        database=environment["COSMOS_DATABASE"],
        clock=SystemClock(),
        options=Options(enable_endpoint_discovery=False, connection_verify=False),
    ) as documents:
        for name, partition, identifier in sorted(written):
            found = await documents.get(COLLECTIONS[name], partition, identifier)
            if found is not None and releases.SHADE not in found.data:
                lost.append(f"{name} {identifier}")
    return lost
