"""What every backend of the port `Documents` keeps. `core`: no backend may skip a test of this file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from syncd.adapters.azure.cosmos import Options, check_cosmos, open_cosmos
from syncd.adapters.embedded.store import open_store
from syncd.domain.collections import AUDIT_ROWS, ENTITIES, PARKED, SCHEDULES, TASKS, Collection
from syncd.domain.errors import Conflict, Invalid, StoreUnusable
from syncd.ports.documents import (
    BATCH_LIMIT,
    FOREVER,
    Condition,
    Create,
    Delete,
    Documents,
    Query,
    Replace,
    Upsert,
)
from syncd.runtime.shaped import ShapedDocuments
from syncd.testing.clock import FrozenClock
from tests.wire.cosmos import KEY, CosmosDouble

P = "tenant-1:issue"


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(1_700_000_000.0)


@asynccontextmanager
async def opened(backend: str, directory: Path, clock: FrozenClock) -> AsyncIterator[Documents]:
    if backend == "embedded":
        async with open_store(directory, clock=clock, durable=False) as store:
            yield store.documents
        return
    assert backend == "cosmos"
    options = Options(enable_endpoint_discovery=False)
    async with CosmosDouble(clock=clock) as service:
        account = {"endpoint": service.endpoint, "credential": KEY, "database": "syncd", "clock": clock}
        assert await check_cosmos(**account, options=options, create=True) == []
        async with open_cosmos(**account, options=options) as documents:
            yield documents


@pytest.fixture(
    params=[
        f"{backend}{shape}"
        for backend in ("embedded", "cosmos")
        for shape in ("", ", entities flat", ", entities wrapped")
    ]
)
async def documents(request: pytest.FixtureRequest, tmp_path: Path, clock: FrozenClock) -> AsyncIterator[Documents]:
    backend, _, shape = request.param.partition(", entities ")
    async with opened(backend, tmp_path, clock) as documents:
        yield ShapedDocuments(documents, write_flat=shape == "flat") if shape else documents


async def test_a_created_document_is_read_back_with_its_fields(documents: Documents) -> None:
    data = {"name": "Zoë", "n": 1, "deep": {"list": [1, None, True, "x"]}, "big": 2**70}
    [created] = await documents.write(ENTITIES, P, [Create("a", data)])
    found = await documents.get(ENTITIES, P, "a")
    assert created is not None
    assert found is not None
    assert found.etag == created.etag
    assert '"' not in found.etag, "it stands between the quotes of an HTTP header"
    assert found.etag.isascii()
    assert found.etag.isprintable()
    assert {k: v for k, v in found.data.items() if k != "schema"} == {k: v for k, v in data.items() if k != "schema"}
    assert found.as_json()["id"] == "a"


async def test_what_does_not_exist_is_none_and_partitions_are_apart(documents: Documents) -> None:
    await documents.write(ENTITIES, P, [Create("a", {})])
    assert await documents.get(ENTITIES, "tenant-2:issue", "a") is None
    assert await documents.get(ENTITIES, P, "b") is None


async def test_creating_an_id_twice_is_a_conflict_and_the_first_stays(documents: Documents) -> None:
    await documents.write(ENTITIES, P, [Create("a", {"n": 1})])
    with pytest.raises(Conflict):
        await documents.write(ENTITIES, P, [Create("a", {"n": 2})])
    found = await documents.get(ENTITIES, P, "a")
    assert found is not None
    assert found.data["n"] == 1


async def test_replace_needs_the_etag_of_the_stored_document(documents: Documents) -> None:
    [first] = await documents.write(ENTITIES, P, [Create("a", {"n": 1})])
    assert first
    [second] = await documents.write(ENTITIES, P, [Replace("a", {"n": 2}, first.etag)])
    assert second
    assert second.etag != first.etag
    with pytest.raises(Conflict):
        await documents.write(ENTITIES, P, [Replace("a", {"n": 3}, first.etag)])
    with pytest.raises(Conflict):
        await documents.write(ENTITIES, P, [Replace("gone", {}, second.etag)])


async def test_of_many_concurrent_replaces_with_one_etag_exactly_one_wins(documents: Documents) -> None:
    [first] = await documents.write(ENTITIES, P, [Create("a", {})])
    assert first
    answers = await asyncio.gather(
        *(documents.write(ENTITIES, P, [Replace("a", {"n": n}, first.etag)]) for n in range(20)), return_exceptions=True
    )
    assert sum(not isinstance(answer, Conflict) for answer in answers) == 1
    assert all(isinstance(answer, list | Conflict) for answer in answers)


async def test_of_many_concurrent_creators_exactly_one_wins(documents: Documents) -> None:
    answers = await asyncio.gather(
        *(documents.write(ENTITIES, P, [Create("a", {"n": n})]) for n in range(20)), return_exceptions=True
    )
    assert sum(not isinstance(answer, Conflict) for answer in answers) == 1


async def test_a_batch_is_all_or_nothing_and_names_the_write_that_lost(documents: Documents) -> None:
    await documents.write(ENTITIES, P, [Create("taken", {})])
    with pytest.raises(Conflict) as lost:
        await documents.write(
            ENTITIES, P, [Create("new", {}), Upsert("other", {}), Create("taken", {}), Create("last", {})]
        )
    assert lost.value.index == 2
    assert await documents.get_many(ENTITIES, [(P, "new"), (P, "other"), (P, "last")]) == [None, None, None]


async def test_a_lost_batch_does_not_disturb_those_that_commit_with_it(documents: Documents) -> None:
    await documents.write(ENTITIES, P, [Create("taken", {})])
    batches = [[Create(f"x{n}", {}), Create("taken" if n % 2 else f"y{n}", {})] for n in range(10)]
    answers = await asyncio.gather(*(documents.write(ENTITIES, P, batch) for batch in batches), return_exceptions=True)
    assert [isinstance(answer, Conflict) for answer in answers] == [bool(n % 2) for n in range(10)]
    found = await documents.get_many(ENTITIES, [(P, f"x{n}") for n in range(10)])
    assert [document is not None for document in found] == [not n % 2 for n in range(10)]


async def test_get_many_answers_in_the_order_asked_with_gaps(documents: Documents) -> None:
    await documents.write(ENTITIES, P, [Create("a", {}), Create("b", {})])
    found = await documents.get_many(ENTITIES, [(P, "b"), (P, "none"), (P, "a"), (P, "b")])
    assert [document.id if document else None for document in found] == ["b", None, "a", "b"]


async def test_delete_with_an_etag_is_conditional_and_without_one_idempotent(documents: Documents) -> None:
    [first] = await documents.write(ENTITIES, P, [Create("a", {})])
    assert first
    with pytest.raises(Conflict):
        await documents.write(ENTITIES, P, [Delete("a", "another")])
    assert await documents.write(ENTITIES, P, [Delete("a", first.etag)]) == [None]
    with pytest.raises(Conflict):
        await documents.write(ENTITIES, P, [Delete("a", first.etag)])
    await documents.write(ENTITIES, P, [Delete("a")])
    assert await documents.get(ENTITIES, P, "a") is None


async def test_upsert_writes_whatever_was_there(documents: Documents) -> None:
    await documents.write(ENTITIES, P, [Upsert("a", {"n": 1})])
    await documents.write(ENTITIES, P, [Upsert("a", {"n": 2})])
    found = await documents.get(ENTITIES, P, "a")
    assert found
    assert found.data["n"] == 2


async def test_documents_expire_by_collection_and_by_write(documents: Documents, clock: FrozenClock) -> None:
    await documents.write(
        AUDIT_ROWS, "r:0", [Create("week", {}), Create("short", {}, 10.0), Create("ever", {}, FOREVER)]
    )
    await clock.advance(11)
    keys = [("r:0", "week"), ("r:0", "short"), ("r:0", "ever")]
    assert [d is not None for d in await documents.get_many(AUDIT_ROWS, keys)] == [True, False, True]
    await clock.advance(8 * 86400)
    assert [d is not None for d in await documents.get_many(AUDIT_ROWS, keys)] == [False, False, True]


async def test_an_expired_document_counts_as_absent_for_every_write(documents: Documents, clock: FrozenClock) -> None:
    [old] = await documents.write(ENTITIES, P, [Create("a", {"n": 1}, 10.0)])
    assert old
    await clock.advance(10)
    with pytest.raises(Conflict):
        await documents.write(ENTITIES, P, [Replace("a", {"n": 2}, old.etag)])
    with pytest.raises(Conflict):
        await documents.write(ENTITIES, P, [Delete("a", old.etag)])
    await documents.write(ENTITIES, P, [Create("a", {"n": 3})])
    found = await documents.get(ENTITIES, P, "a")
    assert found
    assert found.data["n"] == 3
    assert (await documents.query(ENTITIES, Query(partition=P))).items == [found]


async def test_sweep_removes_only_what_has_expired(documents: Documents, clock: FrozenClock) -> None:
    await documents.write(ENTITIES, P, [Create(f"a{n}", {}, 5.0 if n % 2 else None) for n in range(10)])
    await clock.advance(6)
    await documents.sweep()
    assert len((await documents.query(ENTITIES, Query(partition=P))).items) == 5


async def test_a_query_pages_by_keyset_in_both_directions(documents: Documents) -> None:
    stamps = [f"2026-01-01T00:00:{n // 3:02d}.000Z" for n in range(25)]
    await documents.write(ENTITIES, P, [Create(f"e{n:02d}", {"updatedAt": stamps[n]}) for n in range(25)])
    for descending in (False, True):
        seen: list[str] = []
        cursor = None
        while True:
            page = await documents.query(
                ENTITIES, Query(partition=P, order="updatedAt", descending=descending, limit=4, cursor=cursor)
            )
            seen += [item.id for item in page.items]
            cursor = page.cursor
            if cursor is None:
                break
        expected = sorted((stamps[n], f"e{n:02d}") for n in range(25))
        assert seen == [identifier for _, identifier in (reversed(expected) if descending else expected)]


async def test_a_cursor_neither_repeats_nor_hides_documents_that_come_and_go(documents: Documents) -> None:
    await documents.write(ENTITIES, P, [Create(f"e{n}", {}) for n in range(6)])
    first = await documents.query(ENTITIES, Query(partition=P, limit=3))
    await documents.write(ENTITIES, P, [Delete("e1"), Create("e00", {}), Create("e9", {})])
    second = await documents.query(ENTITIES, Query(partition=P, limit=3, cursor=first.cursor))
    third = await documents.query(ENTITIES, Query(partition=P, limit=3, cursor=second.cursor))
    assert [d.id for d in first.items] == ["e0", "e00", "e1"] or [d.id for d in first.items] == ["e0", "e1", "e2"]
    assert [d.id for d in (*second.items, *third.items)] == ["e3", "e4", "e5", "e9"]


async def test_a_page_that_is_exactly_full_ends_without_a_cursor(documents: Documents) -> None:
    await documents.write(ENTITIES, P, [Create(f"e{n}", {}) for n in range(3)])
    assert (await documents.query(ENTITIES, Query(partition=P, limit=3))).cursor is None


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Condition("status", "eq", "pending"), {"a", "b"}),
        (Condition("status", "ne", "pending"), {"c"}),
        (Condition("status", "in", ["running", "pending"]), {"a", "b", "c"}),
        (Condition("status", "absent"), {"d"}),
        (Condition("status", "present"), {"a", "b", "c"}),
        (Condition("nextScheduled", "le", "2026-01-02"), {"a", "c"}),
        (Condition("nextScheduled", "lt", "2026-01-02"), {"a"}),
        (Condition("nextScheduled", "gt", "2026-01-01"), {"b", "c"}),
        (Condition("nextScheduled", "ge", "2026-01-03"), {"b"}),
    ],
)
async def test_conditions_compare_declared_paths(
    documents: Documents, condition: Condition, expected: set[str]
) -> None:
    rows = {
        "a": {"status": "pending", "nextScheduled": "2026-01-01"},
        "b": {"status": "pending", "nextScheduled": "2026-01-03"},
        "c": {"status": "running", "nextScheduled": "2026-01-02"},
        "d": {},
    }
    await documents.write(TASKS, "t", [Create(key, dict(value)) for key, value in rows.items()])
    page = await documents.query(TASKS, Query(partition="t", where=[condition]))
    assert {item.id for item in page.items} == expected
    assert await documents.count(TASKS, "t", [condition]) == len(expected)


async def test_ids_are_compared_where_nothing_else_is_declared(documents: Documents) -> None:
    names = ["a", "k~", "k~1", "k~9f", "k~ä/ö", "x~1", "z"]
    for partition in (P, f"{P}2"):
        await documents.write(ENTITIES, partition, [Create(name, {"updatedAt": "x"}) for name in names])
    where = (Condition("id", "ge", "k~"), Condition("id", "lt", "l"))
    query = Query(partition=P, where=where, limit=3)
    first = await documents.query(ENTITIES, query)
    assert [item.id for item in first.items] == ["k~", "k~1", "k~9f"]
    second = await documents.query(ENTITIES, replace(query, cursor=first.cursor))
    assert ([item.id for item in second.items], second.cursor) == (["k~ä/ö"], None)
    found = await documents.query(ENTITIES, Query(across=True, where=(Condition("id", "in", ["k~ä/ö", "z", "no"]),)))
    assert [(item.partition, item.id) for item in found.items] == [
        (partition, name) for partition in (P, f"{P}2") for name in ("k~ä/ö", "z")
    ]
    assert await documents.count(ENTITIES, P, where) == 4


async def test_a_query_across_partitions_says_so_and_pages_too(documents: Documents) -> None:
    for n in range(7):
        await documents.write(
            PARKED, f"q:{n % 3}", [Create(f"p{n}", {"bin": "poison", "parkedAt": f"2026-01-0{n + 1}"})]
        )
    query = Query(across=True, where=[Condition("bin", "eq", "poison")], order="parkedAt", limit=3)
    seen: list[str] = []
    while True:
        page = await documents.query(PARKED, query)
        seen += [item.id for item in page.items]
        if page.cursor is None:
            break
        query = Query(across=True, where=query.where, order="parkedAt", limit=3, cursor=page.cursor)
    assert seen == [f"p{n}" for n in range(7)]


async def test_the_count_is_bounded(documents: Documents) -> None:
    await documents.write(TASKS, "t", [Create(f"t{n}", {"status": "pending"}) for n in range(20)])
    assert await documents.count(TASKS, "t", at_most=5) == 5
    assert await documents.count(TASKS, "t", at_most=50) == 20


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query(partition=P, across=True),
        Query(partition=P, order="name"),
        Query(partition=P, where=[Condition("data.name", "eq", 1)]),
        Query(partition=P, limit=0),
        Query(partition=P, limit=100_000),
        Query(partition=P, cursor="garbage!"),
        Query(partition=P, cursor="bm90IGpzb24"),
    ],
)
async def test_undeclared_or_malformed_queries_are_refused(documents: Documents, query: Query) -> None:
    with pytest.raises(Invalid):
        await documents.query(ENTITIES, query)


async def test_a_cursor_of_another_query_is_refused(documents: Documents) -> None:
    await documents.write(ENTITIES, P, [Create(f"e{n}", {"updatedAt": "x"}) for n in range(4)])
    page = await documents.query(ENTITIES, Query(partition=P, limit=2))
    with pytest.raises(Invalid, match="another query"):
        await documents.query(ENTITIES, Query(partition=P, limit=2, order="updatedAt", cursor=page.cursor))


async def test_an_undeclared_collection_is_refused(documents: Documents) -> None:
    with pytest.raises(Invalid, match="not declared"):
        await documents.get(Collection(name="made-up", partition="id"), "p", "i")


async def test_batches_and_documents_over_their_limits_are_refused(documents: Documents) -> None:
    with pytest.raises(Invalid, match="1 to 100"):
        await documents.write(ENTITIES, P, [Create(f"a{n}", {}) for n in range(BATCH_LIMIT + 1)])
    with pytest.raises(Invalid):
        await documents.write(ENTITIES, P, [])
    with pytest.raises(Invalid, match="bytes"):
        await documents.write(ENTITIES, P, [Create("a", {"x": "y" * 2_000_001})])
    with pytest.raises(Invalid, match="bytes"):
        await documents.write(ENTITIES, P, [Create("a", {"x": "y" * 1_500_000}), Create("b", {"x": "y" * 1_500_000})])
    assert (await documents.query(ENTITIES, Query(partition=P))).items == []


async def test_documents_two_schemas_newer_are_refused_and_one_newer_survives(documents: Documents) -> None:
    await documents.write(ENTITIES, P, [Create("n1", {"schema": 2, "new": 1}), Create("n2", {"schema": 3})])
    found = await documents.get(ENTITIES, P, "n1")
    assert found
    [rewritten] = await documents.write(ENTITIES, P, [Replace("n1", {**found.data, "n": 1}, found.etag)])
    assert rewritten
    assert rewritten.data["schema"] == 2
    assert rewritten.data["new"] == 1
    with pytest.raises(StoreUnusable, match="schema 3"):
        await documents.get(ENTITIES, P, "n2")


@pytest.mark.parametrize("backend", ["embedded", "cosmos"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=8, unique=True))
@example(ids=["/", "..", "a/b\\c?d#e", "!2f", "%2F", " x ", "\u0130", "a b", "=+&", "."])
async def test_any_text_may_be_an_id(tmp_path: Path, backend: str, ids: list[str]) -> None:
    ids = [identifier.encode("utf-8", "ignore").decode().replace("\0", "") or "x" for identifier in ids]
    async with opened(backend, tmp_path, FrozenClock(0.0)) as documents:
        await documents.write(SCHEDULES, "job", [Upsert(identifier, {"kind": identifier}) for identifier in ids])
        for identifier in ids:
            found = await documents.get(SCHEDULES, "job", identifier)
            assert found
            assert found.data["kind"] == identifier
