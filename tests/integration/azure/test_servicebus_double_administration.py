"""The administration API of the Service Bus double, as azure.servicebus.aio.management speaks it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.servicebus.aio.management import ServiceBusAdministrationClient
from azure.servicebus.management import SqlRuleFilter

from tests.wire.servicebus import QueueSpec, ServiceBusDouble, SubscriptionSpec, TopicSpec, service_bus
from tests.wire.servicebus.administration import Administration, administration


@pytest.fixture
async def admin() -> AsyncIterator[Administration]:
    queue = QueueSpec(name="work", lock_duration=30, ttl=3600, duplicate_detection=600, requires_session=True)
    topic = TopicSpec(name="files", subscriptions=(SubscriptionSpec(name="large", rule="size > 10"),))
    async with service_bus(queues=[queue], topics=[topic]) as double, administration(double) as admin:
        yield admin


def client_of(admin: Administration, policy: str = "RootManageSharedAccessKey") -> ServiceBusAdministrationClient:
    return ServiceBusAdministrationClient.from_connection_string(
        admin.connection_string_for(policy), connection_verify=admin.ca_file, retry_total=0
    )


@pytest.fixture
async def client(admin: Administration) -> AsyncIterator[ServiceBusAdministrationClient]:
    async with client_of(admin) as client:
        yield client


@pytest.fixture
def double(admin: Administration) -> ServiceBusDouble:
    return admin.double


async def test_a_queue_shows_its_settings_and_its_counts(
    client: ServiceBusAdministrationClient, double: ServiceBusDouble
) -> None:
    double.put("work", b"x", session_id="s", message_id="m")
    queue = await client.get_queue("work")
    assert queue.lock_duration == timedelta(seconds=30)
    assert queue.default_message_time_to_live == timedelta(hours=1)
    assert queue.duplicate_detection_history_time_window == timedelta(minutes=10)
    assert (queue.requires_session, queue.requires_duplicate_detection, queue.status) == (True, True, "Active")
    assert (queue.max_delivery_count, queue.dead_lettering_on_message_expiration) == (10, True)
    double.advance(3601)
    counts = await client.get_queue_runtime_properties("work")
    assert (counts.total_message_count, counts.active_message_count, counts.dead_letter_message_count) == (1, 0, 1)


async def test_everything_is_listed(client: ServiceBusAdministrationClient) -> None:
    assert [queue.name async for queue in client.list_queues()] == ["work"]
    assert [topic.name async for topic in client.list_topics()] == ["files"]
    assert [each.name async for each in client.list_subscriptions("files")] == ["large"]
    rules = [rule async for rule in client.list_rules("files", "large")]
    assert [(rule.name, rule.filter.sql_expression) for rule in rules] == [("$Default", "size > 10")]
    assert (await client.get_namespace_properties()).messaging_sku == "Standard"
    assert (await client.get_topic_runtime_properties("files")).subscription_count == 1


async def test_what_is_made_can_be_used(client: ServiceBusAdministrationClient, double: ServiceBusDouble) -> None:
    window = timedelta(minutes=5)
    made = await client.create_queue(
        "new", lock_duration="PT1M", requires_duplicate_detection=True, duplicate_detection_history_time_window=window
    )
    assert (made.name, made.lock_duration, made.default_message_time_to_live.days > 10**6) == (
        "new",
        timedelta(minutes=1),
        True,
    )
    assert double.put("new", b"x", message_id="a") != [None]
    assert double.put("new", b"x", message_id="a") == [None]
    await client.create_topic("t")
    await client.create_subscription("t", "s", max_delivery_count=3)
    await client.create_rule("t", "s", "big", filter=SqlRuleFilter("size > 5"))
    await client.delete_rule("t", "s", "$Default")
    for size in (1, 9):
        double.put("t", b"%d" % size, properties={"size": size})
    assert [row.body for row in double.subscription("t", "s").active] == [b"9"]


async def test_a_queue_is_changed_and_removed(client: ServiceBusAdministrationClient, double: ServiceBusDouble) -> None:
    queue = await client.get_queue("work")
    await client.update_queue(queue, lock_duration=timedelta(seconds=90), status="Disabled")
    assert double.queue("work").spec.lock_duration == 90
    assert double.queue("work").spec.enabled is False
    with pytest.raises(HttpResponseError, match="cannot be changed"):
        await client.update_queue(queue, requires_session=False)
    await client.delete_queue("work")
    assert [queue async for queue in client.list_queues()] == []


async def test_what_is_not_there_is_not_found(client: ServiceBusAdministrationClient) -> None:
    with pytest.raises(ResourceNotFoundError):
        await client.get_queue("nothing")
    with pytest.raises(ResourceNotFoundError):
        await client.get_subscription("files", "nothing")
    with pytest.raises(ResourceNotFoundError):
        await client.delete_queue("nothing")
    with pytest.raises(ResourceNotFoundError):
        await client.create_subscription("nothing", "s")


async def test_nothing_is_made_twice_or_beyond_the_limits(client: ServiceBusAdministrationClient) -> None:
    with pytest.raises(ResourceExistsError):
        await client.create_queue("work")
    for wrong in (
        {"lock_duration": "PT6M"},
        {"requires_duplicate_detection": True, "duplicate_detection_history_time_window": "PT5S"},
        {"max_delivery_count": 0},
    ):
        with pytest.raises(HttpResponseError, match="must be"):
            await client.create_queue("wrong", **wrong)
    with pytest.raises(HttpResponseError):
        await client.create_rule("files", "large", "r", filter=SqlRuleFilter("size >"))


async def test_administration_needs_the_right_to_manage(admin: Administration) -> None:
    async with client_of(admin, "listen") as client:
        with pytest.raises(ClientAuthenticationError):
            await client.get_queue("work")
