"""The broker and the way to it fail: nothing is lost, the reason is told, and work goes on without a restart."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
import time
from dataclasses import replace

import pytest

from syncd.adapters.embedded.clock import SystemClock
from syncd.domain.errors import Overloaded, Unavailable
from syncd.ports.queue import Complete
from tests.integration.azure.servicebus_world import PATIENCE, Machine, Q, bench, message
from tests.wire.servicebus import QueueSpec


async def test_a_broker_that_is_gone_and_back_loses_nothing_and_is_told_once() -> None:
    async with bench() as world:
        await world.send("before")
        [held] = await world.lease()
        world.bus.refuse()
        with pytest.raises(Unavailable):
            await world.queue.send(Q, [message("meanwhile")])
        with pytest.raises(Unavailable):
            await world.lease(wait=10.0)
        with pytest.raises(Unavailable):
            await world.queue.settle([Complete(held)])
        await world.bus.accept()
        back = time.monotonic()
        assert await world.settle_at_last(Complete(held)) == [True]
        await world.send_at_last("after")
        assert await world.drained(1) == {"after"}
        assert time.monotonic() - back < 30
        assert len(world.bus.queue(Q)) == 0
        assert world.events("broker_unreachable")
        assert world.events("broker_back")


async def test_a_broker_that_was_gone_for_longer_than_the_lock_gives_the_message_to_the_next_and_keeps_the_count() -> (
    None
):
    async with bench() as world:
        await world.send("a")
        [held] = await world.lease()
        world.bus.refuse()
        with pytest.raises(Unavailable):
            await world.lease(wait=5.0)
        world.bus.advance(61.0)  # the lock was 60 s
        await world.bus.accept()
        [again] = await world.at_last(lambda: world.lease(wait=5.0))
        assert (again.envelope.origin_id, again.deliveries) == ("a", 2)
        assert await world.settle_at_last(Complete(held)) == [False]
        assert await world.settle_at_last(Complete(again)) == [True]


async def test_a_lease_that_waits_hears_that_the_broker_is_gone() -> None:
    async with bench() as world:
        await world.send("first")
        await world.drained(1)
        waiting = asyncio.create_task(world.lease(wait=30.0))
        await world.bus.until("send", 1)
        world.bus.refuse()
        with pytest.raises(Unavailable):
            await waiting
        await world.bus.accept()
        await world.send_at_last("second")
        assert await world.drained(1) == {"second"}


async def test_a_connection_that_is_dead_without_saying_so_is_found_out_and_replaced() -> None:
    async with bench() as world:
        await world.send("first")
        await world.drained(1)
        waiting = asyncio.create_task(world.lease(wait=60.0))
        assert world.bus.half_open() >= 2
        cut = time.monotonic()
        with pytest.raises(Unavailable):
            await waiting
        await world.send_at_last("after")
        assert await world.drained(1) == {"after"}
        assert time.monotonic() - cut < 30


async def test_a_dead_connection_is_found_out_by_callers_who_stay_for_less_than_a_probe_takes() -> None:
    async with bench(patience=replace(PATIENCE, probe=1.5)) as world:
        await world.send("first")
        await world.drained(1)
        world.bus.half_open()
        replaced = asyncio.create_task(world.bus.until("attach", 2, entity=Q, link="Consumer"))
        while not replaced.done():
            with contextlib.suppress(Unavailable):
                await world.lease(wait=0.2)


async def test_a_broker_that_is_silent_is_not_taken_for_an_empty_queue() -> None:
    async with bench() as world:
        await world.send("first")
        await world.drained(1)
        world.bus.silence()
        with pytest.raises(Unavailable):
            await world.lease(wait=60.0)
        with pytest.raises(Unavailable):
            await world.send("lost?")
        world.bus.speak()
        await world.send_at_last("after")
        assert "after" in await world.drained(1)


async def test_a_start_during_an_outage_works_once_the_broker_is_there() -> None:
    async with bench() as world:
        world.bus.refuse()
        with pytest.raises(Unavailable):
            await world.send("early")
        with pytest.raises(Unavailable):
            await world.lease(wait=5.0)
        await world.bus.accept()
        await world.send_at_last("late")
        assert await world.drained(1) == {"late"}


async def test_an_answer_that_is_lost_after_a_send_stores_the_message_once_where_duplicates_are_detected() -> None:
    async with bench(specs=[QueueSpec(name=Q, duplicate_detection=600.0)]) as world:
        await world.send("first")
        world.bus.lose_answer("send")
        await world.send("second")
        assert await world.drained(2) == {"first", "second"}
        assert len(world.bus.queue(Q)) == 0


async def test_what_was_held_by_a_connection_that_is_gone_is_settled_together_by_the_next() -> None:
    async with bench() as world:
        await world.send(*(str(number) for number in range(8)))
        held = await world.lease()
        assert len(held) == 8
        world.bus.drop_connections()

        async def settled() -> list[bool]:
            return await world.queue.settle([Complete(delivery) for delivery in held])

        assert await world.at_last(settled) == [True] * 8
        assert world.bus.happened("protocol error") == []


async def test_a_lock_that_ends_with_a_settlement_under_way_is_not_renewed() -> None:
    machine = Machine()
    async with bench(clock=machine.clock()) as world:
        await world.send("first")
        [held] = await world.lease()
        world.bus.drop_connections()  # from here on it is settled by its lock's token, which the SDK then forgets
        await world.at_last(lambda: world.queue.peek(Q))
        machine.let_pass(40.0, world.bus)
        settled, _ = await asyncio.gather(world.queue.settle([Complete(held)]), world.queue.extend([held], 30.0))
        assert settled == [True]
        assert world.bus.happened("refused") == []


async def test_the_certificates_are_read_once_for_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    really = ssl.SSLContext.load_verify_locations

    def reading(context: ssl.SSLContext, cafile: str | None = None) -> None:
        read.append(cafile)
        really(context, cafile)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", reading)
    async with bench() as world:
        await world.send("first")
        assert await world.drained(1) == {"first"}
        assert len(world.bus.happened("open")) >= 2
    assert len(read) == 1


async def test_links_that_the_service_closes_for_idleness_are_replaced_unseen() -> None:
    async with bench() as world:
        await world.send("first")
        await world.drained(1)
        world.bus.close_idle_links()
        await world.send("second")
        assert await world.drained(1) == {"second"}


async def test_an_expired_token_is_replaced() -> None:
    async with bench() as world:
        await world.send("first")
        [held] = await world.lease()
        world.bus.expire_tokens()
        await world.send_at_last("second")
        assert await world.drained(1) == {"second"}
        assert await world.queue.settle([Complete(held)]) == [True]


async def test_a_busy_server_is_overload_with_the_patience_that_it_asks_for() -> None:
    async with bench() as world:
        await world.send("first")
        world.bus.throttle()
        with pytest.raises(Overloaded) as refused:
            await world.send("second")
        assert refused.value.retry_after
        world.bus.heal()


async def test_a_receiver_that_was_detached_as_busy_is_replaced_and_not_asked_again_for_what_it_said_then() -> None:
    async with bench(patience=replace(PATIENCE, probe_every=60.0)) as world:  # nothing else finds it out
        await world.send("first")
        await world.drained(1)
        waiting = asyncio.create_task(world.lease(wait=60.0))
        await world.bus.until("receive", 1)
        world.bus.throttle()
        world.bus.detach_links("com.microsoft:server-busy", Q)
        with pytest.raises(Overloaded):
            await waiting
        with pytest.raises(Overloaded):  # no storm of attaches: what was said is said again until it is time
            await world.lease(wait=1.0)
        world.bus.heal()
        await world.send_at_last("second")
        assert await world.drained(1) == {"second"}
        assert len(world.events("broker_busy")) == 1
        assert world.bus.happened("protocol error") == [], "nothing was said on the link that is gone"


@pytest.mark.parametrize("how", ["disabled", "removed"])
async def test_an_entity_that_is_missing_or_disabled_is_named_until_it_is_back(how: str) -> None:
    async with bench() as world:
        await world.send("first")
        await world.drained(1)
        if how == "disabled":
            world.bus.disable(Q)
        else:
            world.bus.remove(Q)
        with pytest.raises(Unavailable, match=Q):
            await world.lease(wait=20.0)
        with pytest.raises(Unavailable, match=Q):
            await world.send("refused")
        if how == "disabled":
            world.bus.enable(Q)
        else:
            world.bus.add_queue(QueueSpec(name=Q))
        await world.send_at_last("after")
        assert await world.drained(1) == {"after"}


@pytest.mark.parametrize("milliseconds", range(0, 30, 3))
async def test_a_stop_in_the_middle_of_connecting_leaves_no_socket_open(milliseconds: int) -> None:
    async with bench() as world:
        leasing = asyncio.create_task(world.lease(wait=30.0))
        await SystemClock().sleep(milliseconds / 1000)  # any moment of the handshake will do, and each is another one
        leasing.cancel()
    gc.collect()  # a socket that is still open warns, and a warning is an error
