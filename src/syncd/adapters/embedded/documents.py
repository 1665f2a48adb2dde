"""Documents in SQLite: one table a collection, a generated column and a partial index a declared path.

A path that is only scanned has its column, which takes no space and is there at once in a file of an earlier release, and no index.
"""

from __future__ import annotations

import itertools
import math
import sqlite3
import time
from collections.abc import Iterable, Sequence

from syncd.adapters.embedded.codec import dumps, loads
from syncd.adapters.embedded.engine import Engine
from syncd.adapters.embedded.rows import NewRow, create, find
from syncd.adapters.embedded.selection import compile_count, compile_query, cursor_after, table_of
from syncd.domain.collections import Collection
from syncd.domain.errors import Conflict, Invalid, TooLarge
from syncd.domain.values import immutable
from syncd.ports.clock import Clock
from syncd.ports.documents import (
    BATCH_BYTES,
    BATCH_LIMIT,
    DOCUMENT_BYTES,
    Capabilities,
    Condition,
    Create,
    Delete,
    Document,
    Page,
    Query,
    Replace,
    Upsert,
    Write,
)


def create_tables(connection: sqlite3.Connection, collections: Iterable[Collection]) -> None:
    """Tables, columns and indexes of all declared collections; declared paths that came later are added."""
    for collection in collections:
        table = table_of(collection)
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table} (partition TEXT NOT NULL, id TEXT NOT NULL, etag TEXT NOT NULL,"
            " expires REAL, body TEXT NOT NULL, PRIMARY KEY (partition, id))"
        )
        connection.execute(f"CREATE INDEX IF NOT EXISTS {table}_expires ON {table} (expires) WHERE expires IS NOT NULL")
        known = {row[1] for row in connection.execute(f"PRAGMA table_xinfo({table})")}
        for path in (*collection.paths, *collection.scanned):
            if f"p_{path}" not in known:
                connection.execute(
                    f"ALTER TABLE {table} ADD COLUMN p_{path} GENERATED ALWAYS AS (json_extract(body, '$.{path}')) VIRTUAL"
                )
        for path in collection.paths:
            name, columns = f"{table}_{path}", f"partition, p_{path}, id"
            if path in collection.counted:
                # Without the id all new ones go to one place, where a hash as id takes each to a page of its own. An earlier release
                # had the other one.
                connection.execute(f"DROP INDEX IF EXISTS {name}")
                name, columns = f"{name}_counted", f"partition, p_{path}"
            connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {table} ({columns}) WHERE p_{path} IS NOT NULL")
        for path in collection.across:
            connection.execute(
                f"CREATE INDEX IF NOT EXISTS {table}_across_{path} ON {table} (p_{path}, partition, id)"
                f" WHERE p_{path} IS NOT NULL"
            )


@immutable()
class _Prepared:
    """A batch ready for the writer. `rows`: what each write leaves there, for a Delete only to name it."""

    table: str
    partition: str
    writes: Sequence[Write]
    rows: list[NewRow]
    now: float


