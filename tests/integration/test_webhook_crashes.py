from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from syncd.flows.accept import QUEUE
from syncd.flows.audit_rows import body_of
from syncd.flows.parked import Filter
from syncd.ports.queue import Message
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import Crash, CrashAt
from tests.integration.backends import Backend
from tests.integration.webhooks import World, github, issue, opened


def made_in(root: Path) -> Iterator[Path]:
    """One directory after the other, made before the loop runs into them."""
    paths = [root / str(number) for number in range(400)]
    for path in paths:
        path.mkdir()
    return iter(paths)


async def test_at_every_crash_point_and_with_two_hops_at_once_the_event_has_one_effect(
    tmp_path: Path, backend: Backend
) -> None:
    directories = made_in(tmp_path)
    body = issue(title="once")

    async def scenario(crash: CrashAt) -> None:
        directory = next(directories)
        clock = FrozenClock()
        async with opened(directory, clock, backend=backend) as world:
            await world.register()
            await world.connect()
            await world.connect("mirror", "push")
        answered = None
        async with opened(directory, clock, backend=backend, crash=crash, push_queue="pushes") as world:
            try:
                answered = await world.send(body, github(body))
                await asyncio.gather(*(world.execute(one) for one in await hops(world)))
            except Crash:
                pass
        await clock.advance(120)
        fields = {"boot": "two", "sole": bool(crash.n % 2), "push_queue": "pushes"}
        async with opened(directory, clock, backend=backend, **fields) as world:
            again = await world.send(body, github(body))
            # Where the queue does not tell, only a processed row does (G2).
            told = world.queue.capabilities.dedupe_window
            assert answered is None or again.status == "duplicate" or not told, "what was answered is never taken twice"
            await world.work()
            row = await world.row(again.event_id)
            assert row["status"] == "processed"
            assert row["effect"] in ("created", "unchanged")
            [entity] = await world.issues()
            assert (entity.data["version"], entity.data["data"]["title"]) == (1, "once")
            assert len(await world.everything()) == 2
            pushes = [one.envelope.origin_id for one in await world.queue.peek("pushes")]
            assert pushes == [f"{entity.id}~mirror~1"]
            assert (await world.queue.depth(QUEUE)).ready == 0
            assert (await world.parked.list(Filter())).items == []

    async def hops(world: World) -> list[Any]:
        """The message, and the same once more as its next hop: as after an outcome whose completion was lost."""
        [first] = await world.lease()
        await world.queue.send(QUEUE, [Message(first.envelope.next_hop(), first.body)])
        return [first, *await world.lease()]

    await backend.at_port_calls(scenario, more_than=20)


async def test_at_every_crash_point_what_is_not_understood_is_parked_once_and_replayed_once(
    tmp_path: Path, backend: Backend
) -> None:
    directories = made_in(tmp_path)
    body = b'{"issue": {}}'

    async def scenario(crash: CrashAt) -> None:
        directory = next(directories)
        clock = FrozenClock()
        async with opened(directory, clock, backend=backend) as world:
            await world.register()
            await world.connect()
            accepted = await world.send(body, github(body))
        async with opened(directory, clock, backend=backend, crash=crash) as world:
            try:
                await world.work()
                [parked] = (await world.parked.list(Filter())).items
                await world.parked.edit(parked.id, issue(title="repaired"))
                await world.parked.replay(parked.id)
                await world.work()
            except Crash:
                pass
        await clock.advance(120)
        async with opened(directory, clock, backend=backend, boot="two") as world:
            await world.work()
            [parked] = (await world.parked.list(Filter(statuses=("parked", "replaying", "replayed")))).items
            if parked.data["status"] == "parked" and body_of(parked.data) == body:
                await world.parked.edit(parked.id, issue(title="repaired"))
            await world.parked.replay(parked.id)
            await world.work()
            row = await world.row(accepted.event_id)
            assert row["status"] == "processed"
            [entity] = await world.issues()
            assert (entity.data["version"], entity.data["data"]["title"]) == (1, "repaired")

    await backend.at_port_calls(scenario, more_than=20)
