"""One TCP connection: deadlines for those who send no request, and plain answers to what is not HTTP."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web

from syncd.http import problem

if TYPE_CHECKING:
    import asyncio

_log = structlog.get_logger(__name__)
#: How long an answered request's unread body is drained, so that the client reads the answer instead of a reset. Seconds.
LINGERING_TIME = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerLimits:
    """What one client may take before it has sent a request. Seconds and bytes."""

    header_timeout: float = 10.0
    """The first request's line and headers must be complete by then; later ones have the keep-alive time."""
    keepalive_timeout: float = 75.0
    """Above the 60 s of common load balancers, which must be the first to close."""
    header_bytes: int = 16 * 1024
    """Of one line or header field. Larger is answered 400, and the connection is closed."""
    connections: int = 1000
    """Open at once; more wait in the listen queue."""


_BODY = json.dumps(problem.document(408, "no complete request arrived in time")).encode()
_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


class Connection(web.RequestHandler):
    """aiohttp's handler with a deadline for the first request and with problem+json for what it refuses itself."""

    __slots__ = ("_deadline", "_header_timeout")

    def __init__(self, manager: web.Server, *, header_timeout: float, **kwargs: Any) -> None:  # Any: passed through
        super().__init__(manager, **kwargs)
        self._header_timeout = header_timeout
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._deadline = self._loop.call_later(self._header_timeout, self._cut)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        super().connection_lost(exc)

    def _cut(self) -> None:
        self._deadline = None
        if self._request_count == 0 and self.transport is not None:
            self.transport.write(_TOO_SLOW)
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp refuses by itself: bytes that are not HTTP. What handlers raise never gets here: `dispatch` answers."""
        self._close = True  # what follows on this connection cannot be told from a next request
        if status < 500:
            # The parser's message quotes what it read; that is not repeated to whoever sent it, nor into the log.
            return problem.respond(problem.document(400, "this is not a request that HTTP/1.1 allows"))
        _log.error("http request failed outside of its handler", exc_info=exc)
        return problem.respond(problem.document(status, "the request could not be answered", label="internal"))


class Listener(web.Server):
    """Makes one `Connection` for each client, and says when there are as many as may be, and when there are fewer again."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        limits: ListenerLimits,
        full: Callable[[bool], None],
    ) -> None:
        super().__init__(
            handler,
            keepalive_timeout=limits.keepalive_timeout,
            lingering_time=LINGERING_TIME,
            max_line_size=limits.header_bytes,
            max_field_size=limits.header_bytes,
            auto_decompress=False,  # signatures cover the bytes as they are sent
            access_log=None,
        )
        self._limits = limits
        self._full = full
        self._open = 0

    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=self._loop, header_timeout=self._limits.header_timeout, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._open += 1
        if self._open == self._limits.connections:
            self._full(True)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._open -= 1
        if self._open == self._limits.connections - 1:
            self._full(False)
