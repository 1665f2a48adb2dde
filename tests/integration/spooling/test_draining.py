"""From the spool into the queue: in order, resumed after every kind of failure, and never in anybody else's way."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from pathlib import Path

import pytest

from syncd.domain.errors import Unavailable
from syncd.flows.draining import BATCH
from syncd.testing.clock import FrozenClock
from tests.integration.spooling.broker import Line, Mode
from tests.integration.spooling.world import LONGER, SHORT, Front, opened
from tests.integration.webhooks import issue


async def test_the_spool_is_drained_in_batches_and_in_order(tmp_path: Path) -> None:
    async with opened(tmp_path, line=Line("refuses")) as front:
        numbers = range(1, 2 * BATCH + 51)
        for number in numbers:
            await front.accepted(number)
        front.line.mode = "well"
        await front.drained()
        assert front.taken() == [f"reg/d-{number}" for number in numbers]
        assert front.line.batches == [BATCH, BATCH, 50]
        await front.until(lambda: len(front.seen.named("spool_drained")) == 1)


async def test_what_was_spooled_before_a_start_goes_first_and_the_next_events_join_it(tmp_path: Path) -> None:
    line, clock = Line("refuses"), FrozenClock()
    async with opened(tmp_path, clock, line=line) as front:
        for number in (1, 2):
            await front.accepted(number)
    line.mode = "well"
    async with opened(tmp_path, clock, line=line, register=False) as front:
        [found] = front.seen.named("spool_found")
        assert (found["messages"], found["registrations"]) == (2, 1)
        await front.accepted(3)
        assert front.taken() == []
        await front.drained()
        await front.accepted(4)
        assert front.taken() == ["reg/d-1", "reg/d-2", "reg/d-3", "reg/d-4"]


@pytest.mark.parametrize("mode", ["refuses", "hangs", "times_out", "loses_answers"])
async def test_a_queue_that_goes_away_in_the_middle_is_waited_for(tmp_path: Path, mode: Mode) -> None:
    async with opened(
        tmp_path, line=Line("refuses"), drain_timeout=LONGER if mode == "loses_answers" else SHORT
    ) as front:
        for number in range(1, 6):
            await front.accepted(number)
        front.line.mode = mode
        front.serve()
        await front.until(lambda: len(front.seen.named("spool_not_drained")) >= 3)
        assert front.spooling.messages == 5
        front.line.mode = "well"
        await front.drained()
        assert await front.queued() == [f"reg/d-{number}" for number in range(1, 6)]


async def test_without_duplicate_detection_what_was_sent_twice_has_one_effect(tmp_path: Path) -> None:
    """The send that had no answer in time had worked."""
    line = Line("loses_answers", dedupes=False)
    async with opened(tmp_path, line=line, enqueue_timeout=LONGER) as front:
        await front.accepted(1)
        line.mode = "well"
        await front.drained()
        assert await front.queued() == ["reg/d-1", "reg/d-1"]
        await front.world.work()
        [entity] = await front.world.issues()
        assert entity.data["version"] == 1


async def test_a_blob_store_that_is_away_holds_up_only_those_that_need_it(tmp_path: Path) -> None:
    async with opened(tmp_path, line=Line("refuses")) as front:
        await front.world.register("other")
        large = issue(2, title="x" * 100_000)
        await front.accepted(1)
        await front.accepted(2, body=large)
        await front.accepted(3)
        await front.accepted(1, "other")
        front.line.mode = "well"
        blobs = front.spooling._draining
        assert blobs is not None
        kept, blobs._blobs = blobs._blobs, Away()  # type: ignore[assignment]  # only put is asked for
        front.serve()
        await front.until(lambda: len(front.seen.named("spool_not_drained")) >= 2)
        assert front.taken() == ["reg/d-1", "other/d-1"]
        assert front.seen.named("webhook_breaker_opened") == []
        blobs._blobs = kept
        await front.drained()
        assert front.taken() == ["reg/d-1", "other/d-1", "reg/d-2", "reg/d-3"]


class Away:
    async def put(self, name: str, data: bytes) -> int:
        raise Unavailable("the blob store is away")


async def test_an_event_that_the_queue_refuses_for_what_it_is_is_set_aside_and_tried_again_at_the_next_start(
    tmp_path: Path,
) -> None:
    line, clock = Line("refuses"), FrozenClock()
    async with opened(tmp_path, clock, line=line) as front:
        for number in range(1, 6):
            await front.accepted(number)
        assert front.spool is not None
        [refused] = [
            one.message.envelope.origin_id
            for one in await front.spool.read()
            if "/d-3/" in one.message.envelope.origin_id
        ]
        line.too_large.add(refused)
        line.mode = "well"
        front.serve()
        await front.until(lambda: front.spooling.messages == 1)
        assert front.taken() == ["reg/d-1", "reg/d-2", "reg/d-4", "reg/d-5"]
        await front.accepted(6)
        assert front.taken()[-1] == "reg/d-6", "it holds nobody up"
        [said] = front.seen.named("spool_set_aside")
        assert said["registration"] == "reg"
        status, component = await front.readiness()
        assert (status, component.status) == (200, "degraded")
        assert "1 of them the queue refuses" in component.detail
    line.too_large.clear()
    async with opened(tmp_path, clock, line=line, register=False) as front:
        await front.drained()
        assert front.taken()[-1] == "reg/d-3"


async def test_a_disk_that_refuses_the_removal_loses_nothing_and_the_events_are_the_same_when_they_come_again(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, line=Line("refuses")) as front:
        assert front.spool is not None
        await front.accepted(1)
        remove = front.spool.remove

        async def refuse(positions: object) -> None:
            raise Unavailable("the disk answers with errors")

        front.spool.remove = refuse  # type: ignore[method-assign,assignment]  # the disk fails from here on
        front.line.mode = "well"
        front.serve()
        await front.until(lambda: len(front.taken()) >= 3)
        front.spool.remove = remove  # type: ignore[method-assign]  # and is well again
        await front.drained()
        assert await front.queued() == ["reg/d-1"]


async def test_events_spooled_while_others_are_drained_are_drained_too(tmp_path: Path) -> None:
    async with opened(tmp_path, line=Line("refuses")) as front:
        await front.accepted(1)
        front.serve()
        front.line.mode = "well"
        answers = await asyncio.gather(*(front.accepted(number) for number in range(2, 60)))
        assert set(answers) == {"accepted"}
        await front.drained()
        assert sorted(await front.queued()) == sorted(f"reg/d-{number}" for number in range(1, 60))


@pytest.mark.parametrize("seed", range(6))
async def test_each_sender_finds_its_events_in_the_queue_in_the_order_in_which_they_were_answered(
    tmp_path: Path, seed: int
) -> None:
    """However the queue comes and goes meanwhile, and with the daemon started anew in the middle."""
    dice, line, clock = random.Random(seed), Line(), FrozenClock()
    registrations = [f"reg-{number}" for number in range(6)]
    first, second = 15, 30

    async def weather(front: Front) -> None:
        while True:
            line.mode = dice.choice(["well", "well", "refuses", "times_out"])
            await clock.advance(dice.choice([0.05, 0.3, 2.0]))
            for _ in range(dice.randrange(40)):
                await asyncio.sleep(0)  # turns of the loop for the senders

    for begin, count in ((1, first), (first + 1, second)):
        async with opened(tmp_path, clock, line=line, register=begin == 1) as front:
            if begin == 1:
                for name in registrations:
                    await front.world.register(name)
            front.serve()
            changing = asyncio.create_task(weather(front))
            await asyncio.gather(*(numbered(front, name, begin, count) for name in registrations))
            changing.cancel()
            await asyncio.wait([changing])
    line.mode = "well"
    async with opened(tmp_path, clock, line=line, register=False) as front:
        await front.drained()
        found: dict[str, list[str]] = defaultdict(list)
        for name in await front.queued():
            registration, _, delivery = name.partition("/")
            found[registration].append(delivery)
    assert found == {name: [f"d-{number}" for number in range(1, second + 1)] for name in registrations}


async def numbered(front: Front, registration: str, begin: int, end: int) -> None:
    """Sends one event after the other, each once the one before was answered."""
    for number in range(begin, end + 1):
        await front.accepted(number, registration)
