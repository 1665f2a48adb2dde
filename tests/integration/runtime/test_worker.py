"""Workers and executor over the embedded store: every outcome, every limit, drain and cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from syncd.adapters.embedded.store import open_store
from syncd.domain.errors import Bin, Rejected, ServerFault, Throttled, Unavailable
from syncd.domain.messages import MESSAGE_LIFETIME, Envelope
from syncd.domain.outcomes import DONE, Continue, Outcome, Park, Retry, Snooze
from syncd.ports.queue import Message
from syncd.runtime.work import Handle, Work, WorkerLimits
from syncd.testing.clock import FrozenClock
from tests.integration.runtime.bench import Q, answering, bench


async def test_done_completes_the_message(tmp_path: Path) -> None:
    async with bench(tmp_path, answering(DONE)) as b:
        await b.send()
        await b.until(lambda: len(b.seen) == 1)
        await b.quiet()
        assert (await b.depth()).scheduled == 0


async def test_continue_comes_back_at_once_with_its_new_body_and_a_new_lifetime(tmp_path: Path) -> None:
    async with bench(tmp_path, answering(Continue(body=b"page 2"), DONE)) as b:
        await b.send(expires_at=b.clock.now() + 100)
        await b.until(lambda: len(b.seen) == 2)
        await b.quiet()
        second = b.seen[1]
        assert (second.body, second.envelope.hop, second.envelope.attempt) == (b"page 2", 1, 0)
        assert second.envelope.expires_at == b.clock.now() + MESSAGE_LIFETIME


async def test_retry_waits_counts_an_attempt_and_keeps_the_body(tmp_path: Path) -> None:
    async with bench(tmp_path, answering(Retry(after=5.0, reason="no"), DONE)) as b:
        await b.send(body=b"same")
        await b.until(lambda: len(b.seen) == 1)
        await b.quiet()
        await b.clock.advance(4.9)
        assert len(b.seen) == 1
        await b.clock.advance(0.2)
        await b.until(lambda: len(b.seen) == 2)
        assert (b.seen[1].body, b.seen[1].envelope.attempt, b.seen[1].envelope.hop) == (b"same", 1, 1)


async def test_snooze_counts_no_attempt(tmp_path: Path) -> None:
    async with bench(tmp_path, answering(Snooze(until=1_700_000_050.0, reason="not yet"), DONE)) as b:
        await b.send()
        await b.until(lambda: len(b.seen) == 1)
        await b.quiet()
        await b.clock.advance(51)
        await b.until(lambda: len(b.seen) == 2)
        assert (b.seen[1].envelope.attempt, b.seen[1].envelope.hop) == (0, 1)


async def test_park_records_first_and_then_completes(tmp_path: Path) -> None:
    async with bench(tmp_path, answering(Park(bin="tenant_must_act", reason="401"))) as b:
        await b.send(body=b"kept")
        await b.until(lambda: len(b.parked) == 1)
        await b.quiet()
        assert b.parked == [("tenant_must_act", "401", b"kept")]


@pytest.mark.parametrize(
    ("error", "where", "calls"),
    [
        (Rejected("422"), "tenant_must_act", 1),
        (ServerFault("500"), "exhausted", 4),
        (Unavailable("refused"), "exhausted", 4),
        (KeyError("our bug"), "we_must_act", 4),
    ],
)
async def test_errors_are_retried_by_their_class_and_then_parked(
    tmp_path: Path, error: Exception, where: Bin, calls: int
) -> None:
    async with bench(tmp_path, answering(error)) as b:
        await b.send()
        while not b.parked:
            await b.clock.advance(1)
            await b.quiet()
        assert b.parked[0][0] == where
        assert len(b.seen) == calls


async def test_throttling_waits_as_told_and_never_parks(tmp_path: Path) -> None:
    async with bench(tmp_path, answering(*[Throttled("429", retry_after=7.0)] * 6, DONE)) as b:
        await b.send()
        while len(b.seen) < 7:
            await b.clock.advance(1)
            await b.quiet()
        assert b.parked == []
        assert b.seen[-1].envelope.attempt == 0


async def test_an_expired_message_is_parked_without_being_handled(tmp_path: Path) -> None:
    async with bench(tmp_path, answering(DONE)) as b:
        await b.send(expires_at=b.clock.now() - 1, hop=8, attempt=2)
        await b.until(lambda: len(b.parked) == 1)
        assert b.parked[0][:2] == ("expired", "gave up after 9 hops and 2 failed attempts")
        assert b.seen == []


async def test_a_message_whose_worker_died_five_times_is_parked_as_poison(tmp_path: Path) -> None:
    clock = FrozenClock()
    async with open_store(tmp_path, clock=clock, durable=False) as store:
        await store.queue.send(Q, [Message(Envelope(kind="test", origin_id="killer"), b"boom")])
    for _ in range(5):
        async with open_store(tmp_path, clock=clock, durable=False) as store:
            assert len(await store.queue.lease(Q, 1, duration=30.0)) == 1
    async with bench(tmp_path, answering(DONE)) as b:
        await b.until(lambda: len(b.parked) == 1)
        assert b.parked[0][0] == "poison"
        assert "died with it 5 times" in b.parked[0][1]
        assert b.seen == []


async def test_kinds_and_schemas_of_a_newer_release_are_snoozed_not_parked(tmp_path: Path) -> None:
    async with bench(tmp_path, answering(DONE)) as b:
        newer = [Envelope(kind="unheard-of", origin_id="a"), Envelope(kind="test", origin_id="b", schema=3)]
        await b.queue.send(Q, [Message(envelope) for envelope in newer])
        while (await b.depth()).scheduled != 2:
            await asyncio.sleep(0)
        assert b.seen == []
        assert b.parked == []


def holding(gate: asyncio.Event) -> Handle:
    async def handle(work: Work) -> Outcome:
        await gate.wait()
        return DONE

    return handle


async def test_a_group_never_has_more_units_in_flight_than_its_cap_and_others_pass(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with bench(tmp_path, holding(gate), limits=WorkerLimits(minimum=8, maximum=8, group_cap=2)) as b:
        for n in range(6):
            await b.send(f"a{n}", group="a")
        await b.send("b0", group="b")
        await b.until(lambda: len(b.seen) == 3)
        assert sorted(work.envelope.group or "" for work in b.seen) == ["a", "a", "b"]
        gate.set()
        await b.until(lambda: len(b.seen) == 7)


async def test_of_a_group_only_what_can_begin_is_leased_so_nothing_goes_back_and_forth(tmp_path: Path) -> None:
    async with bench(tmp_path, answering(DONE), limits=WorkerLimits(minimum=1, maximum=8, group_cap=4)) as b:
        flood = [Envelope(kind="test", origin_id=f"a{n}", group="a") for n in range(200)]
        others = [Envelope(kind="test", origin_id=f"b{n}", group=group) for n, group in enumerate(["b", None] * 5)]
        await b.queue.send(Q, [Message(envelope) for envelope in flood + others])
        await b.until(lambda: len(b.seen) == 210)
        await b.quiet()
        assert b.queue.given_back == 0


async def test_a_unit_that_has_its_answer_lets_the_next_begin_and_as_many_wait_for_the_store_as_there_are_receivers(
    tmp_path: Path,
) -> None:
    gates: dict[str, asyncio.Event] = {}
    calling: list[str] = []

    async def handle(work: Work) -> Outcome:
        name = work.envelope.origin_id
        gates[name] = asyncio.Event()
        calling.append(name)
        await gates[name].wait()
        calling.remove(name)
        work.answered()
        work.answered()  # saying it twice is saying it once
        gates[name].clear()
        await gates[name].wait()  # for the store
        return DONE

    async with bench(tmp_path, handle, limits=WorkerLimits(minimum=1, maximum=1, group_cap=1)) as b:
        for name in ("m0", "m1", "m2"):
            await b.send(name, group="a")
        await b.until(lambda: calling == ["m0"])
        gates["m0"].set()
        await b.until(lambda: calling == ["m1"])
        # Answered as well, and keeps its receiver: there is none left that the store does not hold up.
        gates["m1"].set()
        await b.until(lambda: not calling)
        assert (b.worker.in_flight, len(b.seen)) == (2, 2)
        gates["m0"].set()
        gates["m1"].set()
        await b.until(lambda: calling == ["m2"])
        assert b.worker.in_flight == 1
        gates["m2"].set()
        await b.until(lambda: not calling)
        gates["m2"].set()
        await b.quiet()


async def test_a_unit_that_is_cut_after_its_answer_gives_its_message_back_and_its_place_once(tmp_path: Path) -> None:
    calls = 0

    async def handle(work: Work) -> Outcome:
        nonlocal calls
        calls += 1
        work.answered()
        if calls == 1:
            await asyncio.Event().wait()
        return DONE

    limits = WorkerLimits(minimum=1, maximum=1, group_cap=1)
    async with bench(tmp_path, handle, limits=limits, hard_limit=10.0, soft_limit=5.0) as b:
        await b.send("m0", group="a")
        await b.until(lambda: len(b.seen) == 1)
        await b.clock.advance(11)
        await b.until(lambda: len(b.seen) == 2)
        await b.quiet()
        for name in ("m1", "m2"):
            await b.send(name, group="a")
        await b.until(lambda: len(b.seen) == 4)
        await b.quiet()


async def test_receivers_grow_to_the_maximum_under_load_and_no_further(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with bench(tmp_path, holding(gate), limits=WorkerLimits(minimum=1, maximum=6)) as b:
        for n in range(30):
            await b.send(f"m{n}")
        await b.until(lambda: b.worker.in_flight == 6)
        assert b.worker.receivers.target == 6
        gate.set()
        await b.until(lambda: len(b.seen) == 30)


async def test_past_the_soft_limit_a_handler_is_told_to_pause(tmp_path: Path) -> None:
    paused = asyncio.Event()

    async def handle(work: Work) -> Outcome:
        while not work.should_pause:
            await work.clock.sleep(1.0)
        paused.set()
        return DONE

    async with bench(tmp_path, handle, slice=1000.0, soft_limit=10.0, hard_limit=20.0) as b:
        await b.send()
        await b.until(lambda: len(b.seen) == 1)
        await b.clock.advance(9)
        assert not paused.is_set()
        await b.clock.advance(3)
        assert paused.is_set()
        await b.quiet()


async def test_past_the_hard_limit_a_handler_is_cancelled_and_its_message_given_back(tmp_path: Path) -> None:
    cancelled: list[bool] = []

    async def handle(work: Work) -> Outcome:
        if cancelled:
            return DONE
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return DONE

    async with bench(tmp_path, handle, hard_limit=20.0) as b:
        await b.send()
        await b.until(lambda: len(b.seen) == 1)
        await b.clock.advance(22)
        await b.until(lambda: len(b.seen) == 2)
        await b.quiet()
        assert cancelled == [True]
        assert "hard_limit" in b.observed


async def test_a_handler_that_swallows_its_cancellation_is_abandoned_and_the_message_comes_again(
    tmp_path: Path,
) -> None:
    stubborn = asyncio.Event()

    async def handle(work: Work) -> Outcome:
        if work.delivery.deliveries > 1:
            return DONE
        while not stubborn.is_set():
            try:
                await stubborn.wait()
            except asyncio.CancelledError:
                continue
        return DONE

    async with bench(tmp_path, handle, hard_limit=20.0, limits=WorkerLimits(minimum=1, maximum=1, lease=30.0)) as b:
        await b.send()
        await b.until(lambda: len(b.seen) == 1)
        await b.clock.advance(30)
        assert "unit_abandoned" in b.observed
        await b.clock.advance(61)
        await b.until(lambda: len(b.seen) == 2)
        assert b.seen[1].delivery.deliveries == 2
        stubborn.set()
        await b.quiet()


async def test_a_drain_lets_units_end_and_gives_back_those_that_do_not(tmp_path: Path) -> None:
    gates: dict[str, asyncio.Event] = {"quick": asyncio.Event(), "slow": asyncio.Event()}

    async def handle(work: Work) -> Outcome:
        await gates[work.envelope.origin_id].wait()
        return DONE

    async with bench(tmp_path, handle) as b:
        await b.send("quick")
        await b.send("slow")
        await b.until(lambda: len(b.seen) == 2)
        b.worker.stop_leasing()
        assert all(work.should_pause for work in b.seen)
        gates["quick"].set()
        await b.until(lambda: b.worker.in_flight == 1)
        assert await b.worker.drain(b.clock.monotonic()) == 1
        depth = await b.depth()
        assert (depth.ready, depth.leased) == (1, 0)
        [again] = await b.queue.lease(Q, 5, duration=30.0)
        assert (again.envelope.origin_id, again.deliveries) == ("slow", 1)


async def test_an_outcome_survives_a_store_that_refuses_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path, answering(DONE)) as b:
        real: Callable[..., Awaitable[list[bool]]] = b.queue.settle
        refusals = [Unavailable("disk full")] * 3

        async def settle(settlements: object) -> list[bool]:
            if refusals:
                raise refusals.pop()
            return await real(settlements)

        monkeypatch.setattr(b.queue, "settle", settle)
        await b.send()
        await b.until(lambda: len(b.seen) == 1)
        while refusals:
            await b.clock.advance(0.6)
        await b.clock.advance(0.6)
        await b.quiet()
        assert len(b.seen) == 1
