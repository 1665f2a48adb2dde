"""The queue on the Service Bus double, with little patience, for tests that break what is between them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from syncd.adapters.azure.servicebus.connection import Patience
from syncd.adapters.azure.servicebus.opening import open_service_bus
from syncd.adapters.azure.servicebus.queue import ServiceBusQueue
from syncd.adapters.embedded.clock import SystemClock
from syncd.domain.errors import Overloaded, Unavailable
from syncd.domain.messages import Envelope
from syncd.ports.clock import Clock
from syncd.ports.queue import Complete, Delivery, Message, Settlement
from tests.wire.servicebus import QueueSpec, ServiceBusDouble, service_bus

Q = "sync-outbound"
T = TypeVar("T")
#: Seconds. What a machine that is busy with other work needs, and no more.
PATIENCE = Patience(connect=6.0, call=2.0, longest_pause=0.5, probe_every=0.5, probe=0.5, quick=1.0, quick_gap=0.15)


@dataclass
class Machine:
    """The clocks of this machine: `ahead` of the world's, and further on by as long as the test let pass."""

    ahead: float = 0.0
    passed: float = 0.0

    def wall(self) -> float:
        return time.time() + self.passed + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.passed

    def clock(self) -> SystemClock:
        return SystemClock(wall=self.wall, monotonic=self.monotonic)

    def let_pass(self, seconds: float, bus: ServiceBusDouble) -> None:
        """Here and at the broker."""
        self.passed += seconds
        bus.advance(seconds)


@dataclass
class Bench:
    bus: ServiceBusDouble = field(init=False)
    queue: ServiceBusQueue = field(init=False)
    told: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def observe(self, event: str, /, **facts: object) -> None:
        self.told.append((event, facts))
        self.more.set()

    async def until_told(self, event: str, times: int = 1) -> None:
        while len(self.events(event)) < times:
            self.more.clear()
            await self.more.wait()

    async def send_at_last(self, name: str) -> None:
        """As a producer does that is told to come again."""
        await self.at_last(lambda: self.send(name))

    async def settle_at_last(self, settlement: Settlement) -> list[bool]:
        """As the executor does, while the lease is held."""
        return await self.at_last(lambda: self.queue.settle([settlement]))

    async def at_last(self, work: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await work()
            except (Unavailable, Overloaded) as error:
                await SystemClock().sleep(min(error.retry_after or 0.1, 0.2))

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
            deliveries = await self.at_last(lambda: self.lease(wait=5.0))
            for delivery in deliveries:
                if await self.settle_at_last(Complete(delivery)) == [True]:
                    seen.add(delivery.envelope.origin_id)
        return seen


def message(name: str, body: bytes = b"{}") -> Message:
    return Message(Envelope(kind="test", origin_id=name), body)


@contextlib.asynccontextmanager
async def bench(
    *, specs: Sequence[QueueSpec] = (QueueSpec(name=Q),), clock: Clock | None = None, patience: Patience = PATIENCE
) -> AsyncIterator[Bench]:
    world = Bench()
    async with (
        service_bus(queues=specs) as world.bus,
        open_service_bus(
            connection_string=world.bus.connection_string,
            queues=[Q],
            lanes=False,
            clock=clock or SystemClock(),
            observe=world.observe,
            patience=patience,
        ) as world.queue,
    ):
        yield world


@contextlib.asynccontextmanager
async def opened_at(
    *, clock: Clock | None = None, ready: Sequence[str] = (), **address: str
) -> AsyncIterator[ServiceBusQueue]:
    """A queue whose namespace is elsewhere, or nowhere."""
    async with open_service_bus(
        queues=[Q],
        ready=ready,
        lanes=False,
        clock=clock or SystemClock(),
        patience=PATIENCE,
        connection_string=address["connection_string"],
        ca_file=address.get("ca_file"),
        custom_endpoint=address.get("custom_endpoint"),
    ) as queue:
        yield queue
