"""Puts the parts together on the I/O thread, where the SDK's objects live, and takes them apart in the order in which work flows."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypedDict

import certifi
from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusSubQueue, TransportType
from azure.servicebus.aio import ServiceBusClient

from syncd.adapters.azure.servicebus import sdk
from syncd.adapters.azure.servicebus.browsing import Browser
from syncd.adapters.azure.servicebus.connection import CLOSE_TIMEOUT, Patience
from syncd.adapters.azure.servicebus.consumer import Consumer, Source
from syncd.adapters.azure.servicebus.counting import Counting
from syncd.adapters.azure.servicebus.deadletters import Graveyard
from syncd.adapters.azure.servicebus.iothread import IoThread
from syncd.adapters.azure.servicebus.link import Link
from syncd.adapters.azure.servicebus.outbox import Outbox
from syncd.adapters.azure.servicebus.queue import ServiceBusQueue
from syncd.adapters.azure.servicebus.sending import Sending
from syncd.adapters.azure.servicebus.sessions import LOOK_FOR, SessionLink, none_free
from syncd.adapters.azure.servicebus.topics import ServiceBusTopics
from syncd.adapters.azure.servicebus.wire import Wire
from syncd.domain.errors import Invalid
from syncd.domain.messages import Lane
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe
from syncd.ports.topics import Subscription

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.servicebus.aio.management import ServiceBusAdministrationClient

#: In a connection string: there is no TLS, and no administration API either. In lower case only, as the SDK has it.
EMULATOR = "UseDevelopmentEmulator=true"
#: How long one read of the SDK waits: what a turn on a connection may have to wait for another to end. Seconds.
READ = 0.1


class _Options(TypedDict, total=False):
    retry_total: int
    try_timeout: float
    socket_timeout: float
    ssl_context: ssl.SSLContext
    custom_endpoint_address: str
    transport_type: TransportType
    timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """How the namespace is reached and who we are."""

    connection_string: str | None = None
    namespace: str | None = None
    credential: AsyncTokenCredential | None = None
    """Asked for tokens on the I/O thread."""
    ca_file: str | None = None
    custom_endpoint: str | None = None
    administration: str | None = None
    """The connection string of the administration API, where that is not at the namespace's own address."""

    def administration_client(self) -> Callable[[], ServiceBusAdministrationClient] | None:
        """What makes one; None for an emulator, which has none."""
        given = self.administration or self.connection_string
        if given is not None and EMULATOR in given.replace(" ", ""):
            return None

        def make() -> ServiceBusAdministrationClient:
            # Not every process asks for numbers.
            from syncd.adapters.azure.servicebus.administration import administration_client

            return administration_client(
                connection_string=given,
                namespace=self.namespace,
                credential=self.credential,
                ca_file=self.ca_file,
                retries=0,
            )

        return make

    def client(self, patience: Patience) -> ServiceBusClient:
        """Sends nothing. Raises Invalid where it says too little, or what the SDK cannot read."""
        options: _Options = {"retry_total": 0, "try_timeout": patience.connect, "ssl_context": _trusting(self.ca_file)}
        if self.custom_endpoint is not None:
            options["custom_endpoint_address"] = self.custom_endpoint
            options["transport_type"] = TransportType.Amqp
        try:
            if self.connection_string is not None:
                return ServiceBusClient.from_connection_string(self.connection_string, **options)
        except ValueError as error:
            raise Invalid(f"the connection string of Service Bus cannot be read: {error}") from error
        if self.namespace is None or self.credential is None:
            raise Invalid("Service Bus needs a connection string, or a namespace and a credential")
        return ServiceBusClient(self.namespace, self.credential, **options)


