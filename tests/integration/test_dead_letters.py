"""What the broker put aside by itself is drained into parked messages, at every crash point once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from syncd.domain.errors import Unavailable
from syncd.flows.accept import QUEUE
from syncd.flows.maintain_deadletters import DrainDeadLetters
from syncd.flows.parked import Filter
from syncd.ports.deadletters import DeadLetter, DeadLetters
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import Crash, CrashAt
from tests.integration.backends import Azure, Backend
from tests.integration.webhooks import World, github, issue, opened

REASONS = ["MaxDeliveryCountExceeded", "TTLExpiredException", ""]


class Graveyard:
    """Every message of the queue is a dead letter."""

    def __init__(self, world: World, *missing: str) -> None:
        self.world = world
        self.missing = missing

    async def dead_letters(self, queue: str, *, limit: int = 100) -> list[DeadLetter]:
        if queue in self.missing:
            raise Unavailable(f"there is no entity {queue}")
        found = await self.world.queue.lease(queue, min(limit, 2), duration=60.0)
        return [DeadLetter(one, REASONS[int(one.envelope.origin_id.split("/")[1][2:])], "said") for one in found]


def drain(world: World, *queues: str, missing: tuple[str, ...] = ()) -> DrainDeadLetters:
    return DrainDeadLetters(
        dead_letters=Graveyard(world, *missing), queue=world.queue, queues=queues or (QUEUE,), park=world.parked.park
    )


async def die(world: World) -> None:
    await world.register()
    await world.connect()
    for number in range(len(REASONS)):
        await world.send(issue(number), github(issue(number), delivery=f"d-{number}"))


def made_in(root: Path) -> Iterator[Path]:
    """Made before the loop runs into them."""
    paths = [root / str(number) for number in range(200)]
    for path in paths:
        path.mkdir()
    return iter(paths)


async def test_dead_letters_are_parked_with_the_brokers_reason_and_can_be_replayed(tmp_path: Path) -> None:
    async with opened(tmp_path, FrozenClock()) as world:
        await die(world)
        assert await drain(world).drain() == 3
        assert await drain(world).drain() == 0
        parked = (await world.parked.list(Filter())).items
        assert sorted((one.data["bin"], one.data["reason"]) for one in parked) == [
            ("expired", "the broker put it aside (TTLExpiredException: said)"),
            ("poison", "the broker put it aside (MaxDeliveryCountExceeded: said)"),
            ("poison", "the broker put it aside (said)"),
        ]
        for one in parked:
            await world.parked.replay(one.id)
        await world.work()
        assert len(await world.issues()) == 3


async def test_a_queue_that_cannot_be_looked_at_keeps_no_other_from_being_drained(tmp_path: Path) -> None:
    async with opened(tmp_path, FrozenClock()) as world:
        await die(world)
        with pytest.raises(Unavailable, match="no entity gone"):
            await drain(world, "gone", QUEUE, missing=("gone",)).drain()
        assert len((await world.parked.list(Filter())).items) == 3


async def test_at_every_crash_point_each_dead_letter_is_parked_once(tmp_path: Path, backend: Backend) -> None:
    """On Azure they are the broker's own."""
    directories = made_in(tmp_path)

    def draining(world: World) -> DrainDeadLetters:
        letters = cast("DeadLetters", world.queue) if isinstance(backend, Azure) else Graveyard(world)
        return DrainDeadLetters(dead_letters=letters, queue=world.queue, queues=(QUEUE,), park=world.parked.park)

    async def left(world: World, directory: Path) -> int:
        if isinstance(backend, Azure):
            return backend.buried(directory, QUEUE)
        return (await world.queue.depth(QUEUE)).ready

    async def scenario(crash: CrashAt) -> None:
        directory, clock = next(directories), FrozenClock()
        async with opened(directory, clock, backend=backend) as world:
            await die(world)
            if isinstance(backend, Azure):
                backend.bury(directory, QUEUE, *REASONS)
        async with opened(directory, clock, backend=backend, crash=crash) as world:
            with suppress(Crash):
                await draining(world).drain()
        await clock.advance(120)
        async with opened(directory, clock, backend=backend, boot="two") as world:
            while await left(world, directory):
                await draining(world).drain()  # what a network holds up comes with the next pass
            parked = (await world.parked.list(Filter())).items
            assert sorted(one.data["reason"] for one in parked) == sorted(map(told, REASONS))

    await backend.at_port_calls(scenario, more_than=10)


def told(reason: str) -> str:
    return f"the broker put it aside ({reason}: said)" if reason else "the broker put it aside (said)"
