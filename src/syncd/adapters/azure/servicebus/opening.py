"""Opens the queue, and the topics. Nothing is waited for: a broker that is away holds up no start."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from syncd.adapters.azure.servicebus.iothread import IoThread
from syncd.domain.messages import LANES
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe, ignore
from syncd.ports.topics import Subscription

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

    from syncd.adapters.azure.servicebus.assembly import Address
    from syncd.adapters.azure.servicebus.connection import Patience
    from syncd.adapters.azure.servicebus.queue import ServiceBusQueue
    from syncd.adapters.azure.servicebus.topics import ServiceBusTopics


@asynccontextmanager
async def open_service_bus(
    *,
    connection_string: str | None = None,
    namespace: str | None = None,
    credential: AsyncTokenCredential | None = None,
    queues: Sequence[str],
    entities: Mapping[str, str] | None = None,
    lanes: bool = True,
    ready: Collection[str] = (),
    clock: Clock,
    observe: Observe = ignore,
    patience: Patience | None = None,
    ca_file: str | None = None,
    custom_endpoint: str | None = None,
    administration: str | None = None,
) -> AsyncIterator[ServiceBusQueue]:
    """Queues of one namespace, by `connection_string`, or by `namespace` (a host) and `credential`.

    `entities`: the entity behind a queue, where it has another name. `lanes`: use `<entity>-high` and `<entity>-low` where they exist.
    `ready`: queues whose senders begin to connect now, for callers with little time (a first send takes about a second longer).
    `ca_file`, `custom_endpoint` (`sb://host:port`): for a namespace behind a private address, or an emulator with TLS.
    `administration`: a connection string for the administration API where it has another address; messages are counted there by those
    who may.
    The credential and `observe` are called on the loop that opens this. Raises Invalid where the namespace is not told, or its
    connection string cannot be read.
    """
    # These bring the SDK: only where Service Bus is used.
    from syncd.adapters.azure.servicebus.assembly import Assembly
    from syncd.adapters.azure.servicebus.connection import Patience

    address = _address(connection_string, namespace, credential, ca_file, custom_endpoint, administration)
    async with _io_thread() as thread:

        async def assemble() -> Assembly:
            return Assembly(
                thread=thread,
                address=address,
                names={queue: (entities or {}).get(queue, queue) for queue in queues},
                lanes=list(LANES) if lanes else ["normal"],
                sender=uuid.uuid4().hex[:8],
                clock=clock,
                observe=_at_home(thread, observe),
                patience=patience or Patience(),
            )

        assembly = await thread.call(assemble)
        thread.post(lambda: assembly.connect(ready))
        try:
            yield assembly.queue
        finally:
            await asyncio.shield(thread.call(assembly.close))


@asynccontextmanager
async def open_topics(
    *,
    connection_string: str | None = None,
    namespace: str | None = None,
    credential: AsyncTokenCredential | None = None,
    subscriptions: Sequence[Subscription],
    clock: Clock,
    observe: Observe = ignore,
    patience: Patience | None = None,
    ca_file: str | None = None,
    custom_endpoint: str | None = None,
) -> AsyncIterator[ServiceBusTopics]:
    """The subscriptions of the configuration; everything else as in `open_service_bus`. The right to listen is enough."""
    from syncd.adapters.azure.servicebus.assembly import TopicAssembly
    from syncd.adapters.azure.servicebus.connection import Patience

    address = _address(connection_string, namespace, credential, ca_file, custom_endpoint)
    async with _io_thread() as thread:

        async def assemble() -> TopicAssembly:
            return TopicAssembly(
                thread=thread,
                address=address,
                subscriptions=subscriptions,
                clock=clock,
                observe=_at_home(thread, observe),
                patience=patience or Patience(),
            )

        assembly = await thread.call(assemble)
        try:
            yield assembly.topics
        finally:
            await asyncio.shield(thread.call(assembly.close))


def _address(
    connection_string: str | None,
    namespace: str | None,
    credential: AsyncTokenCredential | None,
    ca_file: str | None,
    custom_endpoint: str | None,
    administration: str | None = None,
) -> Address:
    from syncd.adapters.azure.servicebus.assembly import Address
    from syncd.adapters.azure.servicebus.bridge import HomeCredential

    return Address(
        connection_string=connection_string,
        namespace=namespace,
        credential=None if credential is None else HomeCredential(credential, asyncio.get_running_loop()),
        ca_file=ca_file,
        custom_endpoint=custom_endpoint,
        administration=administration,
    )


@asynccontextmanager
async def _io_thread() -> AsyncIterator[IoThread]:
    thread = IoThread("service-bus")
    thread.start()
    try:
        yield thread
    finally:
        await thread.stop()


def _at_home(thread: IoThread, observe: Observe) -> Observe:
    def tell(event: str, /, **facts: object) -> None:
        thread.home(partial(observe, event, **facts))

    return tell
