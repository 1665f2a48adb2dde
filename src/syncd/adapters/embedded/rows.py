"""Documents in sets: one statement for many rows.

Each statement is one way into SQLite and back, and each way back waits for the interpreter lock while another thread works. A page of a
hundred records is read and written in a few ways instead of hundreds. Sets are cut into powers of two, so that the statements stay few
and are prepared once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain

#: id, partition, etag, body.
Row = tuple[str, str, str, str]
#: partition, id, etag, expires, body.
NewRow = tuple[str, str, str, float | None, str]
#: Rows of the largest statement. Five values a row; SQLite takes 32,766, and older builds 999.
_LARGEST = 128


def find(connection: sqlite3.Connection, table: str, keys: Sequence[tuple[str, str]], now: float) -> list[Row | None]:
    """The rows of (partition, id), in their order. What has expired is not there."""
    if len(keys) == 1:
        [(partition, identifier)] = keys
        return [connection.execute(_select(table, 0), (partition, identifier, now)).fetchone()]
    partitions: dict[str, list[str]] = {}
    for partition, identifier in keys:
        partitions.setdefault(partition, []).append(identifier)
    found: dict[tuple[str, str], Row] = {}
    for partition, identifiers in partitions.items():
        for start, size in _cut(len(identifiers)):
            wanted = identifiers[start : start + size]
            for row in connection.execute(_select(table, size), (partition, now, *wanted)).fetchall():
                found[partition, row[0]] = row
    return [found.get(key) for key in keys]


def create(connection: sqlite3.Connection, table: str, rows: Sequence[NewRow], now: float) -> bool:
    """Put rows that are absent; one that has expired counts as absent. False where any was there: then any of the others may be written,
    and the caller takes all of it back."""
    for start, size in _cut(len(rows)):
        values = chain.from_iterable(rows[start : start + size])
        if connection.execute(_insert(table, size), (*values, now)).rowcount != size:
            return False
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
def _select(table: str, size: int) -> str:
    """`size` 0: one row by its partition and id, then the time; else the time comes before the ids."""
    fields = f"SELECT id, partition, etag, body FROM {table} WHERE partition = ?"
    if not size:
        return f"{fields} AND id = ? AND (expires IS NULL OR expires > ?)"
    return f"{fields} AND (expires IS NULL OR expires > ?) AND id IN ({', '.join('?' * size)})"


@cache
def _insert(table: str, size: int) -> str:
    return (
        f"INSERT INTO {table} (partition, id, etag, expires, body) VALUES {', '.join(['(?, ?, ?, ?, ?)'] * size)}"
        " ON CONFLICT (partition, id) DO UPDATE SET etag = excluded.etag, expires = excluded.expires,"
        f" body = excluded.body WHERE {table}.expires <= ?"
    )
