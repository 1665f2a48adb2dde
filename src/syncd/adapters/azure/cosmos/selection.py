"""Queries as Cosmos DB's SQL: declared paths only, keyset cursors, and an order that a composite index serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from syncd.adapters.azure.cosmos.layout import Layout, sortable
from syncd.adapters.azure.cosmos.stored import EXPIRES, PARTITION, stored_id
from syncd.domain import keyset
from syncd.domain.collections import Collection
from syncd.domain.errors import Invalid
from syncd.domain.jsontypes import Json, JsonObject
from syncd.ports.documents import PAGE_LIMIT, Condition, Query

_OPERATORS = {"eq": "=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


@dataclass(slots=True)
class Statement:
    """One query. `key`: the container's partition key, None across all. `rows`: most that come back."""

    text: str = ""
    key: str | None = None
    rows: int = 1
    parameters: list[JsonObject] = field(default_factory=list)

    @property
    def page(self) -> int:
        """Rows that one answer may hold; -1: as many as fit. Who asks all partitions and merges has to say how many from each."""
        return -1 if self.key is not None else min(self.rows, PAGE_LIMIT)

    def bind(self, value: Json) -> str:
        name = f"@p{len(self.parameters)}"
        self.parameters.append({"name": name, "value": value})
        return name


def compile_query(layout: Layout, query: Query, now: float) -> Statement:
    """For one page and one row more. Raises Invalid."""
    if (query.partition is None) is not query.across:
        raise Invalid("a query names one partition, or says across=True")
    if not 1 <= query.limit <= PAGE_LIMIT:
        raise Invalid(f"limit must be 1 to {PAGE_LIMIT}, it is {query.limit}")
    statement = Statement(rows=query.limit + 1)
    clauses = _conditions(layout.collection, query.where, statement)
    if query.partition is not None:
        statement.key = layout.key_of(query.partition)
        clauses += _within(layout, query.partition, statement)
    clauses += _alive(layout, now, statement)
    keys = _keys(layout, query)
    if query.order is not None:
        clauses.append(_present(keys[0]))
    if query.cursor is not None:
        clauses.append(_after(keys, query, keyset.position(query.cursor, _mark(layout, query), len(keys)), statement))
    direction = "DESC" if query.descending else "ASC"
    ordering = ", ".join(f"c.{key} {direction}" for key in keys)
    statement.text = f"SELECT TOP {statement.rows} * FROM c{_where(clauses)} ORDER BY {ordering}"
    return statement


def compile_count(layout: Layout, partition: str, where: Sequence[Condition], now: float) -> Statement:
    statement = Statement(key=layout.key_of(partition))
    clauses = _conditions(layout.collection, where, statement)
    clauses += _within(layout, partition, statement) + _alive(layout, now, statement)
    statement.text = f"SELECT VALUE COUNT(1) FROM c{_where(clauses)}"
    return statement


def compile_points(key: str, identifiers: Sequence[str]) -> Statement:
    """Many ids of one partition, as they are stored."""
    statement = Statement(key=key, rows=len(identifiers))
    names = ", ".join(statement.bind(identifier) for identifier in identifiers)
    statement.text = f"SELECT * FROM c WHERE c.id IN ({names})"
    return statement


def cursor_after(layout: Layout, query: Query, last: JsonObject) -> str:
    return keyset.cursor(_mark(layout, query), [last[key] for key in _keys(layout, query)])


def _where(clauses: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(clauses)}" if clauses else ""


def _present(path: str) -> str:
    return f"(IS_DEFINED(c.{path}) AND NOT IS_NULL(c.{path}))"


def _conditions(collection: Collection, where: Sequence[Condition], statement: Statement) -> list[str]:
    return [_condition(collection, condition, statement) for condition in where]


def _condition(collection: Collection, condition: Condition, statement: Statement) -> str:
    path = condition.path
    if path == keyset.ID:
        condition = _as_stored(condition)
    else:
        keyset.check_path(collection, path, (*collection.paths, *collection.scanned))
    match condition.op:
        case "absent":
            return f"(NOT IS_DEFINED(c.{path}) OR IS_NULL(c.{path}))"
        case "present":
            return _present(path)
        case "in":
            values = [value for value in condition.value if value is not None]
            return f"c.{path} IN ({', '.join(statement.bind(value) for value in values)})" if values else "false"
        case _ if condition.value is None:
            return "false"  # nothing compares with null, on any backend
        case "ne":
            return f"({_present(path)} AND NOT (c.{path} = {statement.bind(condition.value)}))"
        case operator:
            return f"c.{path} {_OPERATORS[operator]} {statement.bind(condition.value)}"


def _as_stored(condition: Condition) -> Condition:
    """One about ids, which are escaped where they lie."""
    match condition.value:
        case str(value):
            return replace(condition, value=stored_id(value))
        case list(values):
            return replace(condition, value=[stored_id(value) for value in values])
        case _:
            return condition


def _within(layout: Layout, partition: str, statement: Statement) -> list[str]:
    """Where one partition of the container is more than one of ours."""
    if not layout.refined:
        return []
    ours = f"c.{PARTITION} = {statement.bind(partition)}"
    if layout.rest is None:
        return [ours]
    rest = statement.bind(partition.partition(":")[2])
    return [f"({ours} OR (NOT IS_DEFINED(c.{PARTITION}) AND c.{layout.rest} = {rest}))"]


def _alive(layout: Layout, now: float, statement: Statement) -> list[str]:
    """The service leaves what has expired out of queries at once (time-to-live), where its time to live is on."""
    if layout.expires_by_itself:
        return []
    return [f"(NOT IS_DEFINED(c.{EXPIRES}) OR c.{EXPIRES} > {statement.bind(now)})"]


def _keys(layout: Layout, query: Query) -> list[str]:
    if query.order is not None:
        keyset.check_path(layout.collection, query.order, sortable(layout.collection))
    return layout.sort_keys(query.order, across=query.across)


def _after(keys: Sequence[str], query: Query, position: Sequence[Json], statement: Statement) -> str:
    """(a, b, c) > (x, y, z), written out: SQL of Cosmos DB has no row values."""
    operator = "<" if query.descending else ">"
    names = [statement.bind(value) for value in position]
    ways = []
    for last in range(len(keys)):
        steps = [f"c.{key} = {name}" for key, name in zip(keys[:last], names[:last], strict=True)]
        ways.append(f"({' AND '.join([*steps, f'c.{keys[last]} {operator} {names[last]}'])})")
    return f"({' OR '.join(ways)})"


def _mark(layout: Layout, query: Query) -> str:
    return keyset.fingerprint(
        [
            layout.collection.name,
            query.partition,
            query.order,
            query.descending,
            [[condition.path, condition.op, condition.value] for condition in query.where],
            layout.key,
        ]
    )
