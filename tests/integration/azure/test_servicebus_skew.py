"""Whose clock is wrong, judged from time stamps: a proof stops a consumer, one late read stops nobody."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.adapters.azure.servicebus.skew import LOOKS, MEMORY, Skew, Stamps
from syncd.domain.errors import Unavailable
from syncd.ports.queue import Complete, Delivery
from tests.integration.azure.servicebus_world import Bench, Machine, Q, bench

NOW = 1_700_000_000.0
LOCK = 60.0


@dataclass
class Look:
    """One read at `at`, of a message that was enqueued, locked and read so many seconds apart. `ahead`: our clock."""

    at: float = 0.0
    waited: float = 0.0
    late: float = 0.0
    ahead: float = 0.0
    own: float | None = None
    """Sent by this process, so long before it was enqueued."""

    def at_ours(self) -> float:
        return NOW + self.at + self.ahead

    def stamps(self) -> Stamps:
        locked = NOW + self.at - self.late
        enqueued = locked - self.waited
        return Stamps(enqueued, locked + LOCK, None if self.own is None else enqueued - self.own + self.ahead)


def judged(*looks: Look) -> Skew:
    skew = Skew()
    for look in looks:
        skew.look(now=look.at_ours(), monotonic=look.at, messages=[look.stamps()])
    return skew


LATE = Look(late=3 * LOCK)
AHEAD = Look(ahead=2 * LOCK)


@pytest.mark.parametrize(
    ("looks", "stops"),
    [
        ([Look()], None),
        ([Look(waited=86_400.0)], None),
        ([LATE], None),
        ([LATE, LATE], None),
        ([LATE, LATE, Look(at=1.0)], None),
        ([Look(), LATE, LATE], None),
        ([AHEAD], None),
        ([AHEAD] * LOOKS, "ahead of"),
        ([Look(ahead=600.0, late=1.0), Look(ahead=600.0, late=30.0), Look(ahead=600.0)], "ahead of"),
        ([Look(ahead=20.0, own=0.0)], "ahead of"),
        ([Look(ahead=20.0, own=5.5)], None),
        ([Look(ahead=14.0, own=0.0)], None),
        ([Look(ahead=-20.0)], "behind"),
        ([Look(ahead=-20.0, late=1.0)], "behind"),
        ([Look(ahead=-14.0)], None),
        ([Look(ahead=-20.0, waited=90.0)], None),
        ([Look(ahead=-20.0, late=90.0), Look(ahead=-20.0)], "behind"),
        ([Look(ahead=-20.0), Look(at=MEMORY + 1.0)], None),
    ],
)
def test_a_clock_is_accused_by_proof_or_by_several_looks(looks: list[Look], stops: str | None) -> None:
    reason = judged(*looks).excess
    assert (reason is None) if stops is None else (reason is not None and stops in reason)


@pytest.mark.parametrize(
    ("looks", "again"),
    [
        ([], False),
        ([Look()], False),
        ([LATE], True),
        ([LATE, LATE], True),
        ([LATE, Look()], False),
        ([Look(), LATE], True),
        ([AHEAD] * LOOKS, False),
    ],
)
def test_a_look_that_may_be_late_is_taken_again_until_it_is_judged(looks: list[Look], again: bool) -> None:
    assert judged(*looks).doubtful is again


looked = st.builds(
    Look,
    at=st.floats(0, 50),
    waited=st.floats(0, 1e5),
    late=st.floats(0, 1e4),
    own=st.none() | st.floats(0, 1e3),
)


@given(st.lists(looked, max_size=20))
def test_with_a_right_clock_nothing_accuses_it_while_one_of_the_last_reads_was_in_time(looks: list[Look]) -> None:
    looks.sort(key=lambda look: look.at)
    if len(looks) >= LOOKS:
        looks[-1].late = min(look.late for look in looks[-LOOKS:]) % LOCK
    assert judged(*looks).excess is None


@given(st.lists(looked, min_size=1, max_size=20), st.floats(-1e4, 1e4))
def test_what_is_proved_of_a_clock_that_is_wrong_is_never_more_than_it_is(looks: list[Look], ahead: float) -> None:
    skew = Skew()
    for look in looks:
        look.ahead, look.late = ahead, min(look.late, LOCK)
        skew.look(now=look.at_ours(), monotonic=look.at, messages=[look.stamps()])
    assert min(-ahead, 0.0) - 1e-3 <= skew.offset <= max(-ahead, 0.0) + 1e-3


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_message_that_is_read_long_after_its_lock_stops_nobody_and_is_read_again(waiting: bool) -> None:
    machine = Machine()
    async with bench(clock=machine.clock()) as world:
        await opened(world)
        world.bus.latency = 0.5  # so long it is on its way, while both clocks go on by more than its lock
        leasing = asyncio.create_task(taken(world, 30.0 if waiting else 0.0))
        world.bus.put(Q, b"{}", properties={"originId": "a", "kind": "t"})
        await world.bus.until("receive", 2)
        machine.let_pass(200.0, world.bus)
        world.bus.latency = 0.0
        [delivery] = await leasing
        assert (delivery.envelope.origin_id, delivery.deliveries) == ("a", 2)
        assert await world.queue.settle([Complete(delivery)]) == [True]
        assert world.events("clock_skewed") == []


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_clock_that_is_ahead_stops_a_consumer_after_three_looks_and_counts_no_delivery(waiting: bool) -> None:
    machine = Machine(ahead=600.0)
    async with bench(clock=machine.clock()) as world:
        leasing = asyncio.create_task(taken(world, 60.0 if waiting else 0.0))
        world.bus.put(Q, b"{}", properties={"originId": "a", "kind": "t"})
        with pytest.raises(Unavailable, match=r"ahead of the broker's.*time synchronisation"):
            await leasing
        assert len(world.bus.happened("release")) >= LOOKS
        assert [row.deliveries for row in world.bus.queue(Q).messages] == [0]


async def taken(world: Bench, wait: float) -> list[Delivery]:
    """A message, by leases that wait so long at most."""
    while not (deliveries := await world.lease(count=1, wait=wait)):
        pass
    return deliveries


async def opened(world: Bench) -> None:
    """Its receiver is connected."""
    await world.send("first")
    [first] = await taken(world, 0.0)
    assert await world.queue.settle([Complete(first)]) == [True]
