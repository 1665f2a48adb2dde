"""The port `Spool` in a SQLite file of its own, so that it needs no other part of the embedded backend.

Events that arrive together share one commit (see engine). The file does not shrink when the spool is drained: the pages are used
again, and room that was there once will be there next time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from syncd.adapters.embedded.codec import dumps, loads
from syncd.adapters.embedded.engine import Engine
from syncd.domain.errors import Overloaded
from syncd.domain.messages import Envelope
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe, ignore
from syncd.ports.queue import Message
from syncd.ports.spool import Spooled

FILE_NAME = "spool.db"
#: What a row takes beside its envelope and body, roughly. Bytes.
ROW_BYTES = 256
#: Seconds after which who met a full spool may try again: a queue that is back drains thousands a second.
FULL_RETRY = 10.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spool (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  tail TEXT NOT NULL, aside INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL,
  due REAL, dedupe_id TEXT, dedupe_window REAL NOT NULL, dedupe_until REAL NOT NULL,
  envelope TEXT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS spool_waiting ON spool (position) WHERE aside = 0;
CREATE INDEX IF NOT EXISTS spool_ids ON spool (dedupe_id)
"""
#: tail, size, due, dedupe_id, dedupe_window, dedupe_until, envelope, body.
_Row = tuple[str, int, float | None, str | None, float, float, str, bytes]
#: Rows of one INSERT, as in queue: each statement costs a trip to the interpreter lock and back.
_ROWS_AT_ONCE = (64, 16, 4, 1)
_INSERTS = {
    rows: "INSERT INTO spool (tail, size, due, dedupe_id, dedupe_window, dedupe_until, envelope, body) VALUES "
    + ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * rows)
    for rows in _ROWS_AT_ONCE
}


@asynccontextmanager
async def open_spool(
    directory: Path, *, max_bytes: int, clock: Clock, observe: Observe = ignore, durable: bool = True
) -> AsyncIterator[EmbeddedSpool]:
    """Open or create `<directory>/spool.db`. Raises StoreUnusable. What was set aside before is back in its place."""
    engine = await Engine.open(directory / FILE_NAME, _prepare, durable=durable, observe=observe)
    try:
        messages, size = await engine.read(_fill)
        yield EmbeddedSpool(engine, messages=messages, size=size, max_bytes=max_bytes, clock=clock)
    finally:
        await engine.close()


class EmbeddedSpool:
    """Implements the port `Spool`. Made by `open_spool`."""

    def __init__(self, engine: Engine, *, messages: int, size: int, max_bytes: int, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self.messages = messages
        self.bytes = size
        self.max_bytes = max_bytes
        self.aside = 0

    async def tails(self) -> dict[str, int]:
        return await self._engine.read(_tails)

    async def append(self, tail: str, message: Message) -> bool:
        now = self._clock.now()
        envelope = dumps(message.envelope.to_json())
        size = len(envelope) + len(message.body) + ROW_BYTES
        if self.bytes + size > self.max_bytes:
            raise Overloaded(
                f"the spool {self._engine.path} is full: {self.messages} events wait in it", retry_after=FULL_RETRY
            )
        identity = None
        if message.dedupe_window > 0:
            identity = message.dedupe_id or message.envelope.broker_id
        window = message.dedupe_window
        row: _Row = (tail, size, message.due, identity, window, now + window, envelope, message.body)
        # Counted before the write, so that those who come together cannot all take the last room.
        self._count(1, size)
        try:
            stored = await self._engine.write(_append, (row, now), size=size)
        except Exception:  # whatever it was, the row is not there; the caller gets the reason
            self._count(-1, -size)
            raise
        if not stored:
            self._count(-1, -size)
        return stored

    async def read(
        self, *, without: Collection[str] = (), limit: int = 100, at_most: int = 4 * 1024 * 1024
    ) -> list[Spooled]:
        return await self._engine.read(_read, list(without), limit, at_most)

    async def remove(self, positions: Collection[int]) -> None:
        removed, size = await self._engine.write(_remove, list(positions))
        self._count(-removed, -size)

    async def set_aside(self, positions: Collection[int]) -> None:
        self.aside += await self._engine.write(_set_aside, list(positions))

    def _count(self, messages: int, size: int) -> None:
        self.messages += messages
        self.bytes += size


def _prepare(connection: sqlite3.Connection) -> None:
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute("UPDATE spool SET aside = 0 WHERE aside = 1")


def _fill(connection: sqlite3.Connection) -> tuple[int, int]:
    messages, size = connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM spool").fetchone()
    return messages, size


def _tails(connection: sqlite3.Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT tail, count(*) FROM spool WHERE aside = 0 GROUP BY tail"))


def _append(connection: sqlite3.Connection, items: Sequence[tuple[_Row, float]]) -> list[bool | Exception]:
    """Store the rows of all callers in their order; False for those that are here already."""
    known = _known(connection, [row[3] for row, _ in items if row[3] is not None], items[0][1])
    fresh: list[_Row] = []
    answers: list[bool | Exception] = []
    for row, _ in items:
        identity = row[3]
        new = identity is None or identity not in known
        if new:
            fresh.append(row)
            if identity is not None:
                known.add(identity)
        answers.append(new)
    start = 0
    for size in _ROWS_AT_ONCE:
        while len(fresh) - start >= size:
            connection.execute(_INSERTS[size], [value for row in fresh[start : start + size] for value in row])
            start += size
    return answers


def _known(connection: sqlite3.Connection, identities: list[str], now: float) -> set[str]:
    if not identities:
        return set()
    found = connection.execute(
        "SELECT json_group_array(dedupe_id) FROM json_each(?) AS k JOIN spool ON dedupe_id = k.value WHERE dedupe_until > ?",
        (dumps(identities), now),
    ).fetchone()[0]
    return set(loads(found))


def _read(connection: sqlite3.Connection, without: list[str], limit: int, at_most: int) -> list[Spooled]:
    found: list[Spooled] = []
    total = 0
    rows = connection.execute(
        "SELECT position, tail, size, due, dedupe_id, dedupe_window, envelope, body FROM spool "
        "WHERE aside = 0 AND tail NOT IN (SELECT value FROM json_each(?)) ORDER BY position LIMIT ?",
        (dumps(without), limit),
    )
    for position, tail, size, due, identity, window, envelope, body in rows:
        total += size
        if found and total > at_most:
            break
        message = Message(Envelope.from_json(loads(envelope)), bytes(body), due, identity, window)
        found.append(Spooled(position, tail, message))
    return found


def _remove(connection: sqlite3.Connection, items: Sequence[list[int]]) -> list[tuple[int, int] | Exception]:
    answers: list[tuple[int, int] | Exception] = []
    for positions in items:
        rows = connection.execute(
            "DELETE FROM spool WHERE position IN (SELECT value FROM json_each(?)) RETURNING size", (dumps(positions),)
        ).fetchall()
        answers.append((len(rows), sum(size for (size,) in rows)))
    return answers


def _set_aside(connection: sqlite3.Connection, items: Sequence[list[int]]) -> list[int | Exception]:
    return [
        connection.execute(
            "UPDATE spool SET aside = 1 WHERE aside = 0 AND position IN (SELECT value FROM json_each(?))",
            (dumps(positions),),
        ).rowcount
        for positions in items
    ]
