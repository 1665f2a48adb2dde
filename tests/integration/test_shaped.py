"""Flat entities and the documents of the systems before, through the flows that read and change entities."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.adapters.embedded.store import Store, open_store
from syncd.domain.collections import CONNECTIONS, ENTITIES
from syncd.domain.errors import Conflict, Invalid
from syncd.domain.ids import located
from syncd.domain.records import alias, alias_id
from syncd.flows.entities import Entities
from syncd.flows.hints import PushHints
from syncd.flows.subscriptions import Subscriptions
from syncd.ports.documents import Condition, Create, Delete, Document, Query
from syncd.runtime.shaped import ShapedDocuments
from syncd.testing.clock import FrozenClock

P = "tenant:contact"


class World:
    def __init__(self, store: Store, clock: FrozenClock, *, write_flat: bool = True) -> None:
        self.store = store
        self.documents = ShapedDocuments(store.documents, write_flat=write_flat)
        subscriptions = Subscriptions(documents=self.documents, clock=clock)
        hints = PushHints(queue=store.queue, clock=clock)
        self.entities = Entities(documents=self.documents, subscriptions=subscriptions, hints=hints, clock=clock)

    async def old(self, identifier: str, **fields: object) -> None:
        """As the systems before wrote it: past us."""
        await self.store.documents.write(ENTITIES, P, [Create(identifier, {"tenantId": "tenant", **fields})])

    async def lies(self, identifier: str) -> Document:
        found = await self.store.documents.get(ENTITIES, P, identifier)
        assert found is not None
        return found

    async def listed(self, limit: int = 100) -> list[str]:
        seen: list[str] = []
        cursor = None
        while True:
            page = await self.entities.list("tenant", "contact", limit=limit, cursor=cursor)
            assert len(page.items) <= limit
            seen += [document.data["data"]["name"] for document in page.items]
            cursor = page.cursor
            if cursor is None:
                return seen


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def world(tmp_path: Path, clock: FrozenClock) -> AsyncIterator[World]:
    async with open_store(tmp_path, clock=clock, durable=False) as store:
        connection = {
            "tenantId": "tenant",
            "integrationId": "rest",
            "entities": {"contact": {"direction": "both"}},
            "enabled": True,
        }
        await store.documents.write(CONNECTIONS, "crm", [Create("crm", connection)])
        yield World(store, clock)


async def test_an_entity_is_stored_flat_and_read_wrapped(world: World) -> None:
    made = await world.entities.create("tenant", "contact", {"name": "Ada", "type": "person"})
    stored = await world.lies(made.id)
    assert (stored.data["name"], stored.data["type"], stored.etag) == ("Ada", "contact", made.etag)
    assert "data" not in stored.data
    found = await world.entities.get(made.id)
    assert found == made
    assert found.data["data"] == {"name": "Ada", "type": "person"}


async def test_an_old_document_is_read_listed_changed_in_its_place_and_owed_to_connections(world: World) -> None:
    await world.old("entity-001", name="Ada", unknown={"a": [1]}, updatedAt="2024-01-02T03:04:05Z")
    shown = located(P, "entity-001")
    read = await world.entities.get(shown)
    assert (read.id, read.data["version"]) == (shown, 0)
    assert await world.listed() == ["Ada"]
    edited = await world.entities.edit("tenant", "contact", shown, {**read.data["data"], "name": "Eve"})
    stored = await world.lies("entity-001")
    assert (stored.data["name"], stored.data["unknown"], stored.data["version"]) == ("Eve", {"a": [1]}, 1)
    assert await world.entities.get(shown) == edited
    [hint] = await world.store.queue.peek("sync-outbound")
    assert hint.envelope.origin_id == f"{shown}~crm~1"
    assert await world.listed() == ["Eve"]


async def test_a_lost_race_for_an_old_document_is_a_conflict(world: World) -> None:
    await world.old("entity-001", name="Ada")
    read = await world.entities.get(located(P, "entity-001"))
    await world.entities.edit("tenant", "contact", read.id, {"name": "Eve"})
    with pytest.raises(Conflict):
        await world.entities.edit("tenant", "contact", read.id, {"name": "Bob"}, if_match=read.etag)


async def test_old_documents_are_changed_and_read_whatever_the_shape_is(world: World, clock: FrozenClock) -> None:
    await world.old("entity-001", name="Ada")
    flat = await world.entities.create("tenant", "contact", {"name": "Bob"})
    wrapped = World(world.store, clock, write_flat=False)
    shown = located(P, "entity-001")
    edited = await wrapped.entities.edit("tenant", "contact", shown, {"name": "Eve"})
    assert (await world.lies("entity-001")).data["data"] == {"name": "Eve"}
    assert await wrapped.entities.get(shown) == await world.entities.get(shown) == edited
    assert await wrapped.entities.get(flat.id) == flat
    back = await world.entities.edit("tenant", "contact", shown, {"name": "Ada"})
    assert (await world.lies("entity-001")).data["name"] == "Ada"
    assert back.data["version"] == 2


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_a_list_ends_with_the_old_documents_each_once_whatever_stands_beside_them(
    world: World, limit: int
) -> None:
    for number in range(3):
        made = await world.entities.create("tenant", "contact", {"name": f"new {number}"})
        pointer = alias("crm", str(number), made.id)
        await world.documents.write(ENTITIES, P, [Create(alias_id("crm", str(number)), pointer)])
    for number in range(5):
        await world.old(f"e{number}", name=f"old {number}")
    expected = [f"new {number}" for number in range(3)] + [f"old {number}" for number in range(5)]
    assert sorted(await world.listed(limit)) == sorted(expected)


async def test_a_list_looks_through_many_aliases_in_bounded_steps(world: World) -> None:
    for start in range(0, 5200, 100):
        pointers = [Create(f"x~{n:05d}", alias("crm", str(n), "gone")) for n in range(start, start + 100)]
        await world.documents.write(ENTITIES, P, pointers)
    await world.old("zz", name="last")
    first = await world.entities.list("tenant", "contact")
    assert (first.items, first.cursor is None) == ([], False)
    assert await world.listed() == ["last"]


async def test_what_is_removed_without_looking_is_gone_wherever_it_lies(world: World) -> None:
    await world.old("entity-001", name="Ada")
    page = await world.documents.query(ENTITIES, Query(across=True, where=[Condition("tenantId", "eq", "tenant")]))
    await world.documents.write(ENTITIES, P, [Delete(document.id) for document in page.items])
    assert await world.store.documents.get(ENTITIES, P, "entity-001") is None


async def test_a_tombstone_of_an_old_document_keeps_its_place(world: World) -> None:
    await world.old("entity-001", name="Ada")
    shown = located(P, "entity-001")
    await world.entities.remove("tenant", "contact", shown)
    assert (await world.lies("entity-001")).data["deleted"] is True
    assert await world.listed() == []
    [buried] = (await world.entities.list("tenant", "contact", deleted=True)).items
    assert buried.id == shown


async def test_a_broken_cursor_is_refused(world: World) -> None:
    for cursor in ("old~", "old~!", "old~WzFd", "old~WzEsMl0=", "x"):
        with pytest.raises(Invalid):
            await world.entities.list("tenant", "contact", cursor=cursor)
