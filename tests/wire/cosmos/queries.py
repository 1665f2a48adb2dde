"""Queries: which the gateway answers itself, which need a plan, and what the indexing policy allows."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cmp_to_key
from typing import Any

from tests.wire.cosmos.items import RANGES, Body, Container
from tests.wire.cosmos.refusals import Refused
from tests.wire.cosmos.sql import UNDEFINED, Query, kind, value_at

#: Most bytes of a page of answers (concepts-limits).
PAGE_BYTES = 4 * 1024 * 1024


def check_index(container: Container, query: Query) -> None:
    """Filters may scan; sorting needs its index. `id` and `_ts` are always indexed (how-to-manage-indexing-policy)."""
    if len(query.order) == 1 and not indexed(container, query.order[0][0]):
        raise Refused("order-path", f"The order-by item {query.order[0][0]!r} is excluded from the index")
    if len(query.order) > 1:
        wanted = [(f"/{path.replace('.', '/')}", descending) for path, descending in query.order]
        for composite in container.definition["indexingPolicy"].get("compositeIndexes", []):
            given = [(one["path"].replace('"', ""), one.get("order", "ascending") == "descending") for one in composite]
            if wanted in (given, [(path, not descending) for path, descending in given]):
                return
        raise Refused(
            "composite",
            "The order by query does not have a corresponding composite index that it can be served from: "
            + ", ".join(path for path, _ in wanted),
        )


def indexed(container: Container, path: str) -> bool:
    """The more specific of the paths that include and exclude it decides."""
    if path in ("id", "_ts"):
        return True
    policy = container.definition["indexingPolicy"]
    target = f"/{path}/?"

    def best(paths: Iterable[Body]) -> int:
        found = [one["path"].replace('"', "") for one in paths]
        return max(
            (len(one) for one in found if one == target or (one.endswith("/*") and target.startswith(one[:-1]))),
            default=0,
        )

    return best(policy.get("includedPaths", [])) > best(policy.get("excludedPaths", []))


def plan(query: Query) -> Body:
    """What the gateway tells a client that is to ask each partition itself and to merge what they answer."""
    orders = [f"c.{path}" for path, _ in query.order]
    info: Body = {
        "distinctType": "None",
        "top": query.top,
        "offset": None,
        "limit": None,
        "orderBy": ["Descending" if descending else "Ascending" for _, descending in query.order],
        "orderByExpressions": orders,
        "groupByExpressions": [],
        "groupByAliases": [],
        "aggregates": ["Count"] if query.select == "count" else [],
        "groupByAliasToAggregateType": {},
        "rewrittenQuery": "",
        "hasSelectValue": query.select == "count",
        "hasNonStreamingOrderBy": False,
    }
    if query.order:
        head, _, tail = query.text.partition("SELECT")[2].partition("FROM c")
        where, _, order = tail.partition(" ORDER BY ")
        condition = where.partition(" WHERE ")[2] or "true"
        items = ", ".join(f'{{"item": {one}}}' for one in orders)
        info["rewrittenQuery"] = (
            f"SELECT {head.strip().rstrip('*').strip()} c._rid, [{items}] AS orderByItems, c AS payload FROM c"
            f" WHERE ({condition}) AND ({{documentdb-formattableorderbyquery-filter}}) ORDER BY {order}"
        )
    return {
        "partitionedQueryExecutionInfoVersion": 2,
        "queryInfo": info,
        "queryRanges": [{"min": "", "max": "FF", "isMinInclusive": True, "isMaxInclusive": False}],
    }


def needs_plan(query: Query) -> bool:
    return bool(query.order) or query.top is not None or query.select == "count"


def answers(query: Query, bodies: Iterable[Body]) -> list[Any]:
    """All rows of one partition, before they are cut into pages."""
    found = [body for body in bodies if query.where is None or query.where(body) is True]
    if query.select == "count":
        return [len(found)]
    if query.order:
        if len(query.order) > 1:
            # A composite index holds only items that have all its paths.
            found = [body for body in found if all(value_at(body, path) is not UNDEFINED for path, _ in query.order)]
        found.sort(key=cmp_to_key(lambda left, right: _compare(query, left, right)))
    if query.top is not None:
        found = found[: query.top]
    if query.select == "rewritten":
        return [
            {
                "_rid": body["_rid"],
                "orderByItems": [
                    {} if (value := value_at(body, path)) is UNDEFINED else {"item": value} for path, _ in query.order
                ],
                "payload": body,
            }
            for body in found
        ]
    return list(found)


def _compare(query: Query, left: Body, right: Body) -> int:
    for path, descending in query.order:
        one, other = value_at(left, path), value_at(right, path)
        if kind(one) != kind(other):
            answer = -1 if kind(one) < kind(other) else 1
        elif kind(one) < 2 or one == other:
            continue
        else:
            answer = -1 if one < other else 1
        return -answer if descending else answer
    return 0


def ranges_of(container: Container) -> Body:
    return {
        "_rid": container.rid,
        "PartitionKeyRanges": [
            {
                "_rid": f"{container.rid}{identifier}",
                "id": identifier,
                "_etag": '"1"',
                "minInclusive": low,
                "maxExclusive": high,
                "ridPrefix": int(identifier),
                "_self": f"dbs/db/colls/{container.rid}/pkranges/{identifier}/",
                "throughputFraction": 0.5,
                "status": "online",
                "parents": [],
                "_ts": 1,
            }
            for identifier, low, high in RANGES
        ],
        "_count": len(RANGES),
    }
