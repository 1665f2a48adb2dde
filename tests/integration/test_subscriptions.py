"""Which connections are told of changes, from memory and from the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.adapters.embedded.store import open_store
from syncd.domain.collections import CONNECTIONS, Collection
from syncd.flows.subscriptions import Subscriptions
from syncd.ports.documents import Create, Documents, Page, Query
from syncd.testing.clock import FrozenClock


class Reads:
    """The store's documents, and how often pages of them are asked for."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self.pages = 0

    async def query(self, collection: Collection, query: Query) -> Page:
        self.pages += 1
        return await self._documents.query(collection, query)

    def __getattr__(self, name: str) -> object:
        return getattr(self._documents, name)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def reads(tmp_path: Path, clock: FrozenClock) -> AsyncIterator[Reads]:
    async with open_store(tmp_path, clock=clock, durable=False) as store:
        yield Reads(store.documents)


def over(reads: Reads, clock: FrozenClock) -> Subscriptions:
    return Subscriptions(documents=reads, clock=clock, ttl=5.0)  # type: ignore[arg-type]  # what it does not count it passes on


async def connect(reads: Reads, name: str) -> None:
    data = {"id": name, "tenantId": "t", "integrationId": "github", "entities": {"issue": {"direction": "both"}}}
    await reads._documents.write(CONNECTIONS, name, [Create(name, data)])


async def test_a_crowd_that_finds_the_memory_too_old_reads_once(reads: Reads, clock: FrozenClock) -> None:
    subscriptions = over(reads, clock)
    await connect(reads, "c1")
    for times in (1, 2):
        found = await asyncio.gather(*(subscriptions.subscribers("t", "issue") for _ in range(50)))
        assert {one.connection_id for answer in found for one in answer} == {"c1"}
        assert reads.pages == times
        await clock.advance(5.1)


async def test_who_waits_for_anothers_read_gets_it_though_the_other_has_gone(reads: Reads, clock: FrozenClock) -> None:
    subscriptions = over(reads, clock)
    await connect(reads, "c1")
    first = asyncio.create_task(subscriptions.known("t", "c1"))
    second = asyncio.create_task(subscriptions.known("t", "c1"))
    while not reads.pages:
        await asyncio.sleep(0)
    first.cancel()
    assert await second is not None
    assert reads.pages == 1


async def test_an_events_own_connection_is_never_looked_up_in_memory(reads: Reads, clock: FrozenClock) -> None:
    subscriptions = over(reads, clock)
    assert await subscriptions.connection("t", None, "github") is None
    await connect(reads, "c1")
    found = await subscriptions.connection("t", None, "github")
    assert found is not None
    assert found.id == "c1"
