"""Queries as SQL: declared paths only, keyset cursors."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence

from syncd.domain.collections import COLLECTIONS, Collection
from syncd.domain.errors import Invalid
from syncd.domain.jsontypes import Json
from syncd.ports.documents import PAGE_LIMIT, Condition, Query

_OPERATORS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def table_of(collection: Collection) -> str:
    if COLLECTIONS.get(collection.name) is not collection:
        raise Invalid(f"collection {collection.name!r} is not declared")
    return "doc_" + collection.name.replace("-", "_")


def _column(collection: Collection, path: str, declared: Sequence[str]) -> str:
    if path not in declared:
        names = ", ".join(declared) or "none"
        raise Invalid(f"{collection.name} cannot be queried by {path!r}; declared paths: {names}")
    return f"p_{path}"


def _conditions(collection: Collection, where: Sequence[Condition]) -> tuple[list[str], list[Json]]:
    clauses: list[str] = []
    arguments: list[Json] = []
    for condition in where:
        column = _column(collection, condition.path, (*collection.paths, *collection.scanned))
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
    """Ties a cursor to its query: another order or filter would silently skip documents."""
    facts = [
        collection.name,
        query.partition,
        query.order,
        query.descending,
        [[c.path, c.op, c.value] for c in query.where],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def cursor_after(collection: Collection, query: Query, rows: Sequence[tuple[Json, ...]]) -> str:
    identifier, partition, _, _, value = rows[query.limit - 1]
    key = [*([] if query.order is None else [value]), *([partition] if query.across else []), identifier]
    return base64.urlsafe_b64encode(json.dumps([_fingerprint(collection, query), key]).encode()).decode().rstrip("=")


def _position(collection: Collection, query: Query) -> list[Json]:
    assert query.cursor is not None
    try:
        text = base64.b64decode(query.cursor + "=" * (-len(query.cursor) % 4), altchars=b"-_", validate=True)
        fingerprint, key = json.loads(text)
    except (binascii.Error, ValueError, TypeError) as error:
        raise Invalid("the cursor is not one of ours", errors={"cursor": "take it from the page before"}) from error
    if fingerprint != _fingerprint(collection, query) or len(key) != len(_keys(collection, query)):
        raise Invalid(
            "the cursor belongs to another query", errors={"cursor": "use it with the same filters and order"}
        )
    return list(key)