class EmbeddedDocuments:
    """The port `Documents` over one SQLite file."""

    capabilities = Capabilities(backup=True)

    def __init__(self, engine: Engine, *, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        # Etags never repeat: start of this process in nanoseconds, then a counter.
        self._boot = f"{time.time_ns():x}-"
        self._counter = itertools.count(1)

    async def get(self, collection: Collection, partition: str, identifier: str) -> Document | None:
        [found] = await self.get_many(collection, ((partition, identifier),))
        return found

    async def get_many(self, collection: Collection, keys: Sequence[tuple[str, str]]) -> list[Document | None]:
        found = await self._engine.read(find, table_of(collection), tuple(keys), self._clock.now())
        return [
            None if one is None else Document(identifier, partition, collection.upgraded(one[1]), one[0])
            for (partition, identifier), one in zip(keys, found, strict=True)
        ]

    async def write(self, collection: Collection, partition: str, writes: Sequence[Write]) -> list[Document | None]:
        if not 1 <= len(writes) <= BATCH_LIMIT:
            raise Invalid(f"a batch holds 1 to {BATCH_LIMIT} writes, this one {len(writes)}")
        now = self._clock.now()
        rows: list[NewRow] = []
        answers: list[Document | None] = []
        size, schema, boot, counter = 0, collection.schema, self._boot, self._counter
        for write in writes:
            etag = f"{boot}{next(counter):x}"
            if isinstance(write, Delete):
                rows.append((partition, write.id, etag, None, ""))
                answers.append(None)
                continue
            data = write.data
            if data.get("schema", 0) < schema:
                data["schema"] = schema
            body = dumps(data)
            length = len(body)
            if length > DOCUMENT_BYTES:
                raise TooLarge(
                    f"document {write.id!r} of {collection.name} has {length} bytes, more than {DOCUMENT_BYTES}"
                )
            size += length
            ttl = collection.ttl if write.ttl is None else write.ttl
            rows.append((partition, write.id, etag, None if ttl is None or ttl == math.inf else now + ttl, body))
            answers.append(Document(write.id, partition, data, etag))
        if size > BATCH_BYTES:
            raise TooLarge(f"a batch holds at most {BATCH_BYTES} bytes, this one {size}")
        await self._engine.write(_write, _Prepared(table_of(collection), partition, writes, rows, now), size=size)
        return answers

    async def query(self, collection: Collection, query: Query) -> Page:
        statement, arguments = compile_query(collection, query, self._clock.now())
        rows = await self._engine.read(_rows, statement, arguments)
        items = [Document(row[0], row[1], collection.upgraded(loads(row[3])), row[2]) for row in rows[: query.limit]]
        return Page(items, cursor_after(collection, query, rows) if len(rows) > query.limit else None)

    async def count(
        self, collection: Collection, partition: str, where: Sequence[Condition] = (), *, at_most: int = 10_000
    ) -> int:
        statement, arguments = compile_count(collection, partition, where, at_most, self._clock.now())
        rows = await self._engine.read(_rows, statement, arguments)
        return int(rows[0][0])

    async def sweep(self, *, limit: int = 10_000) -> int:
        return await self._engine.write(_sweep, (self._clock.now(), limit))


def _rows(connection: sqlite3.Connection, statement: str, arguments: Sequence[object]) -> list[tuple[str, ...]]:
    return connection.execute(statement, tuple(arguments)).fetchall()


def _write(connection: sqlite3.Connection, batches: Sequence[_Prepared]) -> list[Exception | None]:
    """Every batch for itself: a lost compare-and-set undoes its own batch only."""
    answers: list[Exception | None] = []
    for batch in batches:
        if len(batch.rows) == 1:
            answers.append(_one_by_one(connection, batch))
            continue
        # New documents, as a page of a pull brings them, go in sets. Where one is there already, it may have expired.
        if all(isinstance(write, Create) for write in batch.writes) and create(connection, batch.table, batch.rows):
            answers.append(None)
            continue
        connection.execute("SAVEPOINT batch")
        answer = _one_by_one(connection, batch)
        if answer is not None:
            connection.execute("ROLLBACK TO batch")
        connection.execute("RELEASE batch")
        answers.append(answer)
    return answers


def _one_by_one(connection: sqlite3.Connection, batch: _Prepared) -> Exception | None:
    """The Conflict of the first write that lost."""
    for index, (write, row) in enumerate(zip(batch.writes, batch.rows, strict=True)):
        if not _apply(connection, batch, write, row):
            return Conflict(f"{type(write).__name__.lower()} of {write.id!r} in {batch.table} lost", index=index)
    return None


def _apply(connection: sqlite3.Connection, batch: _Prepared, write: Write, row: NewRow) -> bool:
    """One write; True when it took effect. A document that has expired counts as absent."""
    table, partition, now = batch.table, batch.partition, batch.now
    _, _, etag, expires, body = row
    done: sqlite3.Cursor
    match write:
        case Create(id=identifier):
            done = connection.execute(
                f"INSERT INTO {table} (partition, id, etag, expires, body) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (partition, id) DO UPDATE SET etag = excluded.etag, expires = excluded.expires,"
                f" body = excluded.body WHERE {table}.expires <= ?",
                (partition, identifier, etag, expires, body, now),
            )
        case Replace(id=identifier, etag=expected):
            done = connection.execute(
                f"UPDATE {table} SET etag = ?, expires = ?, body = ? WHERE partition = ? AND id = ? AND etag = ?"
                " AND (expires IS NULL OR expires > ?)",
                (etag, expires, body, partition, identifier, expected, now),
            )
        case Upsert(id=identifier):
            done = connection.execute(
                f"INSERT INTO {table} (partition, id, etag, expires, body) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (partition, id) DO UPDATE SET etag = excluded.etag, expires = excluded.expires,"
                " body = excluded.body",
                (partition, identifier, etag, expires, body),
            )
        case Delete(id=identifier, etag=None):
            connection.execute(f"DELETE FROM {table} WHERE partition = ? AND id = ?", (partition, identifier))
            return True
        case Delete(id=identifier, etag=expected):
            done = connection.execute(
                f"DELETE FROM {table} WHERE partition = ? AND id = ? AND etag = ? AND (expires IS NULL OR expires > ?)",
                (partition, identifier, expected, now),
            )
    return done.rowcount == 1


def _sweep(connection: sqlite3.Connection, items: Sequence[tuple[float, int]]) -> list[int | Exception]:
    now, limit = items[0]
    removed = 0
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'doc\\_%' ESCAPE '\\'"
    )
    for (table,) in tables.fetchall():
        if removed >= limit:
            break
        removed += connection.execute(
            f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE expires <= ? LIMIT ?)",
            (now, limit - removed),
        ).rowcount
    return [removed, *([0] * (len(items) - 1))]
