"""Documents that SQLite reads and writes in sets: what one of a set holds is nothing to the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.adapters.embedded.documents import EmbeddedDocuments
from syncd.adapters.embedded.store import open_store
from syncd.domain.collections import ENTITIES
from syncd.domain.errors import Conflict
from syncd.ports.documents import BATCH_LIMIT, Create, Query
from syncd.testing.clock import FrozenClock


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def documents(tmp_path: Path, clock: FrozenClock) -> AsyncIterator[EmbeddedDocuments]:
    async with open_store(tmp_path, clock=clock, durable=False) as store:
        yield store.documents


async def put(documents: EmbeddedDocuments, partition: str, *identifiers: str, **data: object) -> None:
    for start in range(0, len(identifiers), BATCH_LIMIT):
        batch = [Create(one, {"name": one, **data}) for one in identifiers[start : start + BATCH_LIMIT]]
        await documents.write(ENTITIES, partition, batch)


@pytest.mark.parametrize("count", [1, 2, 3, 99, 100, 101, 128, 250, 1000])
async def test_a_set_of_any_size_is_read_in_the_order_asked(documents: EmbeddedDocuments, count: int) -> None:
    names = [f"n{number * 7919 % count}" for number in range(count)]
    await put(documents, "p", *names[::2])
    found = await documents.get_many(ENTITIES, [("p", name) for name in names])
    there = set(names[::2])
    assert [None if one is None else one.data["name"] for one in found] == [
        name if name in there else None for name in names
    ]
    assert len({one.etag for one in found if one is not None}) == len(there)


async def test_a_document_that_is_asked_for_twice_is_two_copies(documents: EmbeddedDocuments) -> None:
    await put(documents, "p", "a", "b", tags=["x"])
    one, _, other = await documents.get_many(ENTITIES, [("p", "a"), ("p", "b"), ("p", "a")])
    assert one is not None
    assert one == other
    one.data["tags"].append("mine")
    assert other is not None
    assert other.data["tags"] == ["x"]


async def test_one_id_in_two_partitions_is_two_documents(documents: EmbeddedDocuments) -> None:
    await put(documents, "p", "a", at="p")
    await put(documents, "q", "a", at="q")
    found = await documents.get_many(ENTITIES, [("q", "a"), ("p", "a"), ("r", "a")])
    assert [one and (one.partition, one.data["at"]) for one in found] == [("q", "q"), ("p", "p"), None]


async def test_no_character_of_an_id_or_a_value_is_taken_for_the_end_of_it(documents: EmbeddedDocuments) -> None:
    names = ["\x1e", "a\x1eb", "a", "b", ",", "[", '"', "\\u001e", "\x00", "\x1f"]
    await put(documents, "p", *names, text='\x1e,[]"\\ é')
    found = await documents.get_many(ENTITIES, [("p", name) for name in names])
    assert [one and (one.id, one.data["name"], one.data["text"]) for one in found] == [
        (name, name, '\x1e,[]"\\ é') for name in names
    ]


async def test_numbers_and_characters_that_only_the_standard_library_reads_come_back_beside_others(
    documents: EmbeddedDocuments,
) -> None:
    await documents.write(
        ENTITIES, "p", [Create("huge", {"n": 2**80}), Create("plain", {"n": 1.5}), Create("null", {"n": None})]
    )
    found = await documents.get_many(ENTITIES, [("p", "huge"), ("p", "plain"), ("p", "null")])
    assert [one and one.data["n"] for one in found] == [2**80, 1.5, None]


@pytest.mark.parametrize("count", [2, 7, 50, 99, 100])
async def test_a_batch_of_new_documents_of_which_the_last_is_there_leaves_nothing_behind(
    documents: EmbeddedDocuments, count: int
) -> None:
    [there] = await documents.write(ENTITIES, "t", [Create("last", {"n": 0})])
    losing = documents.write(
        ENTITIES, "t", [*(Create(f"d{n}", {}) for n in range(count - 1)), Create("last", {"n": 1})]
    )
    # Three of one transaction: the neighbours of the one that loses are written.
    before, lost, after = await asyncio.gather(
        documents.write(ENTITIES, "t", [Create("before1", {}), Create("before2", {})]),
        losing,
        documents.write(ENTITIES, "t", [Create("after1", {}), Create("after2", {})]),
        return_exceptions=True,
    )
    assert isinstance(lost, Conflict)
    assert lost.index == count - 1
    found = (await documents.query(ENTITIES, Query(partition="t", limit=1000))).items
    assert {one.id for one in found} == {"before1", "before2", "after1", "after2", "last"}
    assert there in found
    assert isinstance(before, list)
    assert isinstance(after, list)


@pytest.mark.parametrize("count", [2, 7, 50, 99, 100])
async def test_a_batch_of_new_documents_takes_the_place_of_one_that_has_expired(
    documents: EmbeddedDocuments, clock: FrozenClock, count: int
) -> None:
    await documents.write(ENTITIES, "t", [Create("d0", {"n": "old"}, 10.0)])
    await clock.advance(10)
    stored = await documents.write(ENTITIES, "t", [Create(f"d{n}", {"n": n}) for n in range(count)])
    assert await documents.get_many(ENTITIES, [("t", f"d{n}") for n in range(count)]) == stored
