"""Debts whose hint was lost are told again: by the batch, on both stores."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from syncd.adapters.embedded.store import Store, open_store
from syncd.domain.collections import ENTITIES, Collection
from syncd.domain.jsontypes import JsonObject
from syncd.domain.times import HOUR, iso
from syncd.flows.conflicts import ConflictLog
from syncd.flows.debts import Debts
from syncd.flows.hints import QUEUE
from syncd.ports.documents import (
    BATCH_LIMIT,
    Capabilities,
    Condition,
    Create,
    Document,
    Documents,
    Page,
    Query,
    Replace,
    Write,
)
from syncd.ports.observe import ignore
from syncd.testing.clock import FrozenClock
from tests.integration.azure.cosmos_world import account, opened


@dataclass
class Watched:
    """The store, with every write seen before it is done."""

    documents: Documents
    writes: list[int]
    before: Callable[[], Awaitable[object]] | None = None

    @property
    def capabilities(self) -> Capabilities:
        return self.documents.capabilities

    async def get(self, collection: Collection, partition: str, identifier: str) -> Document | None:
        return await self.documents.get(collection, partition, identifier)

    async def get_many(self, collection: Collection, keys: Sequence[tuple[str, str]]) -> list[Document | None]:
        return await self.documents.get_many(collection, keys)

    async def write(self, collection: Collection, partition: str, writes: Sequence[Write]) -> list[Document | None]:
        self.writes.append(len(writes))
        if self.before is not None:
            before, self.before = self.before, None
            await before()
        return await self.documents.write(collection, partition, writes)

    async def query(self, collection: Collection, query: Query) -> Page:
        return await self.documents.query(collection, query)

    async def count(
        self, collection: Collection, partition: str, where: Sequence[Condition] = (), *, at_most: int = 10_000
    ) -> int:
        return await self.documents.count(collection, partition, where, at_most=at_most)

    async def sweep(self, *, limit: int = 10_000) -> int:
        return await self.documents.sweep(limit=limit)


@dataclass
class World:
    clock: FrozenClock
    store: Store
    documents: Watched

    async def owe(self, partition: str, count: int, *, text: str = "") -> None:
        at = iso(self.clock.now())
        tenant, _, kind = partition.partition(":")
        for start in range(0, count, 20):
            creates = [
                Create(f"{partition}.{number:05}", _entity(tenant, kind, at, text))
                for number in range(start, min(start + 20, count))
            ]
            await self.documents.documents.write(ENTITIES, partition, creates)

    async def remind(self) -> int:
        conflicts = ConflictLog(documents=self.documents, clock=self.clock, observe=ignore)
        debts = Debts(documents=self.documents, queue=self.store.queue, conflicts=conflicts, clock=self.clock)
        return await debts.remind()

    async def told(self) -> list[str]:
        """Ids of entities, of which a message waits."""
        return sorted(
            json.loads(delivery.body)["entityId"]
            for delivery in await self.store.queue.lease(QUEUE, 1000, duration=60.0)
        )


def _entity(tenant: str, kind: str, at: str, text: str) -> JsonObject:
    return {
        "tenantId": tenant,
        "type": kind,
        "version": 1,
        "deleted": False,
        "data": {"text": text},
        "externalIds": {},
        "links": {"crm": {"want": 1, "pushed": 0, "dirtySince": at}},
        "dirtySince": at,
        "changedAt": at,
        "updatedAt": at,
    }


@pytest.fixture(params=["embedded", "cosmos"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    clock = FrozenClock()
    async with open_store(tmp_path, clock=clock, durable=False) as store:
        if request.param == "embedded":
            yield World(clock, store, Watched(store.documents, []))
            return
        async with account(clock) as service, opened(service, clock) as documents:
            yield World(clock, store, Watched(documents, []))


async def test_a_pass_moves_the_debts_of_a_partition_by_the_batch_and_tells_each_once(world: World) -> None:
    await world.owe("one:contact", 250)
    await world.owe("two:contact", 30)
    await world.clock.advance(HOUR)
    assert await world.remind() == 280
    assert sorted(world.documents.writes) == [30, 50, BATCH_LIMIT, BATCH_LIMIT]
    told = await world.told()
    assert len(told) == len(set(told)) == 280
    assert await world.remind() == 0, "its next look is later now"


async def test_one_that_somebody_works_on_keeps_no_other_of_its_batch_from_being_told(world: World) -> None:
    await world.owe("one:contact", 5)
    await world.clock.advance(HOUR)

    async def changed() -> None:
        found = await world.documents.get(ENTITIES, "one:contact", "one:contact.00002")
        assert found is not None
        await world.documents.documents.write(
            ENTITIES, found.partition, [Replace(found.id, {**found.data, "version": 2}, found.etag)]
        )

    world.documents.before = changed
    assert await world.remind() == 4
    assert await world.told() == [f"one:contact.{number:05}" for number in (0, 1, 3, 4)]
    assert await world.remind() == 1, "the next pass finds it"


# aiohttp warns of bodies over 1 MiB, which it writes at once.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_entities_too_large_for_one_batch_are_told_in_smaller_ones(world: World) -> None:
    await world.owe("one:contact", 60, text="x" * 60_000)
    await world.clock.advance(HOUR)
    assert await world.remind() == 60
    assert len(set(await world.told())) == 60
