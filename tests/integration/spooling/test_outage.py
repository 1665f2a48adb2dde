"""The broker is away for a minute while events keep coming, and then it is back."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from syncd.testing.clock import FrozenClock
from tests.integration.spooling.broker import Line
from tests.integration.spooling.world import Front, opened

SENDERS = 8
AWAY = 60.0


async def test_a_broker_that_is_away_for_a_minute_under_load_costs_no_event_and_no_sender_notices(
    tmp_path: Path,
) -> None:
    line, clock = Line(), FrozenClock()
    async with opened(tmp_path, clock, line=line) as front:
        registrations = [f"reg-{number}" for number in range(SENDERS)]
        for name in registrations:
            await front.world.register(name)
        front.serve()
        stop, sent, seen = asyncio.Event(), Counter[str](), Counter[str]()

        async def sender(name: str) -> None:
            while not stop.is_set():
                sent[name] += 1
                seen[await front.accepted(sent[name], name)] += 1

        async def load(seconds: float) -> None:
            """Events as fast as they are answered, while so much time passes."""
            until = clock.monotonic() + seconds
            while clock.monotonic() < until:
                await clock.advance(0.5)
                before = sum(sent.values())
                while sum(sent.values()) < before + SENDERS // 2:
                    await asyncio.sleep(0)  # turns of the loop for the senders

        senders = [asyncio.create_task(sender(name)) for name in registrations]
        await load(2.0)
        line.mode, asked = "refuses", line.asked
        await load(AWAY)
        assert line.asked - asked < 40, "the broker is left alone, and asked now and then"
        assert (await front.readiness())[0] == 200
        line.mode = "well"
        waiting = set(await front.spooled())
        assert len(waiting) > 300
        await load(10.0)
        assert front.seen.named("webhook_breaker_closed"), "it is used again within ten seconds"
        while not waiting.isdisjoint(await front.spooled()):
            await load(0.5)  # the old ones go, however many new ones come
        stop.set()
        await asyncio.gather(*senders)
        await front.drained()
        assert seen == {"accepted": sum(sent.values())}
        expected = {name: [f"{name}/d-{number}" for number in range(1, sent[name] + 1)] for name in registrations}
        found: dict[str, list[str]] = {name: [] for name in registrations}
        for one in await all_queued(front):
            found[one.partition("/")[0]].append(one)
        assert found == expected
        opened_, closed = front.seen.named("webhook_breaker_opened"), front.seen.named("webhook_breaker_closed")
        assert len(opened_) == len(closed) == 1
        duration = closed[0]["duration"]
        assert isinstance(duration, float)
        assert AWAY - 1 < duration < AWAY + 10
        assert (await front.readiness())[1].status == "ok"


async def all_queued(front: Front) -> list[str]:
    queued = await front.queued()
    assert len(queued) < 10_000, "the page held them all"
    return queued
