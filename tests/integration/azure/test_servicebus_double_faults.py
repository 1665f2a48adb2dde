"""The faults of the Service Bus double, as the real SDK meets them."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import OperationTimeoutError, ServiceBusConnectionError, ServiceBusError

from tests.integration.azure.servicebus_clients import client_of
from tests.wire.servicebus import QueueSpec, ServiceBusDouble, service_bus
from tests.wire.servicebus.refusal import BUSY, DETACH_FORCED, RESOURCE_LIMIT

pytestmark = [
    pytest.mark.usefixtures("hurried_sdk"),
    # The SDK leaves the stream of a connection that broke to the garbage collector, which then warns.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def collected_here() -> Iterator[None]:
    """What a broken connection left behind is collected in the test that broke it, and not in somebody else's."""
    yield
    gc.collect()


@pytest.fixture
async def double() -> AsyncIterator[ServiceBusDouble]:
    queues = [QueueSpec(name="work", lock_duration=30), QueueSpec(name="once", duplicate_detection=300)]
    async with service_bus(queues=queues) as double:
        yield double


@pytest.fixture
async def client(double: ServiceBusDouble) -> AsyncIterator[ServiceBusClient]:
    async with client_of(double, retry_total=2, retry_backoff_factor=0.01) as client:
        yield client


async def test_a_receiver_survives_a_reset_connection(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    async with client.get_queue_receiver("work") as receiver:
        polling = asyncio.create_task(receiver.receive_messages(max_message_count=1, max_wait_time=20))
        await double.until("attach", link="Consumer")
        assert double.drop_connections() == 1
        double.put("work", b"x")
        (message,) = await polling
        assert str(message) == "x"


async def test_a_broker_that_is_away_comes_back_with_its_messages(double: ServiceBusDouble) -> None:
    double.put("work", b"kept")
    async with client_of(double) as client:
        double.refuse()
        with pytest.raises(ServiceBusConnectionError):
            await client.get_queue_receiver("work").__aenter__()
        await double.accept()
        async with client.get_queue_receiver("work") as receiver:
            (message,) = await receiver.receive_messages(max_message_count=1, max_wait_time=5)
            assert str(message) == "kept"


async def test_a_silent_broker_shows_only_in_time_limits(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    async with client.get_queue_sender("work") as sender, client.get_queue_receiver("work") as receiver:
        double.silence()
        double.put("work", b"unseen")
        assert await receiver.receive_messages(max_message_count=1, max_wait_time=0.3) == []
        with pytest.raises(OperationTimeoutError):
            await sender.send_messages(ServiceBusMessage(b"x"), timeout=0.3)
        double.speak()
        await sender.send_messages(ServiceBusMessage(b"y"))
    assert "y" in [row.body.decode() for row in double.queue("work").messages]


async def test_a_half_open_connection_is_dead_while_new_ones_work(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    async with client.get_queue_sender("work") as sender:
        assert double.half_open() == 1
        with pytest.raises(OperationTimeoutError):
            await sender.send_messages(ServiceBusMessage(b"x"), timeout=0.3)
        async with client.get_queue_sender("work") as other:
            await other.send_messages(ServiceBusMessage(b"y"))
    assert [row.body for row in double.queue("work").active] == [b"y"]


async def test_detached_links_are_attached_again(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    async with client.get_queue_sender("work") as sender:
        for condition in (DETACH_FORCED, BUSY):
            assert double.detach_links(condition, "work") == 1
            await sender.send_messages(ServiceBusMessage(b"x"))
    assert len(double.queue("work")) >= 2


async def test_an_operation_fails_as_often_as_it_is_told(double: ServiceBusDouble) -> None:
    async with client_of(double) as client, client.get_queue_sender("work") as sender:
        double.fail_next("send", RESOURCE_LIMIT, times=2)
        for _ in range(2):
            with pytest.raises(ServiceBusError, match=RESOURCE_LIMIT):
                await sender.send_messages(ServiceBusMessage(b"x"))
        await sender.send_messages(ServiceBusMessage(b"x"))
    assert len(double.queue("work")) == 1
    with pytest.raises(ValueError, match="no operation"):
        double.fail_next("sned", RESOURCE_LIMIT)


@pytest.mark.parametrize(("queue", "stored"), [("work", 2), ("once", 1)])
async def test_a_send_whose_answer_is_lost_is_sent_again_by_the_sdk(
    double: ServiceBusDouble, client: ServiceBusClient, queue: str, stored: int
) -> None:
    async with client.get_queue_sender(queue) as sender:
        double.lose_answer("send")
        await sender.send_messages(ServiceBusMessage(b"x", message_id="m"))
    assert len(double.queue(queue)) == stored


async def test_a_completion_whose_answer_is_lost_has_happened(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    double.put("work", b"x")
    async with client.get_queue_receiver("work") as receiver:
        (message,) = await receiver.receive_messages(max_message_count=1, max_wait_time=5)
        double.lose_answer("complete")
        with pytest.raises(ServiceBusError):
            await receiver.complete_message(message)
    assert len(double.queue("work")) == 0


async def test_every_answer_is_late_by_the_latency(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    async with client.get_queue_sender("work") as sender:
        double.latency = 0.2
        started = time.monotonic()
        await sender.send_messages(ServiceBusMessage(b"x"))
        assert time.monotonic() - started >= 0.2


async def test_bytes_that_are_no_amqp_end_their_connection_only(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    async with client.get_queue_sender("work") as sender:
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"AMQP\x03\x01\x00\x00" + b"\xff" * 64, b"\x00" * 64):
            reader, writer = await asyncio.open_connection(double.host, double.port)
            writer.write(garbage)
            await reader.read()
            writer.close()
        await sender.send_messages(ServiceBusMessage(b"x"))
    assert len(double.queue("work")) == 1
