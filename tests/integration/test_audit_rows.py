from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from syncd.domain.messages import Envelope
from syncd.domain.outcomes import DONE, Snooze
from syncd.flows.parked import Filter
from syncd.testing.clock import FrozenClock
from tests.integration.test_apply import receive
from tests.integration.webhooks import SECRET, World, github, issue, opened


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, FrozenClock()) as world:
        await world.register()
        await world.connect()
        yield world


async def test_another_body_under_a_used_delivery_id_is_parked_and_the_first_stands(world: World) -> None:
    first = await receive(world, issue(title="first"))
    row = await receive(world, issue(title="forged later"))
    assert (row["status"], row["bodyHash"], row["effect"]) == ("processed", first["bodyHash"], "created")
    assert len(row["otherBodies"]) == 1
    [parked] = (await world.parked.list(Filter())).items
    assert parked.data["bin"] == "poison"
    assert "another body" in parked.data["reason"]
    [entity] = await world.issues()
    assert entity.data["data"]["title"] == "first"


async def test_a_message_that_comes_again_after_its_work_is_done_has_no_second_effect(world: World) -> None:
    body = issue()
    accepted = await world.send(body, github(body))
    [delivery] = await world.lease()
    assert await world.apply.handle(delivery.envelope, delivery.body) is DONE
    before = (await world.row(accepted.event_id), await world.everything())
    assert await world.apply.handle(delivery.envelope, delivery.body) is DONE
    assert (await world.row(accepted.event_id), await world.everything()) == before


async def test_a_second_send_that_the_queue_did_not_absorb_is_done_and_counted(world: World) -> None:
    body = issue()
    accepted = await world.send(body, github(body))
    [delivery] = await world.lease()
    await world.apply.handle(delivery.envelope, delivery.body)
    await world.clock.advance(5)
    again = Envelope.from_json({**delivery.envelope.to_json(), "receivedAt": "2023-11-14T22:13:25Z"})
    assert await world.apply.handle(again, body) is DONE
    assert (await world.row(accepted.event_id))["duplicates"] == 1
    assert [entity.data["version"] for entity in await world.issues()] == [1]


class Blocking:
    """Lets a reader wait inside the flow, so that two can be at one event."""

    def __init__(self, world: World) -> None:
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()
        self._receive = world.intake.receive
        world.intake.receive = self._wait

    async def _wait(self, *args: Any, **named: Any) -> Any:
        self.reached.set()
        await self.go_on.wait()
        return await self._receive(*args, **named)


async def test_while_another_works_on_the_event_a_second_delivery_sleeps_until_its_lease_ends(world: World) -> None:
    body = issue()
    await world.send(body, github(body))
    [delivery] = await world.lease()
    blocking = Blocking(world)
    first = asyncio.create_task(world.apply.handle(delivery.envelope, delivery.body))
    await blocking.reached.wait()
    second = await world.apply.handle(delivery.envelope, delivery.body)
    assert second == Snooze(until=world.clock.now() + 90, reason="the event is being worked on by replica/one")
    blocking.go_on.set()
    assert await first is DONE


async def test_a_lease_that_ran_out_is_taken_over_and_its_former_holder_changes_nothing(world: World) -> None:
    body = issue()
    accepted = await world.send(body, github(body))
    [delivery] = await world.lease()
    blocking = Blocking(world)
    first = asyncio.create_task(world.apply.handle(delivery.envelope, delivery.body))
    await blocking.reached.wait()
    await world.clock.advance(91)
    blocking.reached.clear()
    second = asyncio.create_task(world.apply.handle(delivery.envelope, delivery.body))
    await blocking.reached.wait()
    blocking.go_on.set()
    outcomes = await asyncio.gather(first, second)
    assert DONE in outcomes
    row = await world.row(accepted.event_id)
    assert (row["status"], row["term"]) == ("processed", 2)
    assert [entity.data["version"] for entity in await world.issues()] == [1]


async def test_the_next_hop_takes_over_at_once_because_the_hop_before_it_has_ended(world: World) -> None:
    body = issue()
    accepted = await world.send(body, github(body))
    [delivery] = await world.lease()
    blocking = Blocking(world)
    task = asyncio.create_task(world.apply.handle(delivery.envelope, delivery.body))
    await blocking.reached.wait()
    task.cancel()
    blocking.go_on.set()
    assert await world.apply.handle(delivery.envelope.next_hop(failed=True), delivery.body) is DONE
    assert (await world.row(accepted.event_id))["term"] == 2


async def test_a_lease_of_an_earlier_boot_is_void_where_only_one_process_can_hold_the_store(world: World) -> None:
    body = issue()
    await world.send(body, github(body))
    [delivery] = await world.lease()
    blocking = Blocking(world)
    task = asyncio.create_task(world.apply.handle(delivery.envelope, delivery.body))
    await blocking.reached.wait()
    task.cancel()
    for sole, outcome in ((False, Snooze), (True, type(DONE))):
        other = World(world.documents, world.queue, world.blobs, world.vault, world.clock, boot="two", sole=sole)
        assert isinstance(await other.apply.handle(delivery.envelope, delivery.body), outcome)


async def test_the_same_words_again_after_the_window_are_a_new_event(world: World) -> None:
    await world.register("plain", scheme="hmac-sha256", connection_id="gh")

    def headers(body: bytes) -> dict[str, str]:
        return {"x-signature": hmac.new(SECRET.encode(), body, "sha256").hexdigest()}

    bodies = {
        title: json.dumps({"entityType": "issue", "entityId": "1", "data": {"title": title}}).encode()
        for title in ("on", "off")
    }
    seen = []
    for title in ("on", "off", "on"):
        accepted = await world.send(bodies[title], headers(bodies[title]), "plain")
        await world.work()
        [entity] = await world.issues()
        seen.append((accepted.status, entity.data["data"]["title"]))
        await world.clock.advance(61)
    assert seen == [("accepted", "on"), ("accepted", "off"), ("accepted", "on")]


async def test_a_message_parked_by_the_executor_shows_on_its_row(world: World) -> None:
    body = issue()
    accepted = await world.send(body, github(body))
    [delivery] = await world.lease()
    blocking = Blocking(world)
    task = asyncio.create_task(world.apply.handle(delivery.envelope, delivery.body))
    await blocking.reached.wait()
    task.cancel()
    await world.apply.failed(delivery.envelope, "gave up after 4 attempts")
    row = await world.row(accepted.event_id)
    assert (row["status"], row["reason"]) == ("failed", "gave up after 4 attempts")
