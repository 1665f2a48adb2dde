"""What the queue on Service Bus does beyond the port's contract: locks, sizes, foreign messages, clocks, addresses."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from dataclasses import replace

import proton
import pytest
import trustme
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from syncd.adapters.azure.servicebus import sdk
from syncd.adapters.azure.servicebus.link import Link
from syncd.adapters.azure.servicebus.opening import open_service_bus
from syncd.adapters.embedded.clock import SystemClock
from syncd.domain.errors import Invalid, Overloaded, TooLarge, Unavailable
from syncd.domain.groups import GroupCap
from syncd.domain.messages import Envelope
from syncd.ports.queue import Complete, Message, Next, Release
from tests.integration.azure.servicebus_world import PATIENCE, Bench, Q, bench, message, opened_at
from tests.wire.servicebus import QueueSpec, service_bus


async def test_a_lock_lost_in_mid_handler_is_seen_by_the_handler_and_changes_nothing() -> None:
    async with bench() as world:
        await world.send("a")
        [delivery] = await world.lease()
        world.bus.advance(61)  # the broker's clock alone: the lock was 60 s
        assert await world.queue.settle([Complete(delivery)]) == [False]
        assert delivery.lease.lost
        [again] = await world.lease()
        assert (again.envelope.origin_id, again.deliveries) == ("a", 2)
        assert await world.queue.settle([Complete(again)]) == [True]


async def test_a_lock_is_renewed_at_half_its_time_for_as_long_as_the_message_is_worked_on() -> None:
    async with bench(specs=[QueueSpec(name=Q, lock_duration=3.0)]) as world:
        await world.send("a", "b")
        deliveries = await world.lease()
        await world.bus.until("renew", 4)
        assert not any(delivery.lease.lost for delivery in deliveries)
        assert await world.queue.settle([Complete(delivery) for delivery in deliveries]) == [True, True]
        assert not world.bus.happened("lock expired")


async def test_a_handler_hears_that_its_lock_is_lost_from_a_renewal() -> None:
    async with bench(specs=[QueueSpec(name=Q, lock_duration=4.0)]) as world:
        await world.send("a", "b")
        first, second = await world.lease()
        world.bus.queue(Q)._entity.complete(_token(world, "a"))  # somebody else ended it
        await world.until_told("lock_lost")
        assert (first.lease.lost, second.lease.lost) == (True, False)
        assert await world.queue.settle([Complete(first), Complete(second)]) == [False, True]


def _token(world: Bench, name: str) -> bytes:
    entity = world.bus.queue(Q)._entity
    return next(token for token, stored in entity.locked.items() if stored.row().properties["originId"] == name)


async def test_a_message_over_the_maximum_is_refused_and_takes_no_other_with_it() -> None:
    async with bench() as world:
        large = message("large", b"x" * 300_000)
        sends = [world.queue.send(Q, [one]) for one in (message("a"), large, message("b"))]
        answers = await asyncio.gather(*sends, return_exceptions=True)
        assert [type(answer) for answer in answers] == [list, TooLarge, list]
        assert await world.drained(2) == {"a", "b"}


async def test_what_does_not_fit_into_one_batch_is_sent_in_several() -> None:
    async with bench() as world:
        names = {f"m{number}" for number in range(12)}
        await world.queue.send(Q, [message(name, b"x" * 60_000) for name in sorted(names)])
        assert await world.drained(12) == names


async def test_what_callers_send_at_the_same_time_leaves_together() -> None:
    async with bench() as world:
        await world.send("first")
        world.bus.latency = 0.05
        began = time.monotonic()
        await asyncio.gather(*(world.send(f"m{number}") for number in range(200)))
        assert time.monotonic() - began < 7.0  # one by one they would take ten
        world.bus.latency = 0.0
        assert len(await world.drained(201)) == 201


async def test_a_hop_that_is_sent_again_after_a_lost_answer_is_absorbed() -> None:
    async with bench(specs=[QueueSpec(name=Q, duplicate_detection=600.0)]) as world:
        await world.send("a")
        [delivery] = await world.lease()
        hop = Message(delivery.envelope.next_hop(), b"next")
        world.bus.fail_next("complete", "com.microsoft:server-busy")
        with pytest.raises(Overloaded):
            await world.queue.settle([Next(delivery, hop)])
        assert await world.settle_at_last(Next(delivery, hop)) == [True]
        assert world.bus.happened("duplicate")
        [again] = await world.lease()
        assert (again.envelope.hop, again.body, again.deliveries) == (1, b"next", 1)
        assert len(world.bus.queue(Q)) == 1


async def test_of_two_settlements_of_one_delivery_at_once_one_is_done() -> None:
    async with bench() as world:
        await world.send("a")
        [delivery] = await world.lease()
        assert await world.queue.settle([Complete(delivery), Release(delivery)]) == [True, False]
        assert len(world.bus.queue(Q)) == 0


async def test_messages_of_full_groups_wait_here_and_go_back_uncounted_when_nobody_asks() -> None:
    async with bench(patience=replace(PATIENCE, unasked=0.1)) as world:
        await world.queue.send(Q, [Message(Envelope(kind="t", origin_id="a", group="g"), b"")])
        assert await world.queue.lease(Q, 5, duration=30.0, cap=GroupCap(1, {"g": 1})) == []
        await world.bus.until("release")
        [delivery] = await world.lease()
        assert delivery.deliveries == 1
        assert await world.queue.settle([Release(delivery)]) == [True]


async def test_a_producer_that_knows_nothing_of_us_is_understood() -> None:
    """As the JavaScript client sends it: text as JSON in JSON, a correlation id, no message id."""
    body = {"integrationId": "hub", "tenantId": "t1", "connectionId": "c1", "syncMode": "pull", "priority": "high"}
    async with (
        service_bus(queues=[QueueSpec(name="sync-inbound")]) as bus,
        open_service_bus(
            connection_string=bus.connection_string,
            queues=["sync-inbound"],
            lanes=False,
            clock=SystemClock(),
            patience=PATIENCE,
        ) as queue,
        ServiceBusClient.from_connection_string(bus.connection_string) as client,
        client.get_queue_sender("sync-inbound") as sender,
    ):
        await sender.send_messages(ServiceBusMessage(json.dumps(json.dumps(body)), correlation_id="tick-1"))
        [delivery] = await queue.lease("sync-inbound", 1, duration=30.0)
        envelope = delivery.envelope
        assert (envelope.kind, envelope.tenant_id, envelope.connection_id, envelope.lane) == (
            "task",
            "t1",
            "c1",
            "high",
        )
        assert envelope.correlation_id == "tick-1"
        assert await queue.settle([Release(delivery)]) == [True]
        [again] = await queue.lease("sync-inbound", 1, duration=30.0)
        assert again.envelope == envelope


async def test_what_a_producer_puts_first_into_each_of_two_lanes_is_two_messages() -> None:
    """Each entity counts its messages for itself: by its number alone, one would stand for the other."""
    async with (
        service_bus(queues=[QueueSpec(name=Q), QueueSpec(name=f"{Q}-high")]) as bus,
        open_service_bus(
            connection_string=bus.connection_string, queues=[Q], clock=SystemClock(), patience=PATIENCE
        ) as queue,
    ):
        for entity in (Q, f"{Q}-high"):
            bus.put(entity, b'{"by": "a producer of its own"}')
        origins: list[str] = []
        while len(origins) < 2:
            deliveries = await queue.lease(Q, 2, duration=30.0, wait=5.0)
            origins += [one.envelope.origin_id for one in deliveries]
            await queue.settle([Complete(one) for one in deliveries])
        assert len(set(origins)) == 2


POISON = [
    proton.Message(body={"a": [1, b"\xff", None]}),
    proton.Message(body=[1, "two"]),
    proton.Message(body="not json"),
    proton.Message(body=b"\x00\xff", inferred=True, properties={"originId": 7, "kind": True}),
    proton.Message(body=b"{}", inferred=True, properties={"originId": "o", "kind": "t", "headers": "no json"}),
    proton.Message(body=b"{}", inferred=True, properties={"originId": "o", "kind": "t", "receivedAt": "yesterday"}),
    proton.Message(body=b"{}", inferred=True, properties={"notBefore": "soon", "sentBy": "x y"}),
]


async def test_a_poisonous_message_is_delivered_for_its_handler_to_park_and_stops_nothing() -> None:
    async with bench() as world:
        from tests.wire.servicebus.message import parse

        for poison in POISON:
            world.bus.namespace.send(Q, [parse(bytes(poison.encode()))])
        await world.send("sound")
        deliveries = await world.lease(20)
        assert len(deliveries) == len(POISON) + 1
        assert await world.queue.settle([Complete(delivery) for delivery in deliveries]) == [True] * len(deliveries)


@pytest.mark.parametrize(("ahead", "way"), [(600.0, "ahead of"), (-600.0, "behind")])
async def test_a_clock_that_is_ten_minutes_off_stops_consuming_with_the_reason_until_it_is_mended(
    ahead: float, way: str
) -> None:
    off = [ahead]
    clock = SystemClock(wall=lambda: time.time() + off[0], monotonic=lambda: time.monotonic() + off[0])
    async with bench(clock=clock) as world:
        world.bus.put(Q, b"{}", properties={"originId": "a", "kind": "t"})
        with pytest.raises(Unavailable, match=way):
            await world.lease()
        assert world.events("clock_skewed")
        assert world.bus.happened("release")
        off[0] = 0.0
        [delivery] = await world.lease()
        assert delivery.deliveries == 1
        assert await world.queue.settle([Complete(delivery)]) == [True]


@pytest.mark.parametrize("ahead", [10.0, -10.0, -55.0])
async def test_a_clock_that_is_a_little_off_settles_all_the_same(ahead: float) -> None:
    """The SDK judges locks by this machine's clock, and refuses to settle what it takes for expired."""
    clock = SystemClock(wall=lambda: time.time() + ahead)
    async with bench(clock=clock, specs=[QueueSpec(name=Q, lock_duration=300.0)]) as world:
        await world.send("a")
        [delivery] = await world.lease()
        assert not delivery.lease.lost
        assert await world.queue.settle([Complete(delivery)]) == [True]


