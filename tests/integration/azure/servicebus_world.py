"""The queue on the Service Bus double, with little patience, for tests that break what is between them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from syncd.adapters.azure.servicebus.connection import Patience
from syncd.adapters.azure.servicebus.opening import open_service_bus
from syncd.adapters.azure.servicebus.queue import ServiceBusQueue
from syncd.adapters.embedded.clock import SystemClock
from syncd.domain.errors import Overloaded, Unavailable
from syncd.domain.messages import Envelope
from syncd.ports.clock import Clock
from syncd.ports.queue import Complete, Delivery, Message
from tests.wire.servicebus import QueueSpec, ServiceBusDouble, service_bus

Q = "sync-outbound"
#: Seconds. What a machine that is busy with other work needs, and no more.
PATIENCE = Patience(connect=6.0, call=2.0, longest_pause=0.5, probe_every=0.5, probe=0.5, quick=0.4, quick_gap=0.05)


@dataclass
class Bench:
    bus: ServiceBusDouble
    queue: ServiceBusQueue
    told: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def events(self, name: str) -> list[dict[str, object]]:
        return [facts for event, facts in self.told if event == name]

    async def send(self, *names: str) -> None:
        await self.queue.send(Q, [message(name) for name in names])

    async def lease(self, count: int = 10, wait: float = 0.0) -> list[Delivery]:
        return await self.queue.lease(Q, count, duration=30.0, wait=wait)

    async def drained(self, expected: int) -> set[str]:
        """Lease and complete, through refusals as a worker goes through them, until so many were seen."""
        seen: set[str] = set()
        while len(seen) < expected:
            try:
                deliveries = await self.lease(wait=5.0)
                if deliveries:
                    done = await self.queue.settle([Complete(delivery) for delivery in deliveries])
                    seen.update(d.envelope.origin_id for d, kept in zip(deliveries, done, strict=True) if kept)
            except (Unavailable, Overloaded) as error:
                await SystemClock().sleep(min(error.retry_after or 0.1, 0.2))
        return seen


def message(name: str, body: bytes = b"{}") -> Message:
    return Message(Envelope(kind="test", origin_id=name), body)


@contextlib.asynccontextmanager
async def bench(
    *, specs: Sequence[QueueSpec] = (QueueSpec(name=Q),), clock: Clock | None = None, patience: Patience = PATIENCE
) -> AsyncIterator[Bench]:
    told: list[tuple[str, dict[str, object]]] = []

    def observe(event: str, /, **facts: object) -> None:
        told.append((event, facts))

    async with (
        service_bus(queues=specs) as bus,
        open_service_bus(
            connection_string=bus.connection_string,
            queues=[Q],
            lanes=False,
            clock=clock or SystemClock(),
            observe=observe,
            patience=patience,
        ) as queue,
    ):
        yield Bench(bus, queue, told)


@contextlib.asynccontextmanager
async def opened_at(*, clock: Clock | None = None, **address: str) -> AsyncIterator[ServiceBusQueue]:
    """A queue whose namespace is elsewhere, or nowhere."""
    async with open_service_bus(
        queues=[Q],
        lanes=False,
        clock=clock or SystemClock(),
        patience=PATIENCE,
        connection_string=address["connection_string"],
        ca_file=address.get("ca_file"),
        custom_endpoint=address.get("custom_endpoint"),
    ) as queue:
        yield queue
