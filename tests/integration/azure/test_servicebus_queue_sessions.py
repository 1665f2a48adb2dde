"""An entity that requires sessions, as an existing deployment may have one, is served like any other."""

from __future__ import annotations

import json

import pytest

from syncd.domain.errors import Unavailable
from syncd.ports.queue import Complete, Message, Next
from tests.integration.azure.servicebus_world import Bench, Q, bench, message
from tests.wire.servicebus import QueueSpec


def sessioned(lock: float = 60.0) -> QueueSpec:
    return QueueSpec(name=Q, requires_session=True, lock_duration=lock)


async def _send(world: Bench, *names: str) -> None:
    for name in names:
        body = json.dumps({"integrationId": name.partition("-")[0]}).encode()
        await world.queue.send(Q, [message(name, body)])


async def test_messages_go_out_and_come_back_by_the_session_of_their_integration() -> None:
    async with bench(specs=[sessioned()]) as world:
        await _send(world, "hub-1", "crm-1", "hub-2")
        assert [row.session_id for row in world.bus.queue(Q).messages] == ["hub", "crm", "hub"]
        assert await world.drained(3) == {"hub-1", "crm-1", "hub-2"}
        assert len(world.bus.queue(Q)) == 0


async def test_the_next_hop_stays_in_its_session() -> None:
    async with bench(specs=[sessioned()]) as world:
        await _send(world, "hub-1")
        [delivery] = await world.lease(wait=10.0)
        hop = Message(delivery.envelope.next_hop(), b"no json")
        assert await world.queue.settle([Next(delivery, hop)]) == [True]
        assert [row.session_id for row in world.bus.queue(Q).messages] == ["hub"]
        [again] = await world.lease(wait=10.0)
        assert (again.body, again.envelope.hop, again.deliveries) == (b"no json", 1, 1)


async def test_the_lock_of_a_session_is_renewed_while_one_of_its_messages_is_worked_on() -> None:
    async with bench(specs=[sessioned(lock=2.0)]) as world:
        await _send(world, "hub-1")
        [delivery] = await world.lease(wait=10.0)
        await world.bus.until("management", 2, operation="renew-session-lock")
        assert not delivery.lease.lost
        assert await world.queue.settle([Complete(delivery)]) == [True]


@pytest.mark.parametrize("wait", [0.0, 3.0])
async def test_without_a_free_session_a_lease_is_empty_and_no_failure(wait: float) -> None:
    async with bench(specs=[sessioned()]) as world:
        assert await world.lease(wait=wait) == []
        await _send(world, "hub-1")
        assert await world.drained(1) == {"hub-1"}


async def test_a_broken_connection_loses_the_session_and_its_messages_come_again() -> None:
    async with bench(specs=[sessioned()]) as world:
        await _send(world, "hub-1")
        [delivery] = await world.lease(wait=10.0)
        world.bus.drop_connections()
        with pytest.raises(Unavailable):
            await world.queue.settle([Complete(delivery)])
        assert await world.queue.settle([Complete(delivery)]) == [False]
        assert delivery.lease.lost
        assert await world.drained(1) == {"hub-1"}
