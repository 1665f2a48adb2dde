"""Random documents and queries: Cosmos DB answers as one SQLite file does, page by page."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from syncd.adapters.embedded.store import open_store
from syncd.domain.collections import CONNECTIONS, ENTITIES, PARKED, TASKS, Collection
from syncd.domain.errors import Conflict
from syncd.ports.documents import Condition, Create, Delete, Document, Documents, Query, Replace, Upsert, Write
from syncd.testing.clock import FrozenClock
from tests.integration.azure.cosmos_world import account, opened

PARTITIONS = {"entities": ["t1:a", "t1:b", "t2:a"], "sync-tasks": ["t1", "t2"], "parked": ["q:202601", "q:202602"]}
VALUES: list[Any] = ["", "a", "b", "ä", "2026-01-01", "2026-01-02", None]
OPERATORS = ("eq", "ne", "lt", "le", "gt", "ge")


def condition(rng: random.Random, path: str) -> Condition:
    if path == "id":
        return Condition(path, rng.choice(OPERATORS), rng.choice(["B", "a2", "é", "~3"]))
    if path == "deleted":
        return rng.choice([Condition(path, "eq", rng.random() < 0.5), Condition(path, "in", [False, True])])
    match rng.randrange(4):
        case 0:
            return Condition(path, rng.choice(["absent", "present"]))
        case 1:
            return Condition(path, "in", rng.sample(VALUES, rng.randrange(4)))
        case _:
            return Condition(path, rng.choice(OPERATORS), rng.choice(VALUES))


def fields(rng: random.Random, collection: Collection) -> dict[str, Any]:
    found = {path: rng.choice(VALUES) for path in (*collection.paths, *collection.scanned) if rng.random() < 0.7}
    if "deleted" in found:
        found["deleted"] = rng.random() < 0.5
    return found | {"payload": {"n": rng.randrange(10**18)}}


def write(rng: random.Random, collection: Collection, known: dict[str, list[str]]) -> tuple[str, list[str]]:
    """Kinds and ids, so that each store can put in its own etags."""
    names = rng.sample([f"{letter}{n}" for letter in "aBé~" for n in range(6)], rng.randrange(1, 4))
    return rng.choice(known[collection.name]), names


async def all_pages(documents: Documents, collection: Collection, query: Query) -> list[list[tuple[str, str, Any]]]:
    pages = []
    while True:
        page = await documents.query(collection, query)
        pages.append([(one.id, one.partition, one.data) for one in page.items])
        if page.cursor is None:
            return pages
        query = Query(
            partition=query.partition,
            across=query.across,
            where=query.where,
            order=query.order,
            descending=query.descending,
            limit=query.limit,
            cursor=page.cursor,
        )


def batch(rng_state: Any, etags: dict[str, str], names: list[str], collection: Collection) -> list[Write]:
    rng = random.Random(rng_state)
    writes: list[Write] = []
    for name in names:
        ttl = rng.choice([None, None, 5.0, 50.0])
        kind, data = rng.randrange(5), fields(rng, collection)
        match kind:
            case 0:
                writes.append(Create(name, data, ttl))
            case 1 | 2:
                writes.append(Upsert(name, data, ttl))
            case 3:
                writes.append(Replace(name, data, etags.get(name, '"none"'), ttl))
            case _:
                writes.append(Delete(name, rng.choice([None, etags.get(name, '"none"')])))
    return writes


async def outcome(
    documents: Documents, collection: Collection, partition: str, writes: list[Write], etags: dict[str, str]
) -> Any:
    try:
        answers: list[Document | None] = await documents.write(collection, partition, writes)
    except Conflict as error:
        return ("conflict", error.index)
    for one, answer in zip(writes, answers, strict=True):
        if answer is None:
            etags.pop(one.id, None)
        else:
            etags[one.id] = answer.etag
    return [None if answer is None else (answer.id, answer.data) for answer in answers]


@pytest.mark.parametrize("seed", range(3))
async def test_random_writes_and_queries_are_answered_alike(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    clock = FrozenClock()
    async with (
        open_store(tmp_path, clock=clock, durable=False) as store,
        account(clock) as service,
        opened(service, clock) as cosmos,
    ):
        stores: list[tuple[Documents, dict[tuple[str, str], dict[str, str]]]] = [(store.documents, {}), (cosmos, {})]
        for _ in range(80):
            collection = rng.choice([ENTITIES, TASKS, PARKED])
            partition, names = write(rng, collection, PARTITIONS)
            state = rng.random()
            told = []
            for documents, etags in stores:
                mine = etags.setdefault((collection.name, partition), {})
                told.append(
                    await outcome(documents, collection, partition, batch(state, mine, names, collection), mine)
                )
            assert told[0] == told[1]
            if rng.random() < 0.1:
                await clock.advance(rng.choice([1, 5]))
        answered = []
        for _ in range(100):
            collection = rng.choice([ENTITIES, TASKS, PARKED, CONNECTIONS])
            across = rng.random() < 0.4
            paths = ("id", *collection.paths, *collection.scanned)
            where = [condition(rng, rng.choice(paths)) for _ in range(rng.choice([0, 0, 1, 1, 2]))]
            query = Query(
                partition=None if across else rng.choice(PARTITIONS.get(collection.name, ["c"])),
                across=across,
                where=where,
                order=rng.choice([None, *(path for path in collection.paths if path not in collection.counted)]),
                descending=rng.random() < 0.5,
                limit=rng.choice([1, 2, 5, 100]),
            )
            pages = [await all_pages(documents, collection, query) for documents, _ in stores]
            assert pages[0] == pages[1], query
            answered.append(len(pages[0]))
            if query.partition is not None:
                counts = [
                    await documents.count(collection, query.partition, where, at_most=7) for documents, _ in stores
                ]
                assert counts[0] == counts[1], query
        assert sum(count > 1 for count in answered) > 15, "most are not empty"
