"""Opens the queue. Nothing is connected yet when it returns: a broker that is away holds up no start."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from syncd.domain.messages import LANES
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe, ignore

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

    from syncd.adapters.azure.servicebus.connection import Patience
    from syncd.adapters.azure.servicebus.queue import ServiceBusQueue


@asynccontextmanager
async def open_service_bus(
    *,
    connection_string: str | None = None,
    namespace: str | None = None,
    credential: AsyncTokenCredential | None = None,
    queues: Sequence[str],
    entities: Mapping[str, str] | None = None,
    lanes: bool = True,
    clock: Clock,
    observe: Observe = ignore,
    patience: Patience | None = None,
    ca_file: str | None = None,
    custom_endpoint: str | None = None,
) -> AsyncIterator[ServiceBusQueue]:
    """Queues of one namespace, by `connection_string`, or by `namespace` (a host) and `credential`.

    `entities`: the entity behind a queue, where it has another name. `lanes`: use `<entity>-high` and `<entity>-low` where they exist.
    `ca_file`, `custom_endpoint` (`sb://host:port`): for a namespace behind a private address, or an emulator with TLS.
    The credential and `observe` are called on the loop that opens this. Raises Invalid where the namespace is not told, or its
    connection string cannot be read.
    """
    # These bring the SDK: only where Service Bus is used.
    from syncd.adapters.azure.servicebus.assembly import Address, Assembly
    from syncd.adapters.azure.servicebus.bridge import HomeCredential
    from syncd.adapters.azure.servicebus.connection import Patience
    from syncd.adapters.azure.servicebus.iothread import IoThread

    address = Address(
        connection_string=connection_string,
        namespace=namespace,
        credential=None if credential is None else HomeCredential(credential, asyncio.get_running_loop()),
        ca_file=ca_file,
        custom_endpoint=custom_endpoint,
    )
    thread = IoThread("service-bus")
    thread.start()

    def tell(event: str, /, **facts: object) -> None:
        thread.home(partial(observe, event, **facts))

    async def assemble() -> Assembly:
        return Assembly(
            thread=thread,
            address=address,
            names={queue: (entities or {}).get(queue, queue) for queue in queues},
            lanes=list(LANES) if lanes else ["normal"],
            sender=uuid.uuid4().hex[:8],
            clock=clock,
            observe=tell,
            patience=patience or Patience(),
        )

    try:
        assembly = await thread.call(assemble)
        try:
            yield assembly.queue
        finally:
            await asyncio.shield(thread.call(assembly.close))
    finally:
        await thread.stop()
