"""What Service Bus put aside by itself, or somebody else did, turns up among the parked messages, and is gone from the broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.servicebus.aio import ServiceBusClient

from syncd.adapters.azure.servicebus.opening import open_service_bus
from syncd.adapters.azure.servicebus.queue import ServiceBusQueue
from syncd.adapters.embedded.store import open_store
from syncd.domain.errors import Bin
from syncd.flows.maintain import Duty, Maintain
from syncd.flows.maintain_deadletters import DrainDeadLetters
from syncd.flows.parked import Filter, Parked
from syncd.ports.deadletters import DeadLetter
from syncd.ports.documents import Document
from syncd.ports.observe import ignore
from syncd.ports.queue import Complete, Delivery, Release
from tests.integration.azure.servicebus_world import PATIENCE, Machine, Q, message
from tests.wire.servicebus import QueueSpec, ServiceBusDouble, service_bus

#: Each test connects often.
pytestmark = pytest.mark.usefixtures("hurried_sdk")
LOCK = 30.0
HIGH = f"{Q}-high"


@dataclass
class World:
    bus: ServiceBusDouble
    queue: ServiceBusQueue
    parked: Parked
    machine: Machine

    async def maintained(self) -> int:
        """How many a pass kept."""
        drain = DrainDeadLetters(
            dead_letters=self.queue, queue=self.queue, queues=("nowhere", Q), park=self.parked.park
        )
        result = await Maintain(duties=[Duty("dead_letters", drain.drain)], observe=ignore).run()
        assert result.status == "succeeded", result.reason
        return int(result.evidence["done"]["dead_letters"])

    async def waiting(self, *statuses: str) -> list[Document]:
        return (await self.parked.list(Filter(statuses=statuses or ("parked", "replaying")))).items

    async def kept(self, count: int) -> None:
        """A pass ends where nothing comes in time, and the next goes on."""
        while count > 0:
            count -= await self.maintained()

    async def lease(self) -> list[Delivery]:
        return await self.queue.lease(Q, 10, duration=LOCK, wait=60.0)

    async def dead_letter(self, limit: int = 100) -> DeadLetter:
        while not (letters := await self.queue.dead_letters(Q, limit=limit)):
            pass
        [letter] = letters
        return letter

    async def die_of_locks(self, *names: str) -> None:
        """Workers take them, and die with them, until the broker has enough."""
        await self.queue.send(Q, [message(name) for name in names])
        while len(self.dead()) < len(names):
            for delivery in await self.lease():
                self.queue.abandon(delivery)
            self.machine.let_pass(LOCK + 1.0, self.bus)

    def dead(self, entity: str = Q) -> Sequence[str | None]:
        return [row.dead_letter_reason for row in self.bus.queue(entity).dead_letters]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path) as world:
        yield world


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[World]:
    machine = Machine()
    clock = machine.clock()
    specs = [QueueSpec(name=name, lock_duration=LOCK, max_delivery_count=2, ttl=600.0) for name in (Q, HIGH)]
    async with (
        service_bus(queues=specs) as bus,
        open_store(directory, clock=clock, durable=False) as store,
        open_service_bus(
            connection_string=bus.connection_string, queues=[Q, "nowhere"], clock=clock, patience=PATIENCE
        ) as queue,
    ):
        parked = Parked(documents=store.documents, queue=queue, clock=clock, observe=ignore)
        yield World(bus, queue, parked, machine)


async def test_what_was_delivered_too_often_is_parked_with_the_reason_and_can_be_replayed_or_dropped(
    world: World,
) -> None:
    await world.die_of_locks("a", "b")
    assert world.dead() == ["MaxDeliveryCountExceeded"] * 2
    await world.kept(2)
    assert world.dead() == []
    first, second = sorted(await world.waiting(), key=lambda one: str(one.data["envelope"]["originId"]))
    for one in (first, second):
        assert one.data["bin"] == "poison"
        assert "MaxDeliveryCountExceeded: Message could not be consumed after 2 delivery" in one.data["reason"]
    await world.parked.replay(first.id)
    await world.parked.drop(second.id)
    [again] = await world.lease()
    assert (again.envelope.origin_id, again.envelope.hop, again.deliveries) == ("a", 1, 1)
    assert await world.queue.settle([Complete(again)]) == [True]
    assert await world.maintained() == 0
    assert [one.id for one in await world.waiting("dropped")] == [second.id]


async def test_what_outlived_its_time_is_parked_as_expired_from_every_lane(world: World) -> None:
    world.bus.put(Q, b"{}", properties={"originId": "a", "kind": "t"})
    world.bus.put(HIGH, b"{}", properties={"originId": "b", "kind": "t", "lane": "high"})
    world.machine.let_pass(601.0, world.bus)
    assert world.dead() == world.dead(HIGH) == ["TTLExpiredException"]
    one = await world.dead_letter(1)
    assert await world.queue.settle([Release(one.delivery)]) == [True]
    await world.kept(2)
    assert world.dead() == world.dead(HIGH) == []
    found = await world.waiting()
    assert {one.data["envelope"]["originId"] for one in found} == {"a", "b"}
    assert {one.data["bin"] for one in found} == {"expired"}


async def test_what_another_consumer_put_aside_keeps_its_reason_and_its_producers_body(world: World) -> None:
    """Both know nothing of us."""
    body = b'{"integrationId": "hub", "entityId": "e-1", "operation": "update", "changes": {"x": 1}}'
    world.bus.put(Q, body, properties={"correlationId": "tick-1"})
    async with (
        ServiceBusClient.from_connection_string(world.bus.connection_string) as client,
        client.get_queue_receiver(Q, socket_timeout=0.05) as receiver,
    ):
        [received] = await receiver.receive_messages(1, max_wait_time=30)
        await receiver.dead_letter_message(received, reason="BadFormat", error_description="no tenant in it")
    await world.kept(1)
    assert world.dead() == []
    [one] = await world.waiting()
    assert (one.data["bin"], one.data["kind"]) == ("poison", "change")
    assert one.data["reason"] == "the broker put it aside (BadFormat: no tenant in it)"
    await world.parked.replay(one.id)
    [again] = await world.lease()
    assert (again.body, again.envelope.correlation_id, again.envelope.hop) == (body, "tick-1", 1)
    assert await world.queue.settle([Complete(again)]) == [True]


async def test_a_lock_that_is_lost_while_it_is_parked_leaves_one_document_and_no_dead_letter(world: World) -> None:
    await world.die_of_locks("a")
    delays = [LOCK + 1.0]

    async def slow(delivery: Delivery, bin_name: Bin, reason: str) -> str:
        identifier = await world.parked.park(delivery, bin_name, reason)
        if delays:
            world.machine.let_pass(delays.pop(), world.bus)
        return identifier

    drain = DrainDeadLetters(dead_letters=world.queue, queue=world.queue, queues=(Q,), park=slow)
    while world.dead():
        await drain.drain()
    assert len(await world.waiting()) == 1


async def test_who_dies_after_parking_leaves_a_dead_letter_that_changes_nothing_any_more(world: World) -> None:
    """Somebody has replayed it by the time that it is found again."""
    await world.die_of_locks("a")
    letter = await world.dead_letter()
    identifier = await world.parked.park(letter.delivery, "poison", letter.reason)
    world.queue.abandon(letter.delivery)
    await world.parked.replay(identifier)
    world.machine.let_pass(LOCK + 1.0, world.bus)
    assert world.dead() == ["MaxDeliveryCountExceeded"]
    await world.kept(1)
    assert world.dead() == []
    assert await world.waiting() == []
    assert [delivery.envelope.hop for delivery in await world.lease()] == [1]


async def test_more_dead_letters_than_one_look_takes_are_all_kept_in_one_pass(world: World) -> None:
    for number in range(230):
        world.bus.put(Q, b"{}", properties={"originId": f"o-{number}", "kind": "t"})
    world.machine.let_pass(601.0, world.bus)
    await world.kept(230)
    assert world.dead() == []
    assert await world.parked.counts([Q]) == {Q: 230}
