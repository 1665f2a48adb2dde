"""Looking into queues on Service Bus: through the receivers that are there, and counted by the service where it may be asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from syncd.adapters.azure.servicebus.browsing import COUNTED
from syncd.adapters.azure.servicebus.opening import open_service_bus
from syncd.adapters.azure.servicebus.queue import ServiceBusQueue
from syncd.adapters.embedded.clock import SystemClock
from syncd.domain.errors import Unavailable
from syncd.ports.queue import Complete, Message
from tests.integration.azure.servicebus_world import PATIENCE, Q, bench, message
from tests.wire.servicebus import QueueSpec, ServiceBusDouble, service_bus
from tests.wire.servicebus.administration import Administration, administration

#: Each test connects often.
pytestmark = pytest.mark.usefixtures("hurried_sdk")
LANES = (f"{Q}-high", Q, f"{Q}-low")
OURS = {"originId": "a", "kind": "t"}


@asynccontextmanager
async def replica(
    bus: ServiceBusDouble, *, admin: Administration | None = None, policy: str | None = None, unused: float = 60.0
) -> AsyncIterator[ServiceBusQueue]:
    """With all lanes; `admin`: where it counts, by the rights of `policy`."""
    counted = admin.connection_string_for(policy) if admin and policy else admin.connection_string if admin else None
    async with open_service_bus(
        connection_string=bus.connection_string,
        queues=[Q],
        clock=SystemClock(),
        patience=replace(PATIENCE, unused=unused, count=20.0),
        administration=counted,
        ca_file=admin.ca_file if admin else None,
    ) as queue:
        yield queue


@asynccontextmanager
async def laned(names: Sequence[str] = LANES) -> AsyncIterator[ServiceBusDouble]:
    async with service_bus(queues=[QueueSpec(name=name) for name in names]) as bus:
        yield bus


def connections(bus: ServiceBusDouble) -> int:
    return len(bus.happened("open"))


async def test_looking_takes_no_connection_of_its_own_where_messages_are_taken() -> None:
    async with laned() as bus, replica(bus) as queue:
        bus.put(Q, b"{}", b"{}", properties=OURS)
        [one] = await queue.lease(Q, 1, duration=30.0)
        before = connections(bus)
        for _ in range(3):
            depth = await queue.depth(Q)
            assert (depth.ready, depth.leased, depth.at_least) == (1, 1, False)
            assert sorted(peeked.state for peeked in await queue.peek(Q)) == ["leased", "ready"]
        assert connections(bus) == before == len(LANES)
        assert await queue.settle([Complete(one)]) == [True]


async def test_a_replica_that_takes_nothing_connects_once_to_look() -> None:
    async with laned() as bus, replica(bus) as queue:
        for _ in range(2):
            await asyncio.gather(queue.depth(Q), queue.peek(Q), queue.depth(Q))
        assert connections(bus) == len(LANES)


async def test_a_replica_that_takes_nothing_leaves_when_nobody_looks_any_more() -> None:
    async with laned() as bus, replica(bus, unused=0.1) as queue:
        await queue.depth(Q)
        await bus.until("close", len(LANES))
        bus.put(Q, b"{}", properties=OURS)
        assert (await queue.depth(Q)).ready == 1


async def test_a_lane_that_is_not_there_is_tried_once() -> None:
    async with laned([Q]) as bus, replica(bus) as queue:
        for _ in range(3):
            await queue.depth(Q)
            await queue.peek(Q)
            await queue.dead_letters(Q)
        refused = [line.facts["entity"] for line in bus.happened("refused", operation="attach")]
        assert sorted(refused) == sorted(
            name for lane in (LANES[0], LANES[2]) for name in (lane, f"{lane}/$DeadLetterQueue")
        )


async def test_looking_neither_ends_a_long_poll_nor_waits_for_it() -> None:
    async with laned() as bus, replica(bus) as queue:
        waiting = asyncio.create_task(queue.lease(Q, 1, duration=30.0, wait=60.0))
        await bus.until("attach", len(LANES), link="Consumer")
        for _ in range(5):
            assert (await queue.depth(Q)).ready == 0
        assert not waiting.done()
        bus.put(Q, b"{}", properties=OURS)
        [delivery] = await waiting
        assert delivery.deliveries == 1
        assert await queue.settle([Complete(delivery)]) == [True]


async def test_dead_letters_are_looked_for_through_connections_that_stay_while_somebody_comes() -> None:
    async with laned() as bus, replica(bus) as queue:
        for _ in range(2):
            assert await queue.dead_letters(Q) == []
        assert connections(bus) == len(LANES)


async def test_the_connections_to_dead_letters_are_closed_where_nobody_comes_any_more() -> None:
    async with laned() as bus, replica(bus, unused=0.1) as queue:
        assert await queue.dead_letters(Q) == []
        await bus.until("close", len(LANES))


# Counting

MANY = COUNTED + 300


def fill(bus: ServiceBusDouble, count: int) -> None:
    bus.put(Q, *[b"{}"] * count, properties=OURS)


async def test_without_the_right_to_manage_a_deep_queue_is_said_to_hold_at_least_what_was_seen() -> None:
    async with laned() as bus, administration(bus) as admin, replica(bus, admin=admin, policy="listen") as queue:
        fill(bus, MANY)
        for _ in range(2):
            depth = await queue.depth(Q)
            assert depth.at_least
            assert COUNTED <= (depth.ready or 0) <= MANY
        assert len(admin.faults.log) <= len(LANES), "who was refused does not ask again"


async def test_with_the_right_to_manage_everything_is_counted() -> None:
    async with laned() as bus, administration(bus) as admin, replica(bus, admin=admin) as queue:
        depth = await queue.depth(Q)
        assert (depth.ready, depth.leased, depth.scheduled, depth.oldest_age, depth.at_least) == (0, 0, 0, None, False)
        assert connections(bus) == 0, "an empty queue need not be looked at"
        fill(bus, MANY)
        later = SystemClock().now() + 3600
        await queue.send(Q, [Message(message("later").envelope, b"{}", due=later)])
        held = await queue.lease(Q, 2, duration=30.0)
        depth = await queue.depth(Q)
        assert (depth.ready, depth.leased, depth.scheduled) == (MANY - len(held), len(held), 1)
        assert depth.oldest_age is not None
        assert not depth.at_least
        assert (await queue.depth(Q, at_most=10)).ready == 10


async def test_a_service_that_does_not_count_just_now_is_not_waited_for_twice() -> None:
    async with laned() as bus, administration(bus) as admin, replica(bus, admin=admin) as queue:
        admin.faults.always(503)
        fill(bus, 3)
        for _ in range(2):
            depth = await queue.depth(Q)
            assert (depth.ready, depth.at_least) == (3, False)
        assert len(admin.faults.log) <= len(LANES)


async def test_dead_letters_are_not_looked_for_where_the_service_says_there_are_none() -> None:
    async with laned() as bus, administration(bus) as admin, replica(bus, admin=admin) as queue:
        assert await queue.dead_letters(Q) == []
        assert connections(bus) == 0


async def test_what_requires_sessions_says_no_figure_rather_than_a_wrong_one() -> None:
    async with bench(specs=[QueueSpec(name=Q, requires_session=True)]) as world:
        await world.send("a")
        assert (await world.queue.depth(Q)).ready is None
        [held] = await world.lease(wait=10.0)
        depth = await world.queue.depth(Q)
        assert (depth.ready, depth.leased, depth.scheduled) == (None, 1, None)
        with pytest.raises(Unavailable, match="requires sessions"):
            await world.queue.peek(Q)
        assert await world.queue.settle([Complete(held)]) == [True]