def _trusting(ca_file: str | None) -> ssl.SSLContext:
    """One for all connections, as the SDK makes it anew for each: that reads some hundred certificates every time (20 ms and more, in
    which the loop stands still; at the end of an outage for 30 connections at once). Raises Invalid."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(ca_file or certifi.where())
    except OSError as error:
        raise Invalid(f"the certificates in {ca_file} cannot be read: {error}") from error
    return context


class TopicAssembly:
    """Made and closed on the I/O thread."""

    def __init__(
        self,
        *,
        thread: IoThread,
        address: Address,
        subscriptions: Sequence[Subscription],
        clock: Clock,
        observe: Observe,
        patience: Patience,
    ) -> None:
        self._client = address.client(patience)
        self._thread = thread
        links = {
            each: Link(
                f"{each.topic}/Subscriptions/{each.name}",
                partial(self._client.get_subscription_receiver, each.topic, each.name, socket_timeout=READ),
                clock=clock,
                observe=observe,
                patience=patience,
            )
            for each in subscriptions
        }
        self.topics = ServiceBusTopics(thread=thread, links=links)

    async def close(self) -> None:
        await self._thread.quiet(CLOSE_TIMEOUT)
        await self.topics.close()
        await sdk.close(self._client)


class Assembly:
    """Made and closed on the I/O thread."""

    def __init__(
        self,
        *,
        thread: IoThread,
        address: Address,
        names: Mapping[str, str],
        lanes: Sequence[Lane],
        sender: str,
        clock: Clock,
        observe: Observe,
        patience: Patience,
    ) -> None:
        self._client = address.client(patience)
        self._thread = thread
        self._clock = clock
        self._observe = observe
        self._patience = patience
        self._wire = Wire(sender=sender)
        self._lanes = lanes
        self._counting = Counting(address.administration_client(), timeout=patience.count)
        self._consumers = {queue: self._consumer(queue, entity) for queue, entity in names.items()}
        self._sendings = {queue: self._sending(entity) for queue, entity in names.items()}
        self._browsers = {queue: self._browser(consumer) for queue, consumer in self._consumers.items()}
        self._graveyards = {queue: self._graveyard(queue, entity) for queue, entity in names.items()}
        self.queue = ServiceBusQueue(
            thread=thread,
            clock=clock,
            consumers=self._consumers,
            sendings=self._sendings,
            browsers=self._browsers,
            graveyards=self._graveyards,
        )

    def connect(self, queues: Collection[str]) -> None:
        """Begin to connect their senders."""
        for queue in queues:
            self._sendings[queue].connect()

    async def close(self) -> None:
        """Sends and calls end first, then what is leased and not worked on is released, then everything is closed."""
        await asyncio.gather(*(sending.close() for sending in self._sendings.values()))
        await self._thread.quiet(CLOSE_TIMEOUT)
        for browser in self._browsers.values():
            browser.close()
        closing = [consumer.close() for consumer in self._consumers.values()]
        closing += [graveyard.close() for graveyard in self._graveyards.values()]
        await asyncio.gather(*closing, self._counting.close())
        await sdk.close(self._client)

    def _entities(self, entity: str) -> list[tuple[Lane, str]]:
        return [(lane, entity if lane == "normal" else f"{entity}-{lane}") for lane in self._lanes]

    def _link(self, lane: Lane, entity: str, *, dead: bool = False) -> Link:
        make = partial(
            self._client.get_queue_receiver,
            entity,
            socket_timeout=READ,
            sub_queue=ServiceBusSubQueue.DEAD_LETTER if dead else None,
        )
        name = f"{entity}/$DeadLetterQueue" if dead else entity
        return Link(
            name, make, clock=self._clock, observe=self._observe, patience=self._patience, optional=lane != "normal"
        )

    def _session_link(self, entity: str) -> Link:
        make = partial(
            self._client.get_queue_receiver,
            entity,
            session_id=NEXT_AVAILABLE_SESSION,
            max_wait_time=LOOK_FOR,
            socket_timeout=READ,
        )
        return SessionLink(
            entity, make, clock=self._clock, observe=self._observe, patience=self._patience, is_nothing=none_free
        )

    def _consumer(self, queue: str, entity: str) -> Consumer:
        return Consumer(
            queue,
            [
                Source(lane, self._link(lane, name), lane != "normal", partial(self._session_link, name))
                for lane, name in self._entities(entity)
            ],
            wire=self._wire,
            clock=self._clock,
            observe=self._observe,
            patience=self._patience,
        )

    def _sending(self, entity: str) -> Sending:
        outboxes = {
            lane: Outbox(
                name,
                partial(self._client.get_queue_sender, name, socket_timeout=READ),
                wake=self._thread.post,
                observe=self._observe,
                patience=self._patience,
                optional=lane != "normal",
            )
            for lane, name in self._entities(entity)
        }
        return Sending(outboxes, post=self._thread.post, wire=self._wire, clock=self._clock, observe=self._observe)

    def _browser(self, consumer: Consumer) -> Browser:
        return Browser(
            consumer, counting=self._counting, wire=self._wire, clock=self._clock, unused=self._patience.unused
        )

    def _graveyard(self, queue: str, entity: str) -> Graveyard:
        return Graveyard(
            queue,
            [(lane, name, self._link(lane, name, dead=True)) for lane, name in self._entities(entity)],
            counting=self._counting,
            wire=self._wire,
            clock=self._clock,
            patience=self._patience,
        )
