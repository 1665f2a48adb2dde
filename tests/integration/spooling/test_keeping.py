"""An event that the queue does not take in time is kept on the disk, and what nobody takes is answered 503."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from syncd.domain.errors import Unavailable
from tests.integration.spooling.broker import Line, Mode
from tests.integration.spooling.world import LONGER, SHORT, opened
from tests.integration.webhooks import github, issue


async def test_while_the_queue_is_well_nothing_goes_to_the_spool(tmp_path: Path) -> None:
    async with opened(tmp_path) as front:
        assert await front.accepted() == "accepted"
        assert await front.queued() == ["reg/d-1"]
        assert await front.spooled() == []
        assert (await front.readiness())[1].status == "ok"


@pytest.mark.parametrize("mode", ["refuses", "hangs", "times_out", "loses_answers"])
async def test_an_event_that_the_queue_does_not_take_in_time_is_accepted_into_the_spool(
    tmp_path: Path, mode: Mode
) -> None:
    async with opened(tmp_path, line=Line(mode), enqueue_timeout=LONGER if mode == "loses_answers" else SHORT) as front:
        assert await front.accepted() == "accepted"
        assert await front.spooled() == ["reg/d-1"]
        assert await front.queued() == (["reg/d-1"] if mode == "loses_answers" else [])
        [spooled] = front.seen.named("webhook_spooled")
        assert spooled["reason"] == ("connection" if mode == "refuses" else "timeout")


async def test_the_spooled_message_is_the_one_that_was_sent(tmp_path: Path) -> None:
    async with opened(tmp_path, line=Line("loses_answers"), enqueue_timeout=LONGER) as front:
        await front.accepted()
        assert front.spool is not None
        [spooled] = await front.spool.read()
        [sent] = await front.world.queue.peek("sync-outbound")
        assert spooled.message.envelope == sent.envelope
        assert spooled.message.envelope.broker_id == sent.envelope.broker_id


async def test_after_three_failures_in_a_row_the_queue_is_left_alone_for_a_while(tmp_path: Path) -> None:
    async with opened(tmp_path, line=Line("refuses")) as front:
        for number in range(20):
            await front.world.register(f"reg-{number}")
            await front.accepted(number, f"reg-{number}")
        assert front.line.asked == 3
        assert len(front.seen.named("webhook_breaker_opened")) == 1
        await front.clock.advance(0.6)
        await front.world.register("late")
        await front.world.register("later")
        await front.accepted(1, "late")
        await front.accepted(1, "later")
        assert front.line.asked == 4, "one asks after the pause, and the next is spared"
        front.line.mode = "well"
        await front.clock.advance(5)
        await front.world.register("new")
        await front.accepted(1, "new")
        assert await front.queued() == ["new/d-1"]
        assert len(front.seen.named("webhook_breaker_closed")) == 1


async def test_a_registration_with_spooled_events_keeps_joining_its_tail_and_others_do_not(tmp_path: Path) -> None:
    async with opened(tmp_path) as front:
        await front.world.register("other")
        front.line.mode = "refuses"
        await front.accepted(1)
        front.line.mode = "well"
        await front.accepted(2)
        await front.accepted(1, "other")
        assert await front.spooled() == ["reg/d-1", "reg/d-2"]
        assert await front.queued() == ["other/d-1"]
        await front.drained()
        await front.accepted(3)
        assert await front.queued() == ["other/d-1", "reg/d-1", "reg/d-2", "reg/d-3"]


async def test_an_event_that_comes_again_while_it_is_spooled_is_a_duplicate(tmp_path: Path) -> None:
    async with opened(tmp_path, line=Line("refuses")) as front:
        answers = await asyncio.gather(*(front.accepted() for _ in range(5)))
        assert sorted(answers) == ["accepted"] + ["duplicate"] * 4
        assert await front.accepted() == "duplicate"
        assert await front.spooled() == ["reg/d-1"]
        front.line.mode = "well"
        await front.drained()
        assert await front.queued() == ["reg/d-1"]
        await front.accepted(2)
        assert await front.queued() == ["reg/d-1", "reg/d-2"], "the tail is over, however often it was joined"


async def test_a_large_body_is_kept_whole_without_its_blob(tmp_path: Path) -> None:
    body = issue(1, title="x" * 200_000)
    async with opened(tmp_path, line=Line("refuses")) as front:
        front.world.accept._blobs = Away()
        await front.accepted(body=body)
        assert front.spool is not None
        [spooled] = await front.spool.read()
        assert spooled.message.body == body
        front.line.mode = "well"
        await front.drained()
        [queued] = await front.world.queue.peek("sync-outbound")
        assert queued.body == b""
        assert queued.envelope.body_ref is not None
        assert await front.world.blobs.get(queued.envelope.body_ref) == body
        await front.world.work()
        [entity] = await front.world.issues()
        assert entity.data["data"]["title"] == "x" * 200_000


class Away:
    """A blob store that is not there."""

    async def put(self, name: str, data: bytes) -> int:
        raise Unavailable("the blob store is away")


async def test_failures_of_the_blob_store_do_not_open_the_breaker_of_the_queue(tmp_path: Path) -> None:
    async with opened(tmp_path) as front:
        front.world.accept._blobs = Away()
        for number in range(5):
            await front.world.register(f"large-{number}")
            await front.accepted(number, f"large-{number}", body=issue(number, title="x" * 100_000))
        await front.accepted(9)
        assert await front.queued() == ["reg/d-9"]
        assert len(await front.spooled()) == 5


async def test_what_the_queue_refuses_for_what_it_is_is_not_spooled(tmp_path: Path) -> None:
    async with opened(tmp_path) as front:
        await front.accepted(1)
        [origin] = front.line.taken
        front.line.too_large.add(origin)
        answer = await front.post(1)
        assert answer.status == 400
        assert "larger than the broker takes" in answer.json["detail"]
        assert await front.spooled() == []


async def test_a_full_spool_is_answered_503_and_what_is_in_it_is_not_lost(tmp_path: Path) -> None:
    async with opened(tmp_path, line=Line("refuses"), max_bytes=20_000) as front:
        answers = [await front.post(number) for number in range(1, 40)]
        taken = [number for number, answer in enumerate(answers, 1) if answer.status == 200]
        refused = [answer for answer in answers if answer.status == 503]
        assert len(taken) > 5
        assert len(taken) + len(refused) == len(answers)
        assert int(refused[-1].headers["Retry-After"]) >= 1
        detail = refused[-1].json["detail"]
        assert "spool.db is full" in detail
        assert "the broker refuses the connection" in detail
        status, component = await front.readiness()
        assert (status, component.status) == (503, "failed")
        assert "the spool takes no event" in component.detail
        front.line.mode = "well"
        await front.drained()
        await front.accepted(50)
        assert await front.queued() == [f"reg/d-{number}" for number in [*taken, 50]]
        assert (await front.readiness())[0] == 200
        await front.clock.advance(10)
        assert (await front.readiness())[1].status == "ok"


async def test_when_the_spool_is_full_and_the_queue_is_back_an_event_goes_ahead_of_its_tail(tmp_path: Path) -> None:
    """Rather out of order than not at all: apply compares versions."""
    async with opened(tmp_path, line=Line("refuses"), max_bytes=20_000) as front:
        number = 1
        while (await front.post(number)).status == 200:
            number += 1
        front.line.mode = "well"
        await front.clock.advance(5)
        assert await front.accepted(100) == "accepted"
        assert await front.queued() == ["reg/d-100"]


async def test_a_full_disk_is_answered_503_and_taken_up_again_when_there_is_room(tmp_path: Path) -> None:
    def limit(connection: sqlite3.Connection, items: Sequence[int]) -> list[Exception | None]:
        connection.execute(f"PRAGMA max_page_count={items[0]}")
        return [None]

    async with opened(tmp_path, line=Line("refuses")) as front:
        assert front.spool is not None
        for number, registration in enumerate(("reg", "b", "c"), 1):
            if registration != "reg":
                await front.world.register(registration)
            await front.accepted(number, registration)
        await front.spool._engine.write(limit, 1)
        refused = await front.post(2, body=issue(2, title="x" * 50_000))
        assert refused.status == 503
        assert "full: free space on it" in refused.json["detail"]
        assert int(refused.headers["Retry-After"]) >= 1
        assert (await front.readiness())[1].status == "failed"
        await front.spool._engine.write(limit, 100_000)
        await front.accepted(4)
        assert await front.spooled() == ["reg/d-1", "b/d-2", "c/d-3", "reg/d-4"]
        status, component = await front.readiness()
        assert (status, component.status) == (200, "degraded")


async def test_a_disk_that_hangs_is_given_up_and_what_it_stored_all_the_same_is_a_duplicate(tmp_path: Path) -> None:
    async with opened(tmp_path, line=Line("refuses"), spool_timeout=SHORT) as front:
        assert front.spool is not None
        append, go_on = front.spool.append, asyncio.Event()

        async def slow(tail: str, message: object) -> bool:
            await go_on.wait()
            return await append(tail, message)  # type: ignore[arg-type]  # passed through

        front.spool.append = slow  # type: ignore[method-assign]  # the disk is slow from here on
        answer = await front.post(1)
        assert answer.status == 503
        assert "the spool's disk took longer" in answer.json["detail"]
        go_on.set()
        await front.until(lambda: front.spooling.messages == 1)
        assert await front.accepted(1) == "duplicate"
        assert await front.spooled() == ["reg/d-1"]


async def test_without_a_durable_directory_the_answer_is_503_at_once_and_readyz_says_why(tmp_path: Path) -> None:
    async with opened(tmp_path, line=Line("hangs"), spool=False, enqueue_timeout=SHORT) as front:
        assert len(front.seen.named("spool_off")) == 1
        status, component = await front.readiness()
        assert (status, component.status) == (200, "ok")
        assert "daemon.data_dir_durable is false" in component.detail
        answers = [await front.post(number) for number in range(10)]
        assert {answer.status for answer in answers} == {503}
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
        assert "daemon.data_dir_durable is false" in answers[-1].json["detail"]
        assert front.line.asked == 3, "the others did not wait for it"
        assert (await front.readiness())[0] == 503
        front.line.mode = "well"
        await front.clock.advance(5)
        assert (await front.readiness())[0] == 200, "traffic is let in again, for only traffic finds out"
        await front.accepted(1)
        assert (await front.readiness())[1].status == "ok"


async def test_readyz_says_what_waits_and_why(tmp_path: Path) -> None:
    async with opened(tmp_path, line=Line("refuses")) as front:
        await front.world.register("b")
        await front.world.register("c")
        for registration in ("reg", "b", "c"):
            await front.accepted(1, registration)
        await front.clock.advance(12)
        status, component = await front.readiness()
        assert (status, component.status) == (200, "degraded")
        assert component.detail.startswith(
            "the queue has taken no event for 12 s (the broker refuses the connection); 3 events wait in the spool (0.0 of 64 MiB"
        )


async def test_requests_that_are_cancelled_say_nothing_about_the_queue_and_leave_no_tail_behind(tmp_path: Path) -> None:
    async with opened(tmp_path, line=Line("hangs")) as front:
        body = issue()
        for asked in range(4):
            sending = asyncio.create_task(front.world.send(body, github(body)))
            await front.until(lambda asked=asked: front.line.asked > asked)  # type: ignore[misc]  # the default binds this turn's
            sending.cancel()
            await asyncio.wait([sending])
        front.line.mode = "well"
        await front.accepted(2)
        assert await front.queued() == ["reg/d-2"]
        assert await front.spooled() == []


async def test_a_request_that_is_cancelled_on_its_way_to_the_disk_leaves_an_event_that_is_drained(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, line=Line("refuses")) as front:
        body = issue()
        sending = asyncio.create_task(front.world.send(body, github(body)))
        await front.until(lambda: front.spooling.messages == 1)
        sending.cancel()
        await asyncio.wait([sending])
        front.line.mode = "well"
        await front.drained()
        await front.accepted(2)
        assert await front.queued() == ["reg/d-1", "reg/d-2"]