async def test_a_name_that_does_not_resolve_is_said_to_be_so() -> None:
    name = "Endpoint=sb://nowhere.invalid;SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0"
    async with opened_at(connection_string=name) as queue:
        with pytest.raises(Unavailable, match="sync-outbound"):
            await queue.send(Q, [message("a")])
        with pytest.raises(Unavailable, match="sync-outbound"):
            await queue.lease(Q, 1, duration=30.0, wait=10.0)


async def test_a_certificate_that_nobody_trusts_is_refused_and_said_to_be_so(tmp_path: object) -> None:
    theirs, ours = trustme.CA(), trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.issue_cert("127.0.0.1").configure_cert(context)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    with ours.cert_pem.tempfile() as ca_file:
        name = "Endpoint=sb://bus.example.com;SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0"
        async with opened_at(
            connection_string=name, ca_file=ca_file, custom_endpoint=f"sb://127.0.0.1:{port}"
        ) as queue:
            with pytest.raises(Unavailable, match="certificate"):
                await queue.send(Q, [message("a")])
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("text", ["", "nonsense", "Endpoint=sb://host"])
async def test_a_connection_string_that_cannot_be_read_is_invalid(text: str) -> None:
    with pytest.raises(Invalid):
        async with opened_at(connection_string=text):
            pass


