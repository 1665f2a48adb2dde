from __future__ import annotations

import asyncio

from syncd.domain.jsontypes import JsonObject
from syncd.runtime.live import LiveEvents
from syncd.testing.clock import FrozenClock, settled


async def test_every_subscriber_gets_what_happens_after_it_subscribed() -> None:
    events = LiveEvents(clock=FrozenClock(start=0))
    events.publish("before")
    with events.subscribe() as one, events.subscribe() as two:
        events.publish("unit", queue="sync-inbound", outcome="done")
        expected = {"kind": "unit", "at": "1970-01-01T00:00:00.000Z", "queue": "sync-inbound", "outcome": "done"}
        assert await anext(one) == expected
        assert await anext(two) == expected


async def test_a_waiting_subscriber_is_woken() -> None:
    events = LiveEvents(clock=FrozenClock())
    with events.subscribe() as stream:
        waiting = asyncio.create_task(_next(stream))
        await settled()
        assert not waiting.done()
        events.publish("tick")
        assert (await waiting)["kind"] == "tick"


async def test_a_slow_subscriber_loses_the_oldest_and_is_told_how_many_while_others_lose_nothing() -> None:
    events = LiveEvents(clock=FrozenClock(), buffer=3)
    with events.subscribe() as slow, events.subscribe() as quick:
        for n in range(10):
            events.publish("n", n=n)
            assert (await anext(quick))["n"] == n
        assert await anext(slow) == {"kind": "lost", "count": 7}
        assert [(await anext(slow))["n"] for _ in range(3)] == [7, 8, 9]


async def test_one_subscribers_changes_to_an_event_are_not_seen_by_another() -> None:
    events = LiveEvents(clock=FrozenClock())
    with events.subscribe() as one, events.subscribe() as two:
        events.publish("n", n=1)
        (await anext(one))["n"] = "changed"
        assert (await anext(two))["n"] == 1


async def test_the_oldest_subscription_ends_when_there_are_too_many() -> None:
    events = LiveEvents(clock=FrozenClock(), subscribers=2)
    with events.subscribe() as one, events.subscribe(), events.subscribe() as three:
        assert events.subscribers == 2
        assert [event async for event in one] == []
        events.publish("n")
        assert (await anext(three))["kind"] == "n"
    assert events.subscribers == 0


async def test_closing_ends_all_streams_after_what_they_hold() -> None:
    events = LiveEvents(clock=FrozenClock())
    with events.subscribe() as stream:
        events.publish("last")
        events.close()
        assert [event["kind"] async for event in stream] == ["last"]


async def _next(stream: object) -> JsonObject:
    assert hasattr(stream, "__anext__")
    event: JsonObject = await stream.__anext__()
    return event
