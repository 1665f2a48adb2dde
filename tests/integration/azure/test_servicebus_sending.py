"""What many callers send at once leaves in few batches, over two senders where it is a crowd, and each hears of its own."""

from __future__ import annotations

import asyncio

from tests.integration.azure.servicebus_world import Q, bench, message
from tests.wire.servicebus.refusal import ARGUMENT


async def test_a_batch_that_is_refused_for_one_message_is_sent_again_one_by_one() -> None:
    async with bench() as world:
        names = [f"m{number}" for number in range(8)]
        world.bus.fail_next("send", ARGUMENT, times=2)
        answers = await asyncio.gather(*(world.send(name) for name in names), return_exceptions=True)
        refused = [name for name, answer in zip(names, answers, strict=True) if answer is not None]
        # The batch and one alone; two alone, where each had a flight of its own.
        assert 1 <= len(refused) <= 2
        assert await world.drained(len(names) - len(refused)) == set(names) - set(refused)
        assert not world.events("broker_unreachable"), "a message was refused, and not the connection"


async def test_many_at_once_are_all_stored_and_each_hears_so() -> None:
    async with bench() as world:
        names = {f"m{number}" for number in range(400)}
        for _ in range(3):
            await asyncio.gather(*(world.send(name) for name in names))
        stored = [row.properties["originId"] for row in world.bus.queue(Q).messages]
        assert len(stored) == 1200
        assert set(stored) == names


async def test_what_cannot_be_written_fails_for_its_sender_alone() -> None:
    async with bench() as world:
        broken = world.queue.send(Q, [message("\udcff")])
        answers = await asyncio.gather(world.send("a"), broken, world.send("b"), return_exceptions=True)
        assert [type(answer).__name__ for answer in answers] == ["NoneType", "Invalid", "NoneType"]
        assert await world.drained(2) == {"a", "b"}
