"""The REST surface over plain http, as azure-cosmos 4.17.1 speaks to it in gateway mode."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections import deque
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from ssl import SSLContext
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.wire.cosmos import documents
from tests.wire.cosmos.faults import Faults
from tests.wire.cosmos.items import Container, Now, Store, compact, read_json
from tests.wire.cosmos.queries import plan, ranges_of
from tests.wire.cosmos.refusals import Refused
from tests.wire.cosmos.sql import parse

#: The key of Microsoft's own emulator, which is public.
KEY = "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw=="


@dataclass(frozen=True)
class Call:
    operation: str
    container: str
    status: int
    charge: float
    headers: dict[str, str]


class CosmosDouble:
    """An account. `clock`: the service's own. `latency`: seconds before every answer."""

    def __init__(self, *, clock: Now, key: str = KEY, latency: float = 0.0) -> None:
        self.store = Store(clock)
        self.faults = Faults()
        self.key = key
        self.latency = latency
        self.tokens: set[str] = set()
        """Bearer tokens of Entra ID that are accepted beside the key."""
        self.consistency = "Session"
        self.multiple_writes = False
        self.stale_reads = False
        """Reads that bring no session token of the last write are one write behind."""
        self.calls: deque[Call] = deque(maxlen=20_000)
        self.host = "127.0.0.1"
        self.port = 0
        self._secure = False
        self._runner: web.AppRunner | None = None

    @property
    def endpoint(self) -> str:
        return f"{'https' if self._secure else 'http'}://{self.host}:{self.port}/"

    async def start(self, port: int = 0, *, host: str = "127.0.0.1", ssl: SSLContext | None = None) -> None:
        """Bearer tokens need TLS; the SDK verifies certificates except on localhost and 127.0.0.1."""
        self.host, self._secure = host, ssl is not None
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=ssl)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.faults.clear()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> CosmosDouble:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def requests(self, *operations: str) -> list[Call]:
        """What has been asked, of these operations or of all that touch documents."""
        wanted = operations or ("create", "upsert", "replace", "delete", "read", "query", "batch")
        return [call for call in self.calls if call.operation in wanted]

    # -- one request --

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        steps = [unquote(step) for step in request.rel_url.raw_path.split("/") if step]
        operation = _operation(request, steps)
        await self.faults.passing()
        if self.latency:
            await asyncio.sleep(self.latency)  # the latency of a network, which a benchmark asks for
        fault = self.faults.next(operation)
        if fault is not None and fault.cut == "before":
            return _cut(request)
        headers: dict[str, str] = {}
        try:
            if fault is not None and fault.status and fault.index is None:
                headers |= fault.headers
                if fault.substatus is not None:
                    headers["x-ms-substatus"] = str(fault.substatus)
                status, body = fault.status, {"code": str(fault.status), "message": "injected by the test"}
            else:
                self._authorized(request, steps)
                status, body, headers = self._answer(request, operation, steps, raw, fault.index if fault else None)
                if fault is not None and fault.index is not None:
                    headers |= fault.headers
        except Refused as refused:
            row = refused.row
            status = row.status
            body = {"code": refused.name, "message": f"{row.about}: {refused.detail}" if refused.detail else row.about}
            headers |= refused.headers
            if row.substatus is not None:
                headers["x-ms-substatus"] = str(row.substatus)
        content = b"" if body is None else compact(body)
        headers.setdefault("Date", formatdate(self.store.now(), usegmt=True))
        headers.setdefault("x-ms-request-charge", f"{_charge(operation, raw, content):.2f}")
        container = steps[3] if len(steps) > 3 else ""
        self.calls.append(
            Call(operation, container, status, float(headers["x-ms-request-charge"]), dict(request.headers))
        )
        if fault is not None and fault.cut == "after":
            return _cut(request)
        return web.Response(status=status, body=content, headers={"Content-Type": "application/json", **headers})

    def _authorized(self, request: web.Request, steps: list[str]) -> None:
        given = unquote(request.headers.get("Authorization", ""))
        if given.startswith("type=aad&ver=1.0&sig="):
            if given.removeprefix("type=aad&ver=1.0&sig=") not in self.tokens:
                raise Refused("token")
            return
        date = request.headers.get("x-ms-date", "")
        # Paths of a feed are signed over their parent, those of a resource over the resource.
        kind = steps[-1] if len(steps) % 2 else (steps[-2] if steps else "")
        link = "/".join(steps[:-1] if len(steps) % 2 else steps)
        text = f"{request.method.lower()}\n{kind.lower()}\n{link}\n{date.lower()}\n\n"
        signature = base64.b64encode(hmac.digest(base64.b64decode(self.key), text.encode(), hashlib.sha256)).decode()
        if not hmac.compare_digest(given.encode(), f"type=master&ver=1.0&sig={signature}".encode()):
            raise Refused("signature", f"{request.method} {kind} {link}")
        # A client's clock is compared with real time: the double's own may stand still.
        if abs(parsedate_to_datetime(date).timestamp() - time.time()) > 900:
            raise Refused("date", date)

    def _answer(
        self, request: web.Request, operation: str, steps: list[str], raw: bytes, index: int | None
    ) -> tuple[int, Any, dict[str, str]]:
        body = read_json(raw) if raw else {}
        if operation == "account":
            return 200, self._account(), {}
        if operation in ("database", "create-database", "list-containers", "container", "create-container"):
            return (*self._manage(operation, steps, body), {})
        if operation == "replace-container":
            container = self.store.container(steps[1], steps[3])
            if body["partitionKey"]["paths"] != container.definition["partitionKey"]["paths"]:
                raise Refused("partition-key", "the partition key of a container cannot be changed")
            container.definition = body
            return 200, _container(container), {}
        container = self.store.container(steps[1], steps[3])
        intended = request.headers.get("x-ms-cosmos-intended-collection-rid")
        if intended not in (None, container.rid):
            raise Refused("recreated", intended or "")
        if operation == "pkranges":
            if request.headers.get("If-None-Match") == '"1"':
                return 304, None, {"Etag": '"1"'}
            return 200, ranges_of(container), {"Etag": '"1"'}
        if operation == "plan":
            given = {one["name"]: one["value"] for one in body.get("parameters", [])}
            return 200, plan(parse(body["query"], given)), {}
        return documents.answer(
            self.store,
            container,
            documents.Request(
                operation=operation,
                headers={name.lower(): value for name, value in request.headers.items()},
                identifier=steps[5] if len(steps) > 5 else "",
                body=body,
                size=len(raw),
                link="/".join(steps[:4]),
                stale=self.stale_reads,
                refused_index=index,
            ),
        )

    def _account(self) -> dict[str, Any]:
        place = [{"name": "double", "databaseAccountEndpoint": self.endpoint}]
        return {
            "id": "double",
            "_rid": "double.local",
            "_self": "",
            "media": "//media/",
            "addresses": "//addresses/",
            "_dbs": "//dbs/",
            "writableLocations": place,
            "readableLocations": place,
            "enableMultipleWriteLocations": self.multiple_writes,
            "userConsistencyPolicy": {"defaultConsistencyLevel": self.consistency},
        }

    def _manage(self, operation: str, steps: list[str], body: dict[str, Any]) -> tuple[int, Any]:
        if operation == "create-database":
            if body["id"] in self.store.databases:
                raise Refused("exists", body["id"])
            self.store.databases[body["id"]] = {}
            return 201, {"id": body["id"], "_rid": "ZGI=", "_self": "dbs/ZGI=/"}
        if operation == "create-container":
            return 201, _container(self.store.create_container(steps[1], body))
        if operation == "container":
            return 200, _container(self.store.container(steps[1], steps[3]))
        if steps[1] not in self.store.databases:
            raise Refused("no-database", steps[1])
        if operation == "database":
            return 200, {"id": steps[1], "_rid": "ZGI=", "_self": "dbs/ZGI=/"}
        found = [_container(one) for one in self.store.databases[steps[1]].values()]
        return 200, {"_rid": "ZGI=", "DocumentCollections": found, "_count": len(found)}


