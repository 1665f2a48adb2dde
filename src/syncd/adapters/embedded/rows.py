"""Documents in sets: one statement for many rows, and one row for their answer.

Each step of a statement is one way into SQLite and back, and each way back waits for the interpreter lock while another thread works. A
page of a hundred records is read and written in a few steps instead of hundreds: what is read comes as one row of joined texts, of which
the bodies are one JSON array. Sets are cut to few sizes, so that the statements stay few and are prepared once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain

from syncd.adapters.embedded.codec import loads
from syncd.domain.jsontypes import Json

#: etag, data.
Found = tuple[str, Json]
#: partition, id, etag, expires, body.
NewRow = tuple[str, str, str, float | None, str]
#: Rows of the largest statement: a whole batch of the port. Five values a row; SQLite takes 32,766, and older builds 999.
_LARGEST = 100
#: Between joined texts. JSON escapes it, and ids that hold it are read one by one.
_BETWEEN = "\x1e"


def find(connection: sqlite3.Connection, table: str, keys: Sequence[tuple[str, str]], now: float) -> list[Found | None]:
    """The documents of (partition, id), in their order, each its asker's own. What has expired is not there."""
    if len(keys) == 1:
        row = connection.execute(_select_one(table), (*keys[0], now)).fetchone()
        return [None if row is None else (row[0], loads(row[1]))]
    places: dict[str, dict[str, int]] = {}
    alone: list[int] = []
    for place, (partition, identifier) in enumerate(keys):
        if _BETWEEN in identifier or places.setdefault(partition, {}).setdefault(identifier, place) != place:
            alone.append(place)
    answers: list[Found | None] = [None] * len(keys)
    for partition, wanted in places.items():
        identifiers = list(wanted)
        for start, size in _cut(len(identifiers)):
            values = (partition, now, *identifiers[start : start + size])
            ids, etags, bodies = connection.execute(_select(table, size), values).fetchone()
            if ids is not None:
                for one, etag, data in zip(ids.split(_BETWEEN), etags.split(_BETWEEN), loads(bodies), strict=True):
                    answers[wanted[one]] = (etag, data)
    for place in alone:
        [answers[place]] = find(connection, table, [keys[place]], now)
    return answers


def create(connection: sqlite3.Connection, table: str, rows: Sequence[NewRow]) -> bool:
    """Put rows that are absent, all of them or none. False where any is there already, also one that has expired."""
    parts = list(_cut(len(rows)))
    guarded = len(parts) > 1  # one statement that fails leaves nothing behind by itself
    if guarded:
        connection.execute("SAVEPOINT rows")
    try:
        for start, size in parts:
            connection.execute(_insert(table, size), tuple(chain.from_iterable(rows[start : start + size])))
    except sqlite3.IntegrityError:
        if guarded:
            connection.execute("ROLLBACK TO rows")
            connection.execute("RELEASE rows")
        return False
    if guarded:
        connection.execute("RELEASE rows")
    return True


def _cut(count: int) -> Iterator[tuple[int, int]]:
    """(start, size) of each statement, the largest first."""
    start, size = 0, _LARGEST
    while start < count:
        while size > count - start:
            size //= 2
        yield start, size
        start += size


@cache
def _select_one(table: str) -> str:
    return f"SELECT etag, body FROM {table} WHERE partition = ? AND id = ? AND (expires IS NULL OR expires > ?)"


@cache
def _select(table: str, size: int) -> str:
    return (
        "SELECT group_concat(id, char(30)), group_concat(etag, char(30)), '[' || group_concat(body, ',') || ']'"
        f" FROM {table} WHERE partition = ? AND (expires IS NULL OR expires > ?) AND id IN ({', '.join('?' * size)})"
    )


@cache
def _insert(table: str, size: int) -> str:
    values = ", ".join(["(?, ?, ?, ?, ?)"] * size)
    return f"INSERT INTO {table} (partition, id, etag, expires, body) VALUES {values}"
