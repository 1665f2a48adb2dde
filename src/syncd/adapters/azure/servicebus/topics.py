"""The port `Topics` on Service Bus: configured subscriptions, peeked with no right but Listen.

Each subscription has a connection of its own on the I/O thread, opened when it is first looked at. Nothing is received, so nothing is
locked and no delivery counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from azure.servicebus import ServiceBusMessageState

from syncd.adapters.azure.servicebus.connection import says_missing
from syncd.adapters.azure.servicebus.iothread import IoThread
from syncd.adapters.azure.servicebus.link import Link
from syncd.adapters.azure.servicebus.wire import body_of, plain_properties
from syncd.domain.errors import NotFound, SyncdError
from syncd.ports.topics import Subscription, Waiting

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage

#: Messages of one peek.
PAGE = 250


class ServiceBusTopics:
    """Made by `open_topics`."""

    def __init__(self, *, thread: IoThread, links: Mapping[Subscription, Link]) -> None:
        self._thread = thread
        self._links = links

    async def subscriptions(self) -> Sequence[Subscription]:
        return sorted(self._links)

    async def peek(self, subscription: Subscription, *, after: int = 0, limit: int = 100) -> list[Waiting]:
        link = self._links.get(subscription)
        if link is None:
            raise NotFound(f"the subscription {subscription.topic}/{subscription.name} is not configured")
        try:
            return await self._thread.call(lambda: _peek(link, after, limit))
        except SyncdError as error:
            if says_missing(error):
                raise NotFound(f"the topic {subscription.topic} has no subscription {subscription.name}") from error
            raise

    async def close(self) -> None:
        """On the I/O thread."""
        await asyncio.gather(*(link.close() for link in self._links.values()))


async def _peek(link: Link, after: int, limit: int) -> list[Waiting]:
    messages = await link.peek(min(limit, PAGE), after)
    return [_waiting(message) for message in messages if message.state == ServiceBusMessageState.ACTIVE]


def _waiting(message: ServiceBusReceivedMessage) -> Waiting:
    enqueued = message.enqueued_time_utc
    return Waiting(
        sequence=message.sequence_number or 0,
        message_id=message.message_id,
        body=body_of(message),
        properties=plain_properties(message),
        enqueued_at=0.0 if enqueued is None else enqueued.timestamp(),
        deliveries=message.delivery_count or 0,
    )