def _container(container: Container) -> dict[str, Any]:
    return container.definition | {
        "_rid": container.rid,
        "_self": f"dbs/db/colls/{container.rid}/",
        "_etag": '"1"',
        "_docs": "docs/",
    }


def _operation(request: web.Request, steps: list[str]) -> str:
    """Names the request, as tests do who make it fail."""
    headers, method = request.headers, request.method
    if not steps:
        return "account"
    if len(steps) <= 2:
        return "create-database" if method == "POST" else "database"
    if steps[2] == "colls" and len(steps) == 3:
        return "create-container" if method == "POST" else "list-containers"
    if len(steps) == 4:
        return "replace-container" if method == "PUT" else "container"
    if steps[4] == "pkranges":
        return "pkranges"
    if method != "POST":
        return {"GET": "read", "PUT": "replace", "DELETE": "delete"}.get(method, method.lower())
    if headers.get("x-ms-cosmos-is-query-plan-request", "").lower() == "true":
        return "plan"
    if headers.get("x-ms-documentdb-isquery", "").lower() == "true":
        return "query"
    if headers.get("x-ms-cosmos-is-batch-request", "").lower() == "true":
        return "batch"
    return "upsert" if headers.get("x-ms-documentdb-is-upsert", "").lower() == "true" else "create"


def _charge(operation: str, sent: bytes, answered: bytes) -> float:
    """About the service's: 1 unit to read 1 KB, 5 to write it, 2.3 and more for a query (key-value-store-cost)."""
    if operation in ("create", "upsert", "replace", "batch"):
        return max(5.0, 5 * len(sent) / 1024)
    return {"read": 1.0, "query": 2.3, "delete": 5.0}.get(operation, 0.0) + len(answered) // 1024 * 0.1


def _cut(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionResetError("cut by the test")
