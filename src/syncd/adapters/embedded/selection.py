"""Queries as SQL: declared paths only, keyset cursors."""

from __future__ import annotations

import json
from collections.abc import Sequence

from syncd.domain import keyset
from syncd.domain.collections import Collection
from syncd.domain.errors import Invalid
from syncd.domain.jsontypes import Json
from syncd.ports.documents import PAGE_LIMIT, Condition, Query

_OPERATORS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def table_of(collection: Collection) -> str:
    keyset.check_declared(collection)
    return "doc_" + collection.name.replace("-", "_")


def _column(collection: Collection, path: str, declared: Sequence[str]) -> str:
    return f"p_{keyset.check_path(collection, path, declared)}"


def _compared(collection: Collection, path: str) -> str:
    return path if path == keyset.ID else _column(collection, path, (*collection.paths, *collection.scanned))


def _conditions(collection: Collection, where: Sequence[Condition]) -> tuple[list[str], list[Json]]:
    clauses: list[str] = []
    arguments: list[Json] = []
    for condition in where:
        column = _compared(collection, condition.path)
        if condition.op == "absent":
            clauses.append(f"{column} IS NULL")
            continue
        clauses.append(f"{column} IS NOT NULL")
        if condition.op == "in":
            clauses.append(f"{column} IN (SELECT value FROM json_each(?))")
            arguments.append(json.dumps(list(condition.value)))
        elif condition.op != "present":
            clauses.append(f"{column} {_OPERATORS[condition.op]} ?")
            arguments.append(condition.value)
    return clauses, arguments


def compile_query(collection: Collection, query: Query, now: float) -> tuple[str, list[Json]]:
    """The statement for one page and one row more. Raises Invalid."""
    if (query.partition is None) is not query.across:
        raise Invalid("a query names one partition, or says across=True")
    if not 1 <= query.limit <= PAGE_LIMIT:
        raise Invalid(f"limit must be 1 to {PAGE_LIMIT}, it is {query.limit}")
    clauses, arguments = _conditions(collection, query.where)
    if query.partition is not None:
        clauses.append("partition = ?")
        arguments.append(query.partition)
    clauses.append("(expires IS NULL OR expires > ?)")
    arguments.append(now)
    keys = _keys(collection, query)
    if query.order is not None:
        clauses.append(f"{keys[0]} IS NOT NULL")
    if query.cursor is not None:
        clauses.append(f"({', '.join(keys)}) {'<' if query.descending else '>'} ({', '.join('?' * len(keys))})")
        arguments.extend(_position(collection, query))
    direction = " DESC" if query.descending else ""
    ordering = ", ".join(key + direction for key in keys)
    return (
        f"SELECT id, partition, etag, body, {keys[0]} FROM {table_of(collection)}"
        f" WHERE {' AND '.join(clauses)} ORDER BY {ordering} LIMIT {query.limit + 1}"
    ), arguments


def compile_count(
    collection: Collection, partition: str, where: Sequence[Condition], at_most: int, now: float
) -> tuple[str, list[Json]]:
    clauses, arguments = _conditions(collection, where)
    clauses += ["partition = ?", "(expires IS NULL OR expires > ?)"]
    return (
        f"SELECT count(*) FROM (SELECT 1 FROM {table_of(collection)} WHERE {' AND '.join(clauses)} LIMIT ?)",
        [*arguments, partition, now, at_most],
    )


def _keys(collection: Collection, query: Query) -> list[str]:
    order = [] if query.order is None else [_column(collection, query.order, collection.paths)]
    return [*order, "partition", "id"] if query.across else [*order, "id"]


def _fingerprint(collection: Collection, query: Query) -> str:
    return keyset.fingerprint(
        [
            collection.name,
            query.partition,
            query.order,
            query.descending,
            [[c.path, c.op, c.value] for c in query.where],
        ]
    )


def cursor_after(collection: Collection, query: Query, rows: Sequence[tuple[Json, ...]]) -> str:
    identifier, partition, _, _, value = rows[query.limit - 1]
    key = [*([] if query.order is None else [value]), *([partition] if query.across else []), identifier]
    return keyset.cursor(_fingerprint(collection, query), key)


def _position(collection: Collection, query: Query) -> list[Json]:
    assert query.cursor is not None
    return keyset.position(query.cursor, _fingerprint(collection, query), len(_keys(collection, query)))
