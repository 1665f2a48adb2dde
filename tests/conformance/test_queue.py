"""What every backend of the port `Queue` keeps."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.domain.groups import GroupCap
from syncd.domain.messages import Envelope, Lane
from syncd.ports.queue import Complete, Delivery, Message, Next, Queue, Release
from syncd.testing.clock import FrozenClock
from tests.conformance.queues import BACKENDS, PATIENT, World, apart, world

Q = "sync-outbound"


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(1_700_000_000.0)


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest, tmp_path: Path, clock: FrozenClock) -> AsyncIterator[World]:
    async with world(request.param, tmp_path, clock) as backend:
        yield backend


@pytest.fixture
def queue(backend: World) -> Queue:
    return backend.queue


def message(
    name: str = "m", body: bytes = b"{}", *, lane: Lane = "normal", group: str | None = None, due: float | None = None
) -> Message:
    return Message(Envelope(kind="test", origin_id=name, lane=lane, group=group), body, due)


async def lease(queue: Queue, count: int = 10, cap: GroupCap | None = None) -> list[Delivery]:
    """As many as there are. A broker that is a network away gives what has come by now; the rest is asked for again."""
    found: list[Delivery] = []
    left = cap
    while True:
        found += await queue.lease(Q, count - len(found), duration=30.0, cap=left)
        if len(found) == count or queue.capabilities.exact_depth:
            return found
        if cap is not None:
            left = GroupCap(cap.most, Counter(cap.taken) + Counter(one.envelope.group or "" for one in found))
        seen = await queue.peek(Q, limit=1000)
        full = left.full if left is not None else ()
        if not any(one.state == "ready" and one.envelope.group not in full for one in seen):
            return found


def names(deliveries: list[Delivery]) -> list[str]:
    return [delivery.envelope.origin_id for delivery in deliveries]


async def test_what_is_sent_is_delivered_with_envelope_and_bytes_as_they_were(queue: Queue) -> None:
    envelope = Envelope(
        kind="webhook",
        origin_id="o",
        hop=3,
        attempt=1,
        lane="high",
        group="t:c",
        tenant_id="t",
        connection_id="c",
        registration_id="r",
        event_id="e",
        received_at=1_700_000_000.25,
        expires_at=1_700_600_000.0,
        correlation_id="k",
        traceparent="00-1-2-01",
        body_ref="claims/x",
        headers={"x-github-event": "issues"},
        newer={"shade": "red", "depth": 3},
    )
    bodies = [b'{"a": "\xc3\xa9"}', b"\x00\xff\xfe not text", b"nul \x00 in text", b"", b"x" * 100_000]
    await queue.send(Q, [Message(envelope, body) for body in bodies])
    deliveries = await lease(queue)
    assert [delivery.envelope for delivery in deliveries] == [envelope] * 5
    assert sorted(delivery.body for delivery in deliveries) == sorted(bodies)
    assert {delivery.deliveries for delivery in deliveries} == {1}
    assert {delivery.queue for delivery in deliveries} == {Q}


async def test_queues_are_apart(queue: Queue) -> None:
    await queue.send("sync-inbound", [message()])
    assert await lease(queue) == []


async def test_a_leased_message_is_nobody_elses_and_a_completed_one_is_gone(queue: Queue) -> None:
    await queue.send(Q, [message("a"), message("b")])
    first = await lease(queue, 1)
    second = await lease(queue)
    assert names(first) + names(second) == ["a", "b"]
    assert await lease(queue) == []
    assert await queue.settle([Complete(*first), Complete(*second)]) == [True, True]
    assert (await queue.depth(Q)).ready == 0


async def test_settling_twice_says_that_the_lease_is_lost(queue: Queue) -> None:
    await queue.send(Q, [message()])
    [delivery] = await lease(queue)
    assert await queue.settle([Complete(delivery)]) == [True]
    assert await queue.settle([Complete(delivery)]) == [False]
    assert delivery.lease.lost


async def test_a_batch_is_settled_item_by_item(queue: Queue) -> None:
    await queue.send(Q, [message("a"), message("b"), message("c")])
    a, b, c = await lease(queue)
    await queue.settle([Complete(b)])
    following = Message(c.envelope.next_hop(), b"next")
    assert await queue.settle([Complete(a), Complete(b), Next(c, following)]) == [True, False, True]
    [again] = await lease(queue)
    assert (again.body, again.envelope.hop) == (b"next", 1)


async def test_the_next_hop_replaces_the_message_and_starts_its_deliveries_anew(
    queue: Queue, clock: FrozenClock
) -> None:
    await queue.send(Q, [message("a")])
    [delivery] = await lease(queue)
    hop = Message(delivery.envelope.next_hop(failed=True), delivery.body, due=clock.now() + 5)
    assert await queue.settle([Next(delivery, hop)]) == [True]
    assert await lease(queue) == []
    await clock.advance(5)
    [again] = await lease(queue)
    assert (again.envelope.hop, again.envelope.attempt, again.deliveries) == (1, 1, 1)
    assert (await queue.depth(Q)).leased == 1


async def test_a_release_is_deliverable_at_once_and_not_counted(queue: Queue) -> None:
    await queue.send(Q, [message()])
    for _ in range(3):
        [delivery] = await lease(queue)
        assert delivery.deliveries == 1
        assert await queue.settle([Release(delivery)]) == [True]


async def test_an_abandoned_message_comes_back_after_its_lease_and_counts(queue: Queue, clock: FrozenClock) -> None:
    await queue.send(Q, [message()])
    [delivery] = await lease(queue)
    await clock.advance(100)
    assert await lease(queue) == []
    queue.abandon(delivery)
    await clock.advance(29)
    assert await lease(queue) == []
    await clock.advance(1)
    [again] = await lease(queue)
    assert again.deliveries == 2
    assert delivery.lease.lost
    assert await queue.settle([Complete(delivery)]) == [False]
    assert await queue.settle([Complete(again)]) == [True]


async def test_an_extended_lease_ends_later_and_a_lost_one_cannot_be_extended(queue: Queue, clock: FrozenClock) -> None:
    await queue.send(Q, [message()])
    [delivery] = await lease(queue)
    queue.abandon(delivery)
    assert await queue.extend([delivery], 60.0) == [True]
    await clock.advance(45)
    assert await lease(queue) == []
    await clock.advance(15)
    assert len(await lease(queue)) == 1
    assert await queue.extend([delivery], 60.0) == [False]


async def test_a_waiting_lease_is_woken_by_an_arrival(queue: Queue) -> None:
    waiting = asyncio.create_task(queue.lease(Q, 1, duration=30.0, wait=60.0))
    await asyncio.sleep(0)
    await queue.send(Q, [message("late")])
    assert names(await waiting) == ["late"]


async def test_a_waiting_lease_is_woken_when_a_scheduled_message_falls_due(queue: Queue, clock: FrozenClock) -> None:
    await queue.send(Q, [message("later", due=clock.now() + 20)])
    waiting = asyncio.create_task(queue.lease(Q, 1, duration=30.0, wait=60.0))
    while not clock.sleeping:
        await asyncio.sleep(0)
    await clock.advance(19)
    assert not waiting.done()
    await clock.advance(2)
    assert names(await waiting) == ["later"]


async def test_a_waiting_lease_ends_empty_after_its_time(queue: Queue, clock: FrozenClock) -> None:
    waiting = asyncio.create_task(queue.lease(Q, 1, duration=30.0, wait=10.0))
    while not clock.sleeping:
        await asyncio.sleep(0)
    await clock.advance(11)
    assert await waiting == []


async def test_messages_of_full_groups_are_passed_over_however_many_there_are(queue: Queue) -> None:
    flood = [message(f"f{n}", group="flood") for n in range(600)]
    await queue.send(Q, [*flood, message("other", group="quiet"), message("none")])
    full = GroupCap(2, {"flood": 2})
    assert names(await lease(queue, 10, full)) == ["other", "none"]
    assert await lease(queue, 10, full) == []
    assert names(await lease(queue, 2)) == ["f0", "f1"]


async def test_of_a_group_with_some_room_a_lease_brings_as_many_as_fit_over_all_lanes(queue: Queue) -> None:
    lanes: tuple[Lane, ...] = ("high", "normal", "low")
    flood = [message(f"f{n}", group="flood", lane=lanes[n % 3]) for n in range(300)]
    calm = [message("other", group="quiet"), message("none"), message("none")]
    await queue.send(Q, [*flood, *calm])
    found = await lease(queue, 10, GroupCap(5, {"flood": 2}))
    assert Counter(one.envelope.group for one in found) == {"flood": 3, "quiet": 1, None: 2}
    assert [one.deliveries for one in found] == [1] * 6
    # Nothing that did not fit was taken and given back.
    assert {one.deliveries for one in await lease(queue, 297)} == {1}


async def test_what_a_lease_had_taken_that_nobody_waits_for_any_more_wakes_the_one_that_waits(queue: Queue) -> None:
    for turns in range(6):
        await queue.send(Q, [message()])
        given_up = asyncio.create_task(queue.lease(Q, 1, duration=30.0, wait=60.0))
        waiting = asyncio.create_task(queue.lease(Q, 1, duration=30.0, wait=60.0))
        for _ in range(turns):
            await asyncio.sleep(0)
        given_up.cancel()
        [answer] = await asyncio.gather(given_up, return_exceptions=True)
        if isinstance(answer, list):  # it had come to its end
            await queue.settle([Release(delivery) for delivery in answer])
        async with asyncio.timeout(60):
            await queue.settle([Complete(delivery) for delivery in await waiting])


async def test_inside_a_lane_the_oldest_due_comes_first(queue: Queue, clock: FrozenClock) -> None:
    now = clock.now()
    await queue.send(Q, [message("c", due=now - 1), message("a", due=now - 9), message("d"), message("b", due=now - 5)])
    assert names(await lease(queue)) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("name", BACKENDS)
async def test_lanes_share_by_eight_four_one_while_all_wait_and_starve_nobody(
    name: str, tmp_path: Path, clock: FrozenClock
) -> None:
    async with world(name, tmp_path, clock, patience=PATIENT) as backend:
        queue = backend.queue
        if not queue.capabilities.priority_lanes:
            return
        lanes: tuple[Lane, ...] = ("low", "normal", "high")
        await queue.send(Q, [message(lane, lane=lane) for lane in lanes for _ in range(60)])
        for size in (13, 1):
            got: Counter[str] = Counter()
            for _ in range(26 // size):
                got.update(names(await lease(queue, size)))
            assert got == {"high": 16, "normal": 8, "low": 2}


async def test_an_id_is_absorbed_within_its_window_even_after_it_was_done(queue: Queue, clock: FrozenClock) -> None:
    if not queue.capabilities.dedupe_window:
        return

    async def send(identifier: str) -> bool:
        [sent] = await queue.send(
            Q, [Message(Envelope(kind="t", origin_id="o"), dedupe_id=identifier, dedupe_window=60.0)]
        )
        return sent.duplicate

    assert [await send("a"), await send("a"), await send("b")] == [False, True, False]
    await queue.settle([Complete(delivery) for delivery in await lease(queue)])
    assert await send("a")
    assert not (
        await queue.send("another", [Message(Envelope(kind="t", origin_id="o"), dedupe_id="a", dedupe_window=60.0)])
    )[0].duplicate
    await clock.advance(61)
    assert not await send("a")
    assert await queue.sweep() >= 1
    assert await send("a")


async def test_one_id_sent_by_many_at_once_is_stored_once(queue: Queue) -> None:
    one = Message(Envelope(kind="t", origin_id="o"), dedupe_id="same", dedupe_window=60.0)
    answers = await asyncio.gather(*(queue.send(Q, [one, one]) for _ in range(10)))
    assert len(await lease(queue, 100)) == 1
    if queue.capabilities.dedupe_window:
        assert sum(not sent.duplicate for answer in answers for sent in answer) == 1


async def test_peek_shows_everything_in_order_and_changes_nothing(queue: Queue, clock: FrozenClock) -> None:
    await queue.send(Q, [message("a"), message("b", due=clock.now() + 60), message("c")])
    [leased] = await lease(queue, 1)
    first = await queue.peek(Q, limit=2)
    rest = await queue.peek(Q, limit=10, after=first[-1].position)
    assert [(p.envelope.origin_id, p.state) for p in (*first, *rest)] == [
        ("a", "leased"),
        ("b", "scheduled"),
        ("c", "ready"),
    ]
    assert await queue.settle([Release(leased)]) == [True]
    assert names(await lease(queue)) == ["a", "c"]


async def test_depth_counts_by_state_and_tells_the_age_of_the_oldest(queue: Queue, clock: FrozenClock) -> None:
    await queue.send(Q, [message("old")])
    await clock.advance(7)
    await queue.send(Q, [message("new", lane="low"), message("later", due=clock.now() + 60)])
    depth = await queue.depth(Q)
    assert (depth.ready, depth.leased, depth.scheduled, depth.oldest_age) == (2, 0, 1, 7.0)
    await lease(queue, 1)
    depth = await queue.depth(Q)
    assert (depth.ready, depth.leased, depth.scheduled) == (1, 1, 1)


async def test_everything_sent_is_delivered_once_to_competing_consumers(queue: Queue) -> None:
    await queue.send(Q, [message(f"m{n}") for n in range(300)])
    taken: list[str] = []

    async def consume() -> None:
        while deliveries := await lease(queue, 7):
            taken.extend(names(deliveries))
            await queue.settle([Complete(delivery) for delivery in deliveries])

    await asyncio.gather(*(consume() for _ in range(5)))
    assert sorted(taken) == sorted(f"m{n}" for n in range(300))


@pytest.mark.parametrize(("name", "lock"), [("embedded", 1.0), ("servicebus", 2.0)])
async def test_a_handler_that_blocks_the_loop_for_two_lock_times_keeps_its_lease(
    name: str, lock: float, tmp_path: Path
) -> None:
    async with apart(name, tmp_path, lock) as queue:
        await queue.send(Q, [message()])
        [delivery] = await queue.lease(Q, 1, duration=lock, wait=60.0)
        until = time.perf_counter() + 2 * lock
        while time.perf_counter() < until:  # a CPU-bound handler: the loop cannot run anything
            pass
        assert await queue.lease(Q, 1, duration=lock) == []
        assert not delivery.lease.lost
        assert await queue.settle([Complete(delivery)]) == [True]


async def test_a_new_boot_frees_what_the_old_one_had_leased_and_keeps_the_count(backend: World) -> None:
    await backend.queue.send(Q, [message("a"), message("b")])
    assert len(await lease(backend.queue)) == 2
    queue = await backend.crash()
    assert {(d.envelope.origin_id, d.deliveries) for d in await lease(queue)} == {("a", 2), ("b", 2)}
