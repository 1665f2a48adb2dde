"""The Service Bus double through the real SDK: what goes in comes out, and how it is settled."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from tests.wire.servicebus import QueueSpec, ServiceBusDouble, service_bus


@pytest.fixture
async def double() -> AsyncIterator[ServiceBusDouble]:
    async with service_bus(queues=[QueueSpec(name="work", lock_duration=30)]) as double:
        yield double


@pytest.fixture
async def client(double: ServiceBusDouble) -> AsyncIterator[ServiceBusClient]:
    async with ServiceBusClient.from_connection_string(double.connection_string) as client:
        yield client


async def test_a_message_comes_out_as_it_went_in(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    sent = ServiceBusMessage(
        b"body", message_id="m1", subject="s", correlation_id="c", application_properties={"n": 7, "t": "x", "b": True}
    )
    async with client.get_queue_sender("work") as sender:
        await sender.send_messages(sent)
    async with client.get_queue_receiver("work") as receiver:
        (got,) = await receiver.receive_messages(max_message_count=1, max_wait_time=5)
        assert b"".join(got.body) == b"body"
        assert (got.message_id, got.subject, got.correlation_id, got.delivery_count) == ("m1", "s", "c", 0)
        assert got.application_properties == {b"n": 7, b"t": b"x", b"b": True}
        assert got.locked_until_utc.timestamp() == pytest.approx(double.now() + 30, abs=5)
        assert [row.state for row in double.queue("work").messages] == ["locked"]
        await receiver.complete_message(got)
    assert double.queue("work").messages == []
