"""The Service Bus double through the real SDK: what goes in comes out, how it is settled, and what time does to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusMessage, ServiceBusReceiveMode, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver

from syncd.testing.clock import FrozenClock
from tests.integration.azure.servicebus_clients import client_of
from tests.wire.servicebus import QueueSpec, ServiceBusDouble, SubscriptionSpec, TopicSpec, service_bus

pytestmark = pytest.mark.usefixtures("hurried_sdk")


@pytest.fixture
async def double() -> AsyncIterator[ServiceBusDouble]:
    queues = [
        QueueSpec(name="work", lock_duration=30, max_delivery_count=3),
        QueueSpec(name="once", duplicate_detection=600),
        QueueSpec(name="brief", ttl=100),
        QueueSpec(name="lossy", ttl=100, dead_letter_on_expiration=False),
        QueueSpec(name="threads", requires_session=True, lock_duration=30, max_delivery_count=3),
    ]
    topic = TopicSpec(
        name="files",
        subscriptions=(
            SubscriptionSpec(name="small", rule="file_size_mb <= 10"),
            SubscriptionSpec(name="large", rule="file_size_mb > 10 AND file_size_mb <= 100"),
        ),
    )
    async with service_bus(queues=queues, topics=[topic]) as double:
        yield double


@pytest.fixture
async def client(double: ServiceBusDouble) -> AsyncIterator[ServiceBusClient]:
    async with client_of(double) as client:
        yield client


async def send(client: ServiceBusClient, queue: str, *messages: ServiceBusMessage) -> None:
    async with client.get_queue_sender(queue) as sender:
        await sender.send_messages(list(messages) if len(messages) > 1 else messages[0])


@contextlib.asynccontextmanager
async def received(client: ServiceBusClient, queue: str, count: int = 1, **options: object) -> AsyncIterator[tuple]:
    """The receiver, then the messages that it got."""
    async with client.get_queue_receiver(queue, **options) as receiver:
        yield receiver, *await receiver.receive_messages(max_message_count=count, max_wait_time=5)


async def test_a_message_comes_out_as_it_went_in(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    properties = {"n": 7, "t": "x", "b": True, "f": 0.5}
    sent = ServiceBusMessage(
        b"body", message_id="m1", subject="s", correlation_id="c", content_type="j", application_properties=properties
    )
    await send(client, "work", sent)
    async with received(client, "work") as (receiver, got):
        assert b"".join(got.body) == b"body"
        assert (got.message_id, got.subject, got.correlation_id, got.content_type) == ("m1", "s", "c", "j")
        assert got.application_properties == {b"n": 7, b"t": b"x", b"b": True, b"f": 0.5}
        assert got.delivery_count == 0
        assert got.locked_until_utc.timestamp() == pytest.approx(double.now() + 30, abs=5)
        assert [row.state for row in double.queue("work").messages] == ["locked"]
        await receiver.complete_message(got)
    assert double.queue("work").messages == []


async def test_text_bytes_and_nothing_keep_their_body(client: ServiceBusClient) -> None:
    bodies = [b"", b"\x00\xff" * 40_000, "grüße".encode(), b"\x00Ss\xc0\x01\x00\x00Su\xa0\x01x"]
    await send(client, "work", *[ServiceBusMessage(body) for body in bodies[1:]])
    await send(client, "work", ServiceBusMessage(bodies[0]))
    async with received(client, "work", 4) as (_, *got):
        assert [b"".join(message.body) for message in got] == [*bodies[1:], bodies[0]]


async def test_an_abandoned_message_comes_again_and_the_delivery_counts(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    double.put("work", b"x")
    async with received(client, "work") as (receiver, first):
        await receiver.abandon_message(first)
        (second,) = await receiver.receive_messages(max_message_count=1, max_wait_time=5)
        assert (first.delivery_count, second.delivery_count) == (0, 1)
        assert second.sequence_number == first.sequence_number


async def test_after_the_last_delivery_it_is_dead_with_the_reason(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    double.put("work", b"x", properties={"kept": 1})
    async with client.get_queue_receiver("work") as receiver:
        for _ in range(3):
            (message,) = await receiver.receive_messages(max_message_count=1, max_wait_time=5)
            await receiver.abandon_message(message)
    (dead,) = double.queue("work").dead_letters
    assert (dead.dead_letter_reason, dead.deliveries, dead.properties["kept"]) == ("MaxDeliveryCountExceeded", 3, 1)
    async with received(client, "work", sub_queue=ServiceBusSubQueue.DEAD_LETTER) as (receiver, got):
        assert got.dead_letter_reason == "MaxDeliveryCountExceeded"
        assert got.application_properties[b"kept"] == 1
        await receiver.complete_message(got)
    assert double.queue("work").dead_letters == []


async def test_a_message_is_dead_lettered_with_the_reason_that_was_given(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    double.put("work", b"x")
    async with received(client, "work") as (receiver, message):
        await receiver.dead_letter_message(message, reason="poison", error_description="no JSON")
    async with received(client, "work", sub_queue=ServiceBusSubQueue.DEAD_LETTER) as (_, got):
        assert (got.dead_letter_reason, got.dead_letter_error_description) == ("poison", "no JSON")


async def test_a_deferred_message_is_fetched_by_its_number_only(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    double.put("work", b"x")
    async with received(client, "work") as (receiver, message):
        await receiver.defer_message(message)
        assert await receiver.receive_messages(max_message_count=1, max_wait_time=0.2) == []
        assert len(double.queue("work").deferred) == 1
        (again,) = await receiver.receive_deferred_messages(message.sequence_number)
        await receiver.complete_message(again)
    assert len(double.queue("work")) == 0


async def test_a_scheduled_message_waits_for_its_time_and_gets_a_new_number(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    due = datetime.now(UTC) + timedelta(seconds=300)
    async with client.get_queue_sender("work") as sender:
        (number,) = await sender.schedule_messages([ServiceBusMessage(b"x", message_id="s")], due)
        assert [row.sequence for row in double.queue("work").scheduled] == [number]
        async with client.get_queue_receiver("work") as receiver:
            assert await receiver.receive_messages(max_message_count=1, max_wait_time=0.2) == []
            double.advance(301)
            (got,) = await receiver.receive_messages(max_message_count=1, max_wait_time=5)
            assert got.enqueued_sequence_number == number
            assert got.sequence_number > number
        (other,) = await sender.schedule_messages([ServiceBusMessage(b"y")], datetime.now(UTC) + timedelta(days=1))
        await sender.cancel_scheduled_messages(other)
    assert double.queue("work").scheduled == []


async def test_a_lock_that_runs_out_by_the_brokers_clock_counts_as_a_delivery(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    double.put("work", b"x")
    async with received(client, "work") as (receiver, first):
        double.advance(31)
        (second,) = await receiver.receive_messages(max_message_count=1, max_wait_time=5)
        assert second.delivery_count == first.delivery_count + 1


async def test_renewing_moves_the_end_of_the_lock(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    double.put("work", b"x")
    async with received(client, "work") as (receiver, message):
        double.advance(20)
        until = await receiver.renew_message_lock(message)
        assert until.timestamp() == pytest.approx(double.now() + 30, abs=5)
        double.advance(20)
        await receiver.complete_message(message)
    assert len(double.queue("work")) == 0


async def test_a_lock_outlives_the_link_that_took_it(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    double.put("work", b"x")
    async with received(client, "work") as (_, _message):
        pass
    assert len(double.queue("work").locked) == 1
    double.advance(31)
    assert [row.deliveries for row in double.queue("work").active] == [1]


async def test_an_injected_clock_decides_about_time() -> None:
    clock = FrozenClock()
    async with service_bus(queues=[QueueSpec(name="q", ttl=10)], clock=clock) as double:
        double.put("q", b"x")
        (row,) = double.queue("q").active
        assert row.enqueued_at == clock.now()
        await clock.advance(11)
        assert double.queue("q").active == []
        assert len(double.queue("q").dead_letters) == 1


@pytest.mark.parametrize(("queue", "dead"), [("brief", ["TTLExpiredException"]), ("lossy", [])])
async def test_what_outlives_its_time_is_dead_lettered_or_dropped(
    double: ServiceBusDouble, queue: str, dead: list[str]
) -> None:
    double.put(queue, b"x")
    double.advance(101)
    assert double.queue(queue).messages == []
    assert [row.dead_letter_reason for row in double.queue(queue).dead_letters] == dead


async def test_a_messages_own_time_to_live_can_only_be_shorter(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    for seconds in (10, 1000):
        await send(client, "brief", ServiceBusMessage(b"x", time_to_live=timedelta(seconds=seconds)))
    lives = [round((row.expires_at or 0) - row.enqueued_at) for row in double.queue("brief").active]
    assert lives == [10, 100]


async def test_peeking_changes_nothing_and_starts_where_it_is_told(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    double.put("work", *[b"%d" % number for number in range(5)])
    before = double.queue("work").messages
    async with client.get_queue_receiver("work") as receiver:
        third = before[2].sequence
        peeked = await receiver.peek_messages(max_message_count=2, sequence_number=third)
        assert [message.sequence_number for message in peeked] == [third, third + 1]
        assert await receiver.peek_messages(max_message_count=5, sequence_number=before[-1].sequence + 1) == []
    assert double.queue("work").messages == before


async def test_receive_and_delete_locks_nothing(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    double.put("work", b"x")
    async with received(client, "work", receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE) as (_, message):
        assert b"".join(message.body) == b"x"
        assert len(double.queue("work")) == 0


async def test_a_topic_copies_to_the_subscriptions_whose_rule_matches(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    for size in (5, 500):
        double.put("files", b"%d" % size, properties={"file_size_mb": size})
    async with client.get_topic_sender("files") as sender:
        await sender.send_messages(ServiceBusMessage(b"50", application_properties={"file_size_mb": 50}))
    assert [row.body for row in double.subscription("files", "small").active] == [b"5"]
    assert [row.body for row in double.subscription("files", "large").active] == [b"50"]
    async with client.get_subscription_receiver("files", "large") as receiver:
        (peeked,) = await receiver.peek_messages(max_message_count=5, sequence_number=1)
        (got,) = await receiver.receive_messages(max_message_count=1, max_wait_time=5)
        assert got.sequence_number == peeked.sequence_number
        await receiver.dead_letter_message(got, reason="why")
    assert [row.dead_letter_reason for row in double.subscription("files", "large").dead_letters] == ["why"]


async def test_the_next_available_session_is_the_one_that_waits_longest(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    for name in ("a", "b", "a"):
        double.put("threads", name.encode(), session_id=name)

    def accept() -> ServiceBusReceiver:
        return client.get_queue_receiver("threads", session_id=NEXT_AVAILABLE_SESSION, max_wait_time=5)

    async with accept() as first, accept() as second:
        assert (first.session.session_id, second.session.session_id) == ("a", "b")
        messages = await first.receive_messages(max_message_count=5, max_wait_time=1)
        assert [b"".join(message.body) for message in messages] == [b"a", b"a"]
        await first.session.set_state(b"so far")
        assert await first.session.get_state() == b"so far"
        assert (await first.session.renew_lock()).timestamp() == pytest.approx(double.now() + 30, abs=5)
        for message in messages:
            await first.complete_message(message)
    assert [row.session_id for row in double.queue("threads").messages] == ["b"]


async def test_a_session_that_is_left_is_free_at_once_and_its_deliveries_do_not_count(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    double.put("threads", b"x", session_id="s")
    async with received(client, "threads", session_id="s") as (_, first):
        assert first.session_id == "s"
    async with received(client, "threads", session_id="s") as (_, second):
        assert second.delivery_count == 0


async def test_a_receiver_waits_for_a_session_until_there_is_one(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    async def take() -> bytes:
        async with client.get_queue_receiver(
            "threads", session_id=NEXT_AVAILABLE_SESSION, max_wait_time=10
        ) as receiver:
            (message,) = await receiver.receive_messages(max_message_count=1, max_wait_time=5)
            return b"".join(message.body)

    waiting = asyncio.create_task(take())
    await double.until("waiting for a session")
    double.put("threads", b"late", session_id="s")
    assert await waiting == b"late"


async def test_sessions_are_listed_by_what_waits_in_them(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    for name in ("b", "a", "b"):
        double.put("threads", b"x", session_id=name)
    assert [name async for name in client.list_queue_sessions("threads")] == ["a", "b"]
    assert [name async for name in client.list_queue_sessions("work")] == []
