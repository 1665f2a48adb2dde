"""A page on its way into the store, where the store does not take it as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from syncd.adapters.embedded.store import Store, open_store
from syncd.domain.collections import ENTITIES, Collection
from syncd.domain.errors import Overloaded
from syncd.domain.receiving import Incoming, order_of
from syncd.flows.conflicts import ConflictLog
from syncd.flows.hints import PushHints
from syncd.flows.intake import Intake
from syncd.flows.steps import Stored
from syncd.flows.subscriptions import Subscriptions
from syncd.ports.documents import Condition, Document, Documents, Query, Write
from syncd.ports.observe import ignore
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import CrashAt
from tests.integration.azure.cosmos_world import account, opened

#: Entity and alias each: more than one atomic batch.
RECORDS = 60


def intake_of(store: Store, clock: FrozenClock, documents: Documents | None = None) -> Intake:
    documents = documents or store.documents
    return Intake(
        documents=documents,
        subscriptions=Subscriptions(documents=documents, clock=clock),
        conflicts=ConflictLog(documents=documents, clock=clock, observe=ignore),
        hints=PushHints(queue=store.queue, clock=clock),
        clock=clock,
    )


def page(clock: FrozenClock) -> list[Incoming]:
    now = clock.now()
    return [
        Incoming(
            connection_id="crm",
            external_id=f"c{number}",
            operation="update",
            data={"name": f"Contact {number}"},
            occurred_at=now,
            order=order_of(now, "update", now),
        )
        for number in range(RECORDS)
    ]


class Contended:
    """The store, where somebody else is quicker than each of the first writes."""

    def __init__(self, documents: Documents, *quicker: Callable[[], Awaitable[object]]) -> None:
        self._documents = documents
        self._quicker = list(quicker)
        self._one_at_a_time = asyncio.Lock()

    def __getattr__(self, name: str) -> Any:  # whatever the port has
        return getattr(self._documents, name)

    async def write(self, collection: Collection, partition: str, writes: Sequence[Write]) -> list[Document | None]:
        async with self._one_at_a_time:
            if self._quicker:
                await self._quicker.pop(0)()
        return await self._documents.write(collection, partition, writes)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FrozenClock) -> AsyncIterator[Store]:
    async with open_store(tmp_path, clock=clock, durable=False) as store:
        yield store


@pytest.fixture(params=["embedded", "cosmos"])
async def documents(request: pytest.FixtureRequest, store: Store, clock: FrozenClock) -> AsyncIterator[Documents]:
    if request.param == "embedded":
        yield store.documents
        return
    async with account(clock) as service, opened(service, clock) as cosmos:
        yield cosmos


async def test_a_page_that_another_process_has_stored_meanwhile_is_read_again_as_a_page(
    store: Store, clock: FrozenClock, documents: Documents
) -> None:
    stored: list[Any] = []

    async def quicker() -> None:
        other = intake_of(store, clock, documents)
        stored.extend(await other.receive_page("tenant", "contact", page(clock), said_at=clock.now()))

    calls = CrashAt()
    contended = calls.wrap("documents", cast("Documents", Contended(documents, quicker)))
    answers = await intake_of(store, clock, contended).receive_page(
        "tenant", "contact", page(clock), said_at=clock.now()
    )
    assert [(one.entity_id, "unchanged") for one in stored] == [
        (one.entity_id, one.effect) for one in answers if isinstance(one, Stored)
    ]
    assert calls.calls < 10, "nothing was done for each record"


async def test_one_record_that_another_process_is_changing_keeps_no_other_of_its_page_from_being_stored(
    store: Store, clock: FrozenClock, documents: Documents
) -> None:
    times = 0

    async def quicker() -> None:
        nonlocal times
        times += 1
        now = clock.now() + times
        one = replace(page(clock)[7], data={"name": f"Newer {times}"}, order=order_of(now, "update", now))
        await intake_of(store, clock, documents).receive("tenant", "contact", one, said_at=clock.now())

    contended = cast("Documents", Contended(documents, *[quicker] * 8))
    answers = await intake_of(store, clock, contended).receive_page(
        "tenant", "contact", page(clock), said_at=clock.now()
    )
    effects = [one.effect for one in answers if isinstance(one, Stored)]
    assert effects == ["created"] * 7 + ["outdated"] + ["created"] * (RECORDS - 8)
    listed = await documents.query(
        ENTITIES, Query(partition="tenant:contact", where=[Condition("deleted", "eq", False)])
    )
    assert sorted(one.data["data"]["name"] for one in listed.items) == sorted(
        [f"Newer {times}", *(f"Contact {number}" for number in range(RECORDS) if number != 7)]
    )


async def test_a_page_that_the_store_cannot_take_now_is_refused_in_the_stores_own_words(tmp_path: Path) -> None:
    clock = FrozenClock()
    async with open_store(tmp_path, clock=clock, durable=False, inbox_operations=1) as store:
        intake = intake_of(store, clock)
        with pytest.raises(Overloaded, match="are waiting for the disk"):
            await intake.receive_page("tenant", "contact", page(clock), said_at=clock.now())


async def test_the_entities_of_a_page_are_listed_in_its_order(tmp_path: Path) -> None:
    clock = FrozenClock()
    async with open_store(tmp_path, clock=clock, durable=False) as store:
        answers = await intake_of(store, clock).receive_page("tenant", "contact", page(clock), said_at=clock.now())
        assert all(isinstance(one, Stored) and one.effect == "created" for one in answers)
        listed = await store.documents.query(
            ENTITIES, Query(partition="tenant:contact", where=[Condition("deleted", "eq", False)])
        )
        assert [one.data["data"]["name"] for one in listed.items] == [f"Contact {n}" for n in range(RECORDS)]
