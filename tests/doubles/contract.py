"""What the conformance suite needs to know of a provider's system, and the server around it.

A double keeps objects in its own memory and answers over HTTP, from its documentation and not from the provider's file: it is the
independent witness. The suite talks to it through the provider's file, and looks into its memory to see what really happened.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Literal

from aiohttp import web

JsonObject = dict[str, Any]
#: The double's clock at its start: 2023-11-14T22:13:20Z.
START = 1_700_000_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A line of the double's log: one request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Any
    """Decoded JSON; None where there was none."""
    status: int
    """What was answered; 0: the connection was cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An answer in place of the right one, for one request."""

    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    when: Literal["instead", "after"] = "instead"
    """`after`: what was asked for is done first, and only its answer is replaced."""
    cut: bool = False
    """No answer at all: the connection is closed."""
    writes: bool = False
    """It waits for a request that is no GET."""


class ProviderDouble(ABC):
    """One system. `external_id` is everywhere the id that the provider's file gives the object (for GitHub `<repository>#<number>`),
    and content is everywhere in the provider file's own field names (`Record.data`)."""

    #: Types that it serves; the suite tries each of them.
    kinds: tuple[str, ...]
    #: Objects in a page that the suite asks for; it puts in enough of them for several pages.
    page_size: int = 3

    def __init__(self) -> None:
        self.log: list[Seen] = []
        self.faults: deque[Fault] = deque()
        """Played for the next requests, one each, before the double's own answers."""
        self.now = START
        """The double's clock, sent as `Date`. Tests move it; it never moves by itself."""
        self.url = ""
        """Of the running server, without a slash at the end."""

    # -- what a provider's double writes --

    @abstractmethod
    def settings(self) -> JsonObject:
        """A connection's settings; `self.url` is known by then."""

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """The API. Handlers read and change this object's memory and take its time from `self.now`."""

    @abstractmethod
    def sample(self, kind: str, number: int) -> JsonObject:
        """Writable content of one object, another for each number; at least one field where the type can be written."""

    @abstractmethod
    def change(self, kind: str, number: int) -> JsonObject:
        """Some writable fields with values that no sample has, another for each number; at least one field stays unsaid."""

    @abstractmethod
    def put(self, kind: str, number: int) -> str:
        """Somebody makes `sample(kind, number)` there at `self.now`, not through us. Answers its external id."""

    @abstractmethod
    def edit(self, kind: str, external_id: str, changes: JsonObject) -> None:
        """Somebody changes it there at `self.now`; its version and time of change become others."""

    @abstractmethod
    def remove(self, kind: str, external_id: str) -> None:
        """Somebody deletes it there at `self.now`."""

    @abstractmethod
    def held(self, kind: str, external_id: str) -> JsonObject | None:
        """The writable fields of what it holds now, straight from memory; None where it is not there (any more)."""

    @abstractmethod
    def ids(self, kind: str) -> list[str]:
        """External ids of all that are there, in the order in which they were made."""

    def event(
        self, kind: str, external_id: str, operation: Literal["create", "update", "delete"]
    ) -> tuple[Mapping[str, str], bytes] | None:
        """Headers (lower case) and body of the webhook that it sends about the object as it is now; None: it sends none."""
        return None

    # -- the server --

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its address, on a free port of this machine."""
        app = web.Application(middlewares=[self._middleware()], client_max_size=64 * 1024 * 1024)
        app.add_routes(self.routes())
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            self.url = f"http://{host}:{port}"
            yield self.url
        finally:
            await runner.cleanup()

    def _middleware(self) -> Callable[[web.Request, Callable[[web.Request], Awaitable[Any]]], Awaitable[Any]]:
        @web.middleware
        async def around(request: web.Request, handler: Callable[[web.Request], Awaitable[Any]]) -> web.StreamResponse:
            raw = await request.read()
            due = self.faults and not (self.faults[0].writes and request.method == "GET")
            fault = self.faults.popleft() if due else None
            answer: web.StreamResponse | None = None
            if fault is None or fault.when == "after":
                try:
                    answer = await handler(request)
                except web.HTTPException as error:
                    answer = web.Response(status=error.status, headers={}, text=error.reason)
            if fault is not None:
                answer = (
                    None if fault.cut else web.Response(status=fault.status, headers=fault.headers, body=fault.body)
                )
            self.log.append(
                Seen(
                    method=request.method,
                    path=request.path,
                    query=dict(request.query),
                    headers={name.lower(): value for name, value in request.headers.items()},
                    body=_decoded(raw),
                    status=0 if answer is None else answer.status,
                )
            )
            if answer is None:
                assert isinstance(request.transport, asyncio.Transport)
                request.transport.abort()
                raise ConnectionResetError("cut on purpose")
            answer.headers.setdefault("Date", formatdate(self.now, usegmt=True))
            return answer

        return around


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return raw


#: A file of this package declares it as `DOUBLES`: name of a configuration -> a fresh double.
Doubles = Mapping[str, Callable[[], ProviderDouble]]
