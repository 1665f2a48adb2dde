"""Requests about items: single ones, batches and queries, with the session token by which a client reads its own writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.wire.cosmos.items import Body, Container, Item, Store, compact
from tests.wire.cosmos.queries import PAGE_BYTES, answers, check_index, needs_plan
from tests.wire.cosmos.refusals import MOST_BYTES, MOST_OPERATIONS, Refused
from tests.wire.cosmos.sql import parse

Answer = tuple[int, Any, dict[str, str]]


@dataclass(frozen=True)
class Request:
    operation: str
    headers: dict[str, str]
    """Names in lower case."""
    identifier: str
    body: Any
    size: int
    link: str
    stale: bool
    refused_index: int | None

    @property
    def key(self) -> str:
        given = self.headers.get("x-ms-documentdb-partitionkey")
        if given is None:
            raise Refused("partition-key", "the request names none")
        return json.dumps(json.loads(given))


def answer(store: Store, container: Container, request: Request) -> Answer:
    if request.size > MOST_BYTES and request.operation != "query":
        raise Refused("request-size", str(request.size))
    if request.operation == "query":
        return _query(store, container, request)
    key = request.key
    etag = request.headers.get("if-match")
    status, body = 200, None
    match request.operation:
        case "create" | "upsert":
            fresh = store.find(container, key, request.body.get("id", "")) is None
            body = store.create(container, key, request.body, upsert=request.operation == "upsert")
            status = 201 if fresh else 200
        case "replace":
            body = store.replace(container, key, request.identifier, request.body, etag)
        case "delete":
            store.delete(container, key, request.identifier, etag)
            status = 204
        case "read":
            found = store.find(container, key, request.identifier)
            body = None if found is None else seen(container, key, found, request)
            if body is None:
                raise Refused("no-item", request.identifier)
        case "batch":
            status, body = _batch(store, container, request, key)
        case _:
            raise Refused("syntax", request.operation)
    headers = _headers(container, container.range_of(key), request)
    if isinstance(body, dict):
        headers["Etag"] = body["_etag"]
    return status, body, headers


def _headers(container: Container, partition: str, request: Request) -> dict[str, str]:
    return {
        "x-ms-session-token": f"{partition}:-1#{container.logs[partition]}",
        "x-ms-documentdb-partitionkeyrangeid": partition,
        "x-ms-alt-content-path": request.link,
    }


def seen(container: Container, key: str, item: Item, request: Request) -> Body | None:
    """The version that this reader gets. A token of the session that covers the last write gets the last write."""
    if not request.stale or _covers(request.headers.get("x-ms-session-token", ""), container.range_of(key), item.lsn):
        return item.body
    return item.before


def _covers(token: str, partition: str, lsn: int) -> bool:
    for part in token.split(","):
        identifier, _, rest = part.partition(":")
        if identifier == partition and "#" in rest and int(rest.split("#")[1]) >= lsn:
            return True
    return False


def _batch(store: Store, container: Container, request: Request, key: str) -> tuple[int, list[Body]]:
    operations = request.body
    if not isinstance(operations, list) or not 1 <= len(operations) <= MOST_OPERATIONS:
        raise Refused("batch-count", str(len(operations)))
    before, logs = dict(container.partitions.get(key, {})), dict(container.logs)
    results: list[Body] = []
    for index, one in enumerate(operations):
        try:
            if index == request.refused_index:
                raise Refused("throttled")
            results.append(_one(store, container, key, one))
        except Refused as refused:
            if refused.name == "partition-key":
                raise Refused("batch-partition", refused.detail) from refused
            container.partitions[key], container.logs = before, logs
            failed = [{"statusCode": 424, "requestCharge": 0.0} for _ in operations]
            failed[index] = {"statusCode": refused.row.status, "requestCharge": 1.0}
            if refused.row.substatus:
                failed[index]["subStatusCode"] = refused.row.substatus
            return 207, failed
    return 200, results


def _one(store: Store, container: Container, key: str, one: Body) -> Body:
    etag = one.get("ifMatch")
    body: Body | None
    match one["operationType"]:
        case "Create" | "Upsert":
            body, status = (
                store.create(container, key, one["resourceBody"], upsert=one["operationType"] == "Upsert"),
                201,
            )
        case "Replace":
            body, status = store.replace(container, key, one["id"], one["resourceBody"], etag), 200
        case "Delete":
            store.delete(container, key, one["id"], etag)
            return {"statusCode": 204, "requestCharge": 5.0}
        case other:
            raise Refused("syntax", other)
    return {"statusCode": status, "eTag": body["_etag"], "resourceBody": body, "requestCharge": 5.0}


def _query(store: Store, container: Container, request: Request) -> Answer:
    given = {one["name"]: one["value"] for one in request.body.get("parameters", [])}
    query = parse(request.body["query"], given)
    key = request.key if "x-ms-documentdb-partitionkey" in request.headers else None
    partition = request.headers.get("x-ms-documentdb-partitionkeyrangeid")
    if key is None and partition is None:
        if request.headers.get("x-ms-documentdb-query-enablecrosspartition", "").lower() != "true":
            raise Refused("cross-partition")
        if needs_plan(query):
            raise Refused("query-plan")
    check_index(container, query)
    bodies = []
    for one, item in store.living(container, key, query.ids):
        if partition is None or container.range_of(one) == partition:
            body = seen(container, one, item, request)
            if body is not None:
                bodies.append(body)
    rows = answers(query, bodies)
    start = int(request.headers.get("x-ms-continuation") or 0)
    most = int(request.headers.get("x-ms-max-item-count") or 100)
    page: list[Any] = []
    size = 0
    for row in rows[start : None if most == -1 else start + most]:
        size += len(compact(row))
        if page and size > PAGE_BYTES:
            break
        page.append(row)
    headers = _headers(container, container.range_of(key) if key else partition or "0", request)
    if start + len(page) < len(rows):
        headers["x-ms-continuation"] = str(start + len(page))
    headers["x-ms-item-count"] = str(len(page))
    return 200, {"_rid": container.rid, "Documents": page, "_count": len(page)}, headers
