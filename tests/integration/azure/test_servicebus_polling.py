"""Long polls end when nobody asks, and senders connect before anybody sends."""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import replace

import pytest

from syncd.adapters.azure.servicebus.link import Link
from syncd.adapters.azure.servicebus.opening import open_service_bus
from syncd.adapters.embedded.clock import SystemClock
from syncd.domain.errors import Unavailable
from syncd.ports.queue import Complete
from tests.integration.azure.servicebus_world import PATIENCE, Q, bench, message, opened_at
from tests.wire.servicebus import QueueSpec, service_bus


async def test_a_long_poll_that_overhears_its_end_takes_no_message_from_those_who_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`asyncio.wait_for` of Python 3.11, which the SDK uses, swallows a cancellation that comes as its wait ends."""
    polling, overheard = asyncio.Event(), asyncio.Event()
    home, probe = asyncio.get_running_loop(), Link._probe

    async def overhears(link: Link) -> None:
        await probe(link)
        if not overheard.is_set() and _is_long_poll():
            try:
                home.call_soon_threadsafe(polling.set)
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                home.call_soon_threadsafe(overheard.set)

    monkeypatch.setattr(Link, "_probe", overhears)
    async with (
        bench(patience=replace(PATIENCE, unasked=0.1)) as world,
        opened_at(connection_string=world.bus.connection_string) as other,
    ):
        asking = asyncio.create_task(world.lease(wait=60.0))
        await polling.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await overheard.wait()
        await world.bus.until("drain")
        world.bus.put(Q, b"{}", properties={"originId": "a", "kind": "t"})
        [delivery] = await other.lease(Q, 1, duration=30.0, wait=20.0)
        assert delivery.deliveries == 1
        assert await other.settle([Complete(delivery)]) == [True]
        assert len(world.bus.happened("receive")) == 1, "nobody else had it meanwhile"


def _is_long_poll() -> bool:
    task = asyncio.current_task()
    return task is not None and "_await_one" in repr(task.get_coro())


async def test_a_long_poll_is_stopped_while_it_connects_and_leaves_nothing_behind() -> None:
    async with bench(patience=replace(PATIENCE, unasked=0.1)) as world:
        await world.send("first")
        await world.drained(1)
        world.bus.silence()
        waiting = asyncio.create_task(world.lease(wait=30.0))
        await SystemClock().sleep(0.2)  # somewhere in the poll, or in the connecting after it
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        world.bus.speak()
        await world.send_at_last("second")
        assert await world.drained(1) == {"second"}
    gc.collect()  # a socket that is still open warns, and a warning is an error


async def test_a_sender_that_must_be_quick_is_connected_before_the_first_message() -> None:
    async with (
        service_bus(queues=[QueueSpec(name=Q), QueueSpec(name="later")]) as bus,
        open_service_bus(
            connection_string=bus.connection_string,
            queues=[Q, "later"],
            ready=[Q],
            lanes=False,
            clock=SystemClock(),
            patience=PATIENCE,
        ) as queue,
    ):
        await bus.until("attach", link="Producer", entity=Q)
        assert bus.happened("send") == []
        assert len(bus.happened("open")) == 1, "the others connect when something is sent"
        await queue.send(Q, [message("a")])
        assert len(bus.happened("open")) == 1
        assert len(bus.queue(Q)) == 1


async def test_connecting_ahead_holds_up_neither_a_start_nor_a_stop_where_nobody_answers() -> None:
    async with service_bus(queues=[QueueSpec(name=Q)]) as bus:
        bus.silence()
        began = time.monotonic()
        async with opened_at(connection_string=bus.connection_string, ready=[Q]):
            opened = time.monotonic() - began
            await bus.until("open")
        assert opened < PATIENCE.connect / 2
        assert time.monotonic() - began < 2 * PATIENCE.connect
    gc.collect()  # a socket that is still open warns, and a warning is an error


async def test_what_is_sent_while_it_connects_ahead_leaves_on_that_connection() -> None:
    async with service_bus(queues=[QueueSpec(name=Q)], latency=0.05) as bus:
        async with opened_at(connection_string=bus.connection_string, ready=[Q]) as queue:
            await asyncio.gather(*(queue.send(Q, [message(f"m{number}")]) for number in range(20)))
        assert len(bus.happened("open")) == 1
        assert len(bus.queue(Q)) == 20


async def test_connecting_ahead_that_failed_is_told_to_the_first_who_sends_and_works_once_the_broker_is_there() -> None:
    async with service_bus(queues=[QueueSpec(name=Q)]) as bus:
        bus.refuse()
        async with opened_at(connection_string=bus.connection_string, ready=[Q]) as queue:
            with pytest.raises(Unavailable):
                await queue.send(Q, [message("early")])
            await bus.accept()
            while not len(bus.queue(Q)):
                try:
                    await queue.send(Q, [message("late")])
                except Unavailable as error:
                    await SystemClock().sleep(min(error.retry_after or 0.1, 0.2))  # as a producer does that is told so
