"""Looking at the subscriptions of topics: nothing is touched, and the right to listen is enough."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from syncd.adapters.azure.servicebus.opening import open_topics
from syncd.adapters.azure.servicebus.topics import ServiceBusTopics
from syncd.adapters.embedded.clock import SystemClock
from syncd.domain.errors import NotFound, Unavailable
from syncd.ports.topics import Subscription
from tests.integration.azure.servicebus_world import PATIENCE
from tests.wire.servicebus import ServiceBusDouble, SubscriptionSpec, TopicSpec, service_bus

FAST, SLOW, GONE = Subscription("jobs", "fast"), Subscription("jobs", "slow"), Subscription("jobs", "gone")


@pytest.fixture
async def bus() -> AsyncIterator[ServiceBusDouble]:
    specs = (SubscriptionSpec(name="fast"), SubscriptionSpec(name="slow"))
    async with service_bus(topics=[TopicSpec(name="jobs", subscriptions=specs)]) as bus:
        yield bus


@pytest.fixture
async def topics(bus: ServiceBusDouble) -> AsyncIterator[ServiceBusTopics]:
    async with open_topics(
        connection_string=bus.connection_string_for("listen"),
        subscriptions=[SLOW, FAST, GONE],
        clock=SystemClock(),
        patience=PATIENCE,
    ) as topics:
        yield topics


async def test_what_waits_is_seen_from_a_sequence_number_on_and_stays_as_it_is(
    bus: ServiceBusDouble, topics: ServiceBusTopics
) -> None:
    bus.put("jobs", b"one", b"two", b"three", message_id=None, properties={"size": 3, "name": "x"})
    first = await topics.peek(FAST, limit=2)
    rest = await topics.peek(FAST, after=first[-1].sequence)
    assert [waiting.body for waiting in (*first, *rest)] == [b"one", b"two", b"three"]
    assert first[0].properties == {"size": 3, "name": "x"}
    assert [waiting.deliveries for waiting in first] == [0, 0]
    assert await topics.peek(FAST, after=rest[-1].sequence) == []
    assert len(await topics.peek(SLOW)) == 3
    assert len(bus.subscription("jobs", "fast").active) == 3
    assert not bus.happened("receive")


async def test_the_list_is_that_of_the_configuration(topics: ServiceBusTopics) -> None:
    assert await topics.subscriptions() == [FAST, GONE, SLOW]


async def test_a_subscription_that_does_not_exist_is_not_found(topics: ServiceBusTopics) -> None:
    with pytest.raises(NotFound, match="gone"):
        await topics.peek(GONE)
    with pytest.raises(NotFound, match="other"):
        await topics.peek(Subscription("other", "x"))


async def test_a_broker_that_is_away_is_unavailable_and_looked_at_again_when_it_is_back(
    bus: ServiceBusDouble, topics: ServiceBusTopics
) -> None:
    bus.put("jobs", b"one")
    assert len(await topics.peek(FAST)) == 1
    bus.refuse()
    with pytest.raises(Unavailable):
        await topics.peek(FAST)
    await bus.accept()
    while True:
        try:
            assert len(await topics.peek(FAST)) == 1
            break
        except Unavailable as error:
            await SystemClock().sleep(error.retry_after or 0.05)
