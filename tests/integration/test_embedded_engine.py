"""The SQLite engine where things go wrong: every failure has a clear answer, and nothing in the file is overwritten."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from syncd.adapters.embedded.backup import back_up
from syncd.adapters.embedded.engine import Engine
from syncd.adapters.embedded.faults import mapped
from syncd.adapters.embedded.files import APPLICATION_ID
from syncd.adapters.embedded.selection import compile_count
from syncd.adapters.embedded.store import FILE_NAME, open_store
from syncd.domain.collections import ENTITIES
from syncd.domain.errors import Conflict, Overloaded, StoreUnusable, Unavailable
from syncd.ports.documents import Condition, Create
from syncd.testing.clock import FrozenClock


def prepare(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)")


def insert(connection: sqlite3.Connection, items: Sequence[int]) -> list[int | Exception]:
    for item in items:
        connection.execute("INSERT INTO t VALUES (?)", (item,))
    return list(items)


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT n FROM t ORDER BY n")]


async def test_writes_that_wait_together_commit_together_and_each_gets_its_answer(tmp_path: Path) -> None:
    commits: list[int] = []

    def observe(event: str, /, **facts: object) -> None:
        if event == "engine_commit":
            commits.append(int(str(facts["operations"])))

    engine = await Engine.open(tmp_path / "e.db", prepare, durable=False, observe=observe)
    assert await asyncio.gather(*(engine.write(insert, n) for n in range(50))) == list(range(50))
    assert await engine.read(numbers) == list(range(50))
    await engine.close()
    assert sum(commits) == 50
    assert len(commits) < 50


def synchronous(connection: sqlite3.Connection, items: Sequence[int]) -> list[int | Exception]:
    return [connection.execute("PRAGMA synchronous").fetchone()[0] for _ in items]


async def test_a_transaction_is_synced_where_one_of_its_writers_asks_for_that(tmp_path: Path) -> None:
    engine = await Engine.open(tmp_path / "e.db", prepare)
    full, normal = 2, 1
    for _ in range(3):  # a setting that a cached statement keeps from being set again would show in the second round
        assert await engine.write(synchronous, 0) == full
        assert await engine.write(synchronous, 0, durable=False) == normal
        together = asyncio.gather(*(engine.write(synchronous, n, durable=n == 2) for n in range(4)))
        assert await together == [full] * 4
        assert await engine.write(insert, 7, durable=False) == 7
        with pytest.raises(sqlite3.IntegrityError):
            await engine.write(insert, 7)
        assert await engine.write(synchronous, 0, durable=False) == normal
        await engine.write(lambda connection, _: [connection.execute("DELETE FROM t").rowcount], 0)
    await engine.close()


async def test_a_store_without_syncs_never_syncs(tmp_path: Path) -> None:
    engine = await Engine.open(tmp_path / "e.db", prepare, durable=False)
    assert [await engine.write(synchronous, 0, durable=durable) for durable in (True, False, True)] == [0, 0, 0]
    await engine.close()


async def test_one_who_fails_does_not_disturb_those_who_commit_with_him(tmp_path: Path) -> None:
    engine = await Engine.open(tmp_path / "e.db", prepare, durable=False)
    await engine.write(insert, 3)
    answers = await asyncio.gather(*(engine.write(insert, n) for n in range(6)), return_exceptions=True)
    assert [isinstance(answer, sqlite3.IntegrityError) for answer in answers] == [n == 3 for n in range(6)]
    assert await engine.read(numbers) == list(range(6))
    await engine.close()


async def test_effects_run_after_the_commit_and_never_for_what_was_rolled_back(tmp_path: Path) -> None:
    engine = await Engine.open(tmp_path / "e.db", prepare, durable=False)
    effects: list[int] = []

    def effective(connection: sqlite3.Connection, items: Sequence[int]) -> list[int | Exception]:
        for item in items:
            engine.after_commit(lambda item=item: effects.append(item))  # type: ignore[misc]  # the default binds this turn's item
        return insert(connection, items)

    await asyncio.gather(*(engine.write(effective, n) for n in (1, 2, 2)), return_exceptions=True)
    assert sorted(effects) == [1, 2]
    await engine.close()


async def test_a_full_inbox_is_refused_and_recovers(tmp_path: Path) -> None:
    engine = await Engine.open(tmp_path / "e.db", prepare, durable=False, inbox_operations=3, inbox_bytes=100)
    answers = await asyncio.gather(*(engine.write(insert, n) for n in range(5)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Overloaded)]
    assert len(refused) == 2
    assert refused[0].retry_after == 1.0
    with pytest.raises(Overloaded):
        await engine.write(insert, 9, size=101)
    assert await engine.write(insert, 9, size=100) == 9
    await engine.close()


async def test_a_closed_engine_refuses_and_closing_twice_is_harmless(tmp_path: Path) -> None:
    engine = await Engine.open(tmp_path / "e.db", prepare, durable=False)
    last = asyncio.ensure_future(engine.write(insert, 1))
    await asyncio.sleep(0)
    await engine.close()
    assert await last == 1
    await engine.close()
    with pytest.raises(Overloaded, match="closing"):
        await engine.write(insert, 2)


async def test_a_cancelled_caller_harms_nobody(tmp_path: Path) -> None:
    engine = await Engine.open(tmp_path / "e.db", prepare, durable=False)
    lost = asyncio.ensure_future(engine.write(insert, 1))
    await asyncio.sleep(0)
    lost.cancel()
    assert await engine.write(insert, 2) == 2
    assert await engine.read(numbers) == [1, 2]
    await engine.close()


async def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(b"this is not a database" * 400)
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match=r"damaged or not a SQLite database.*backup"):
        async with open_store(tmp_path, clock=FrozenClock()):
            pass
    assert path.read_bytes() == before


async def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / FILE_NAME)
    other.execute("CREATE TABLE precious (x)")
    other.commit()
    other.close()
    with pytest.raises(StoreUnusable, match="another program"):
        async with open_store(tmp_path, clock=FrozenClock()):
            pass


async def test_a_file_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    newer = sqlite3.connect(tmp_path / FILE_NAME)
    newer.execute(f"PRAGMA application_id={APPLICATION_ID}")
    newer.execute("PRAGMA user_version=99")
    newer.execute("CREATE TABLE later (x)")
    newer.commit()
    newer.close()
    with pytest.raises(StoreUnusable, match=r"newer release \(tables version 99"):
        async with open_store(tmp_path, clock=FrozenClock()):
            pass


async def test_a_file_that_another_program_locks_is_refused_with_its_name(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=FrozenClock(), durable=False):
        pass
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(Overloaded, match="locked by another program"):
            async with open_store(tmp_path, clock=FrozenClock(), durable=False):
                pass
    finally:
        other.close()


async def test_a_missing_directory_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="cannot be written"):
        async with open_store(tmp_path / "nowhere", clock=FrozenClock()):
            pass


async def test_the_files_are_for_their_owner_only(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=FrozenClock(), durable=False) as store:
        await store.documents.write(ENTITIES, "p", [Create("e", {})])
        assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
            FILE_NAME: 0o600,
            f"{FILE_NAME}-wal": 0o600,
            f"{FILE_NAME}-shm": 0o600,
        }
        for path in tmp_path.iterdir():
            path.chmod(0o644)  # as an earlier release left them
        async with open_store(tmp_path, clock=FrozenClock(), durable=False):
            assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


async def test_a_full_disk_refuses_the_write_and_works_again_when_there_is_room(tmp_path: Path) -> None:
    engine = await Engine.open(tmp_path / "e.db", prepare, durable=False)

    def limit(connection: sqlite3.Connection, items: Sequence[int]) -> list[Exception | None]:
        connection.execute(f"PRAGMA max_page_count={items[0]}")
        return [None]

    def fill(connection: sqlite3.Connection, items: Sequence[str]) -> list[Exception | None]:
        connection.execute("CREATE TABLE IF NOT EXISTS big (x)")
        connection.execute("INSERT INTO big VALUES (?)", (items[0],))
        return [None] * len(items)

    await engine.write(limit, 4)
    with pytest.raises(Overloaded, match=r"full: free space"):
        await engine.write(fill, "x" * 100_000)
    assert await engine.read(numbers) == []
    await engine.write(limit, 100_000)
    await engine.write(fill, "x" * 100_000)
    assert await engine.write(insert, 1) == 1
    await engine.close()


async def test_a_backup_taken_under_load_is_a_working_store(tmp_path: Path) -> None:
    clock = FrozenClock()
    async with open_store(tmp_path, clock=clock, durable=False) as store:

        async def load() -> None:
            for n in range(200):
                await store.documents.write(ENTITIES, "p", [Create(f"e{n}", {"n": n})])

        loading = asyncio.create_task(load())
        while await store.documents.get(ENTITIES, "p", "e20") is None:
            pass
        await asyncio.to_thread(back_up, tmp_path, tmp_path / "copy")
        await loading
    async with open_store(tmp_path / "copy", clock=clock, durable=False) as copy:
        assert await copy.documents.get(ENTITIES, "p", "e20") is not None
        with pytest.raises(Conflict):
            await copy.documents.write(ENTITIES, "p", [Create("e20", {})])


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (sqlite3.SQLITE_FULL, Overloaded, "full"),
        (sqlite3.SQLITE_IOERR | (3 << 8), Unavailable, "errors"),
        (sqlite3.SQLITE_BUSY, Overloaded, "locked"),
        (sqlite3.SQLITE_READONLY, StoreUnusable, "written"),
        (sqlite3.SQLITE_CANTOPEN, StoreUnusable, "written"),
        (sqlite3.SQLITE_CORRUPT, StoreUnusable, "damaged"),
        (sqlite3.SQLITE_NOTADB, StoreUnusable, "damaged"),
        (sqlite3.SQLITE_TOOBIG, StoreUnusable, "unexpected"),
    ],
)
def test_every_result_code_has_its_meaning(code: int, kind: type[Exception], words: str) -> None:
    error = sqlite3.OperationalError("as SQLite said it")
    error.sqlite_errorcode = code
    answer = mapped(error, Path("/data/syncd.db"))
    assert type(answer) is kind
    assert words in str(answer)


async def test_after_an_orderly_close_everything_is_in_the_one_file(tmp_path: Path) -> None:
    engine = await Engine.open(tmp_path / "syncd.db", prepare)
    await engine.write(insert, 1)
    await engine.close()
    assert [file.name for file in tmp_path.iterdir()] == ["syncd.db"]
    (tmp_path / "copy.db").write_bytes((tmp_path / "syncd.db").read_bytes())
    copy = await Engine.open(tmp_path / "copy.db", prepare)
    assert await copy.read(numbers) == [1]
    await copy.close()


@pytest.mark.may_block
async def test_a_store_of_a_release_that_kept_aliases_in_order_is_opened_and_counted(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=FrozenClock(), durable=False) as store:
        aliases = [Create(f"x~{n}", {"connectionId": "crm" if n % 3 else "erp"}) for n in range(9)]
        await store.documents.write(ENTITIES, "t:contact", aliases)
    with sqlite3.connect(tmp_path / FILE_NAME) as file:
        file.execute("DROP INDEX doc_entities_connectionId_counted")
        file.execute("CREATE INDEX doc_entities_connectionId ON doc_entities (partition, p_connectionId, id)")
    file.close()
    async with open_store(tmp_path, clock=FrozenClock(), durable=False) as store:
        assert await store.documents.count(ENTITIES, "t:contact", [Condition("connectionId", "eq", "crm")]) == 6
        plan = await store.engine.read(plan_of_count)
        assert "doc_entities_connectionId_counted" in plan
    with sqlite3.connect(tmp_path / FILE_NAME) as file:
        found = file.execute("SELECT name FROM sqlite_master WHERE name = 'doc_entities_connectionId'").fetchall()
    file.close()
    assert found == []


def plan_of_count(connection: sqlite3.Connection) -> str:
    where = [Condition("connectionId", "eq", "crm")]
    statement, arguments = compile_count(ENTITIES, "t:contact", where, 10, 0.0)
    return str(connection.execute(f"EXPLAIN QUERY PLAN {statement}", arguments).fetchall())
