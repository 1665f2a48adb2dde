"""Duplicates on a queue that cannot tell them: the audit row is asked, and only one that is processed answers."""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from syncd.domain.collections import AUDIT_ROWS, Collection
from syncd.flows.accept import QUEUE
from syncd.flows.accept_processed import MOST_IN_FLIGHT
from syncd.ports.documents import Document
from syncd.ports.queue import Message, Queue, QueueCapabilities, Sent
from syncd.testing.clock import FrozenClock
from tests.integration.webhooks import SECRET, World, github, issue, opened


class Blind:
    """A queue without dedupe windows, over one that has them."""

    capabilities = QueueCapabilities(exact_depth=True, dedupe_window=False, priority_lanes=True)

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def send(self, queue: str, messages: Sequence[Message]) -> list[Sent]:
        plain = [dataclasses.replace(message, dedupe_id=None, dedupe_window=0.0) for message in messages]
        await self._queue.send(queue, plain)
        return [Sent()] * len(messages)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


class Silent:
    """Documents that never answer for an audit row."""

    def __init__(self, documents: Any) -> None:
        self._documents = documents
        self.asked = 0

    async def get(self, collection: Collection, partition: str, identifier: str) -> Document | None:
        if collection is AUDIT_ROWS:
            self.asked += 1
            await asyncio.Event().wait()
        found: Document | None = await self._documents.get(collection, partition, identifier)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._documents, name)


class Counted(Silent):
    """Documents that count how often they are asked for an audit row."""

    async def get(self, collection: Collection, partition: str, identifier: str) -> Document | None:
        self.asked += collection is AUDIT_ROWS
        found: Document | None = await self._documents.get(collection, partition, identifier)
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, FrozenClock()) as world:
        blind = dataclasses.replace(world, queue=Blind(world.queue))
        await blind.register()
        await blind.connect()
        yield blind


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row is waited for: twenty milliseconds are the sender's patience, which a busy machine uses up."""
    monkeypatch.setattr("syncd.flows.accept_processed.PATIENCE", 60.0)


async def ready(world: World) -> int:
    return len(await world.queue.peek(QUEUE))


@pytest.mark.usefixtures("patient")
async def test_what_was_processed_is_answered_as_a_duplicate_and_not_sent_again(world: World) -> None:
    body = issue()
    first = await world.send(body, github(body))
    assert (await world.send(body, github(body))).status == "accepted", "it is not processed yet: nothing is known"
    await world.work()
    again = await world.send(body, github(body))
    assert (first.status, again.status, again.event_id) == ("accepted", "duplicate", first.event_id)
    assert await ready(world) == 0
    assert (await world.row(first.event_id))["duplicates"] == 1
    assert len(await world.issues()) == 1


@pytest.mark.usefixtures("patient")
async def test_another_body_under_its_delivery_id_is_let_through_to_be_parked(world: World) -> None:
    await world.send(issue(1), github(issue(1)))
    await world.work()
    assert (await world.send(issue(2), github(issue(2)))).status == "accepted"
    assert await ready(world) == 1


@pytest.mark.usefixtures("patient")
async def test_an_event_that_was_parked_may_be_sent_again(world: World) -> None:
    body = b'{"issue": {}}'
    await world.send(body, github(body))
    await world.work()
    assert (await world.send(body, github(body))).status == "accepted"


@pytest.mark.usefixtures("patient")
async def test_the_same_body_without_a_delivery_id_is_a_new_event_once_its_window_is_over(world: World) -> None:
    await world.register("plain", scheme="hmac-sha256", integration_id="generic", connection_id="gh")
    body = b'{"entityType":"issue","entityId":"1","operation":"update","data":{"title":"t"}}'
    headers = {"x-signature": hmac.new(SECRET.encode(), body, "sha256").hexdigest()}
    assert (await world.send(body, headers, "plain")).status == "accepted"
    await world.work()
    await world.clock.advance(59)
    assert (await world.send(body, headers, "plain")).status == "duplicate"
    await world.clock.advance(2)
    assert (await world.send(body, headers, "plain")).status == "accepted"


async def test_documents_that_do_not_answer_hold_up_no_webhook_and_are_not_asked_without_end(world: World) -> None:
    silent = Silent(world.documents)
    slow = dataclasses.replace(world, documents=silent)
    bodies = [issue(number) for number in range(3 * MOST_IN_FLIGHT)]
    async with asyncio.timeout(30):
        answers = await asyncio.gather(
            *(slow.send(body, github(body, delivery=f"d-{number}")) for number, body in enumerate(bodies))
        )
    assert {answer.status for answer in answers} == {"accepted"}
    assert silent.asked == MOST_IN_FLIGHT
    assert await ready(world) == len(bodies)


async def test_what_is_asked_of_the_documents_in_a_second_is_bounded(world: World) -> None:
    counted = Counted(world.documents)
    busy = dataclasses.replace(world, documents=counted)
    for second in range(3):
        bodies = [issue(number) for number in range(20 * second, 20 * second + 20)]
        for number, body in enumerate(bodies):
            await busy.send(body, github(body, delivery=f"d-{second}-{number}"))
        assert counted.asked == MOST_IN_FLIGHT * (second + 1)
        await world.clock.advance(1)
    assert await ready(world) == 60
