"""The backends of the port `Queue` as its suite sees them: opened on a clock that the test owns, crashed, opened again."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

from syncd.adapters.azure.servicebus.connection import Patience
from syncd.adapters.azure.servicebus.opening import open_service_bus
from syncd.adapters.embedded.clock import SystemClock
from syncd.adapters.embedded.store import open_store
from syncd.ports.clock import Clock
from syncd.ports.queue import Queue
from syncd.testing.clock import FrozenClock
from tests.wire.servicebus import QueueSpec, ServiceBusDouble, service_bus

BACKENDS = ("embedded", "servicebus")
QUEUES = ("sync-outbound", "sync-inbound", "another")
#: The service's longest lock. What is held is renewed all the same, but a clock that jumps leaves no time for it.
LOCK = 300.0
#: Short, since the suite asks again for what has not come by then.
PATIENCE = Patience(quick=0.15, quick_gap=0.04)
#: For what each single lease is asked, whatever else the machine is doing.
PATIENT = Patience(quick=10.0, quick_gap=2.0)


class World(Protocol):
    queue: Queue

    async def crash(self) -> Queue:
        """The process dies with all it holds; the queue of the next one, after all locks have run out."""
        ...


class Embedded:
    def __init__(self, stack: AsyncExitStack, directory: Path, clock: Clock) -> None:
        self._stack, self._directory, self._clock = stack, directory, clock

    async def open(self) -> Queue:
        store = await self._stack.enter_async_context(open_store(self._directory, clock=self._clock, durable=False))
        self.queue: Queue = store.queue
        return self.queue

    async def crash(self) -> Queue:
        await self._stack.aclose()
        return await self.open()


class ServiceBus:
    def __init__(self, stack: AsyncExitStack, bus: ServiceBusDouble, clock: FrozenClock, patience: Patience) -> None:
        self._stack, self._bus, self._clock, self._patience = stack, bus, clock, patience

    async def open(self) -> Queue:
        self.queue: Queue = await self._stack.enter_async_context(
            opened(self._bus.connection_string, self._clock, self._patience)
        )
        return self.queue

    async def crash(self) -> Queue:
        # What is leased is not released, as the network is gone first.
        self._bus.drop_connections()
        await self._clock.advance(LOCK)
        return await self.open()


def opened(
    connection_string: str, clock: Clock, patience: Patience = PATIENCE
) -> contextlib.AbstractAsyncContextManager[Queue]:
    return open_service_bus(connection_string=connection_string, queues=QUEUES, clock=clock, patience=patience)


def specs(lock: float = LOCK) -> list[QueueSpec]:
    """One queue has its lanes, the others have not."""
    names = (*QUEUES, "sync-outbound-high", "sync-outbound-low")
    return [QueueSpec(name=name, lock_duration=lock, duplicate_detection=600.0) for name in names]


@contextlib.asynccontextmanager
async def world(
    backend: str, directory: Path, clock: FrozenClock, *, patience: Patience = PATIENCE
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        if backend == "embedded":
            embedded = Embedded(stack, directory, clock)
            await embedded.open()
            yield embedded
        else:
            bus = await stack.enter_async_context(service_bus(queues=specs(), clock=clock))
            servicebus = ServiceBus(stack, bus, clock, patience)
            await servicebus.open()
            yield servicebus


@contextlib.asynccontextmanager
async def apart(backend: str, directory: Path, lock: float) -> AsyncIterator[Queue]:
    """In real time, with nothing of the backend on the test's loop, so that the test may block it."""
    if backend == "embedded":
        async with open_store(directory, clock=SystemClock(), durable=False) as store:
            yield store.queue
        return
    loop = asyncio.new_event_loop()
    started: asyncio.Future[ServiceBusDouble] = asyncio.get_running_loop().create_future()
    home, stop = asyncio.get_running_loop(), asyncio.Event()

    async def serve() -> None:
        async with service_bus(queues=specs(lock)) as bus:
            home.call_soon_threadsafe(started.set_result, bus)
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        async with opened((await started).connection_string, SystemClock()) as queue:
            yield queue
    finally:
        loop.call_soon_threadsafe(stop.set)
        await asyncio.to_thread(thread.join)
        loop.close()
