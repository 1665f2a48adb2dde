"""The Cosmos DB double refuses what the service refuses: one test a row of its list. Requests are signed and sent by hand, so that
what is found here is the double and not the SDK; tests/conformance and test_cosmos_faults.py speak to it through the SDK.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from syncd.testing.clock import FrozenClock
from tests.wire.cosmos import KEY, REFUSALS, CosmosDouble

DOCS = "dbs/db/colls/x/docs"
POLICY = {
    "indexingMode": "consistent",
    "includedPaths": [{"path": "/a/?"}, {"path": "/pk/?"}],
    "excludedPaths": [{"path": "/*"}],
    "compositeIndexes": [[{"path": "/a"}, {"path": "/pk"}]],
}


class Caller:
    def __init__(self, double: CosmosDouble, session: aiohttp.ClientSession) -> None:
        self.double = double
        self._session = session

    async def __call__(
        self, method: str, path: str, body: Any = None, *, date: str = "", key: str = KEY, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        steps = path.split("/") if path else []
        feed = len(steps) % 2 == 1
        kind = steps[-1] if feed else (steps[-2] if steps else "")
        link = "/".join(steps[:-1] if feed else steps)
        date = date or formatdate(usegmt=True)
        text = f"{method.lower()}\n{kind}\n{link}\n{date.lower()}\n\n".encode()
        signature = base64.b64encode(hmac.digest(base64.b64decode(key), text, hashlib.sha256)).decode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent.setdefault("Authorization", quote(f"type=master&ver=1.0&sig={signature}", safe=""))
        sent["x-ms-date"] = date
        data = None if body is None else io.BytesIO(json.dumps(body).encode())
        async with self._session.request(
            method, self.double.endpoint + path + "/", data=data, headers=sent
        ) as response:
            raw = await response.read()
            return response.status, json.loads(raw) if raw else None, dict(response.headers)

    async def create(self, identifier: str, partition: str = "p", **fields: Any) -> tuple[int, Any, dict[str, str]]:
        body = {"id": identifier, "pk": partition, **fields}
        return await self("POST", DOCS, body, **keyed(partition))

    async def ask(self, query: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
        return await self("POST", DOCS, {"query": query, "parameters": []}, x_ms_documentdb_isquery="true", **headers)

    async def batch(self, operations: list[Any]) -> tuple[int, Any, dict[str, str]]:
        return await self("POST", DOCS, operations, x_ms_cosmos_is_batch_request="true", **keyed("p"))


def keyed(partition: str) -> dict[str, str]:
    return {"x_ms_documentdb_partitionkey": json.dumps([partition])}


@pytest.fixture
async def call(clock: FrozenClock) -> AsyncIterator[Caller]:
    async with CosmosDouble(clock=clock) as double, aiohttp.ClientSession() as session:
        double.store.databases["db"] = {}
        definition = {"id": "x", "partitionKey": {"paths": ["/pk"], "kind": "Hash", "version": 2}}
        double.store.create_container("db", {**definition, "indexingPolicy": POLICY, "defaultTtl": -1})
        yield Caller(double, session)


async def _exists(call: Caller) -> Any:
    await call.create("i")
    return await call.create("i")


async def _etag(call: Caller) -> Any:
    await call.create("i")
    return await call("PUT", f"{DOCS}/i", {"id": "i", "pk": "p"}, If_Match='"old"', **keyed("p"))


def _injected(status: int) -> Callable[[Caller], Awaitable[Any]]:
    async def refused(call: Caller) -> Any:
        call.double.faults.fail(1, status, substatus=REFUSALS[_BY_STATUS[status]].substatus)
        return await call.create("i")

    return refused


_BY_STATUS = {429: "throttled", 449: "retry-with", 410: "gone", 503: "unavailable"}
_ACROSS = {"x_ms_documentdb_query_enablecrosspartition": "True"}

REFUSED: dict[str, Callable[[Caller], Awaitable[Any]]] = {
    "signature": lambda call: call("GET", f"{DOCS}/i", key=base64.b64encode(b"another").decode(), **keyed("p")),
    "token": lambda call: call("GET", f"{DOCS}/i", Authorization="type=aad&ver=1.0&sig=unknown", **keyed("p")),
    "date": lambda call: call("GET", f"{DOCS}/i", date="Sun, 06 Nov 1994 08:49:37 GMT", **keyed("p")),
    "no-database": lambda call: call("GET", "dbs/none"),
    "no-container": lambda call: call("GET", "dbs/db/colls/none"),
    "no-item": lambda call: call("GET", f"{DOCS}/none", **keyed("p")),
    "recreated": lambda call: call("GET", f"{DOCS}/i", x_ms_cosmos_intended_collection_rid="other", **keyed("p")),
    "exists": _exists,
    "etag": _etag,
    "request-size": lambda call: call.create("i", x="y" * (2 * 1024 * 1024)),
    "batch-count": lambda call: call.batch([{"operationType": "Delete", "id": str(n)} for n in range(101)]),
    "batch-partition": lambda call: call.batch(
        [{"operationType": "Create", "resourceBody": {"id": "i", "pk": "another"}}]
    ),
    "partition-key": lambda call: call("POST", DOCS, {"id": "i", "pk": "q"}, **keyed("p")),
    "id": lambda call: call.create("a/b"),
    "ttl": lambda call: call.create("i", ttl=0),
    "cross-partition": lambda call: call.ask("SELECT * FROM c"),
    "query-plan": lambda call: call.ask("SELECT * FROM c ORDER BY c.a", **_ACROSS),
    "order-path": lambda call: call.ask("SELECT * FROM c ORDER BY c.payload", **keyed("p")),
    "composite": lambda call: call.ask("SELECT * FROM c ORDER BY c.a, c.id", **keyed("p")),
    "syntax": lambda call: call.ask("SELECT c.a FROM c", **keyed("p")),
    **{name: _injected(status) for status, name in _BY_STATUS.items()},
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_what_the_service_refuses_is_refused(call: Caller, name: str) -> None:
    row = REFUSALS[name]
    status, body, headers = await REFUSED[name](call)
    assert status == row.status, body
    assert headers.get("x-ms-substatus") == (None if row.substatus is None else str(row.substatus))


@pytest.mark.parametrize("identifier", ["", "a/b", "a\\b", "a?b", "a#b", "x" * 1024, 7, None])
async def test_ids_that_the_service_cannot_hold_are_refused(call: Caller, identifier: Any) -> None:
    assert (await call.create(identifier))[0] == 400


async def test_a_batch_is_done_whole_or_not_at_all(call: Caller) -> None:
    await call.create("there")
    made = {"operationType": "Create", "resourceBody": {"id": "new", "pk": "p"}}
    status, body, _ = await call.batch([made, {**made, "resourceBody": {"id": "there", "pk": "p"}}])
    assert status == 207
    assert [one["statusCode"] for one in body] == [424, 409]
    assert (await call("GET", f"{DOCS}/new", **keyed("p")))[0] == 404


async def test_items_expire_by_the_clock_of_the_service(call: Caller, clock: FrozenClock) -> None:
    await call.create("short", ttl=10)
    await call.create("ever")
    await clock.advance(9)
    assert (await call("GET", f"{DOCS}/short", **keyed("p")))[0] == 200
    await clock.advance(1)
    assert (await call("GET", f"{DOCS}/short", **keyed("p")))[0] == 404
    assert (await call("GET", f"{DOCS}/ever", **keyed("p")))[0] == 200


async def test_an_expired_item_that_is_not_deleted_yet_is_in_the_way_and_in_no_query(
    call: Caller, clock: FrozenClock
) -> None:
    call.double.store.late = True
    await call.create("short", ttl=10)
    await clock.advance(10)
    assert (await call.create("short"))[0] == 409
    assert (await call.ask("SELECT * FROM c", **keyed("p")))[1]["Documents"] == []


async def test_a_reader_without_the_session_is_one_write_behind(call: Caller) -> None:
    call.double.stale_reads = True
    _, first, _ = await call.create("i", n=1)
    assert (await call("GET", f"{DOCS}/i", **keyed("p")))[0] == 404
    _, _, headers = await call("PUT", f"{DOCS}/i", {"id": "i", "pk": "p", "n": 2}, **keyed("p"))
    assert (await call("GET", f"{DOCS}/i", **keyed("p")))[1]["_etag"] == first["_etag"]
    token = {"x_ms_session_token": headers["x-ms-session-token"]}
    assert (await call("GET", f"{DOCS}/i", **keyed("p"), **token))[1]["n"] == 2


async def test_whole_numbers_beyond_a_double_lose_their_last_digits(call: Caller) -> None:
    _, body, _ = await call.create("i", n=2**53 + 1)
    assert body["n"] == 2**53


async def test_a_page_ends_with_a_continuation_and_the_next_one_begins_there(call: Caller) -> None:
    for n in range(5):
        await call.create(f"i{n}", a=n)
    headers = {**keyed("p"), "x_ms_max_item_count": "2"}
    _, first, answered = await call.ask("SELECT * FROM c ORDER BY c.a", **headers)
    assert [one["a"] for one in first["Documents"]] == [0, 1]
    _, second, _ = await call.ask(
        "SELECT * FROM c ORDER BY c.a", x_ms_continuation=answered["x-ms-continuation"], **headers
    )
    assert [one["a"] for one in second["Documents"]] == [2, 3]


async def test_every_answer_says_what_it_cost(call: Caller) -> None:
    _, _, headers = await call.create("i")
    assert float(headers["x-ms-request-charge"]) == 5.0
    _, _, headers = await call("GET", f"{DOCS}/i", **keyed("p"))
    assert float(headers["x-ms-request-charge"]) == 1.0