async def test_the_brokers_own_dead_letters_are_leased_and_completed() -> None:
    async with bench(specs=[QueueSpec(name=Q, max_delivery_count=1)]) as world:
        await world.send("a", "b")
        for delivery in await world.lease():
            world.queue.abandon(delivery)
        world.bus.advance(61)
        letters = await world.queue.dead_letters(Q)
        assert [letter.reason for letter in letters] == ["MaxDeliveryCountExceeded"] * 2
        assert {letter.delivery.envelope.origin_id for letter in letters} == {"a", "b"}
        assert await world.queue.settle([Complete(letters[0].delivery), Release(letters[1].delivery)]) == [True, True]
        assert len(world.bus.queue(Q).dead_letters) == 1


async def test_a_receiver_is_replaced_before_its_replies_run_out_and_what_it_held_is_settled() -> None:
    async with bench(
        specs=[QueueSpec(name=Q, lock_duration=6.0)], patience=replace(PATIENCE, recycle_replies=1)
    ) as world:
        await world.send("a")
        [delivery] = await world.lease()
        await world.until_told("receiver_recycled")
        assert await world.queue.settle([Complete(delivery)]) == [True]
        assert len(world.bus.queue(Q)) == 0


async def test_what_came_between_two_polls_is_handed_out_by_the_next_and_never_lost_in_it() -> None:
    async with bench() as world:
        link, call = world.queue._consumers[Q].sources[0].link, world.queue._thread.call
        assert await call(lambda: link.take(5, 1.0, gap=0.01)) == []  # what it asked for stays asked for
        await world.send("a")
        while not await call(lambda: _arrived(link)):
            await call(lambda: link.peek(1, 0))  # any other call reads what has come
        [taken] = await call(lambda: link.take(5, 0.0, gap=0.01))
        assert taken.delivery_count == 0


async def _arrived(link: Link) -> int:
    receiver = link._connection.handler
    assert receiver is not None
    return sdk.arrived(receiver)
