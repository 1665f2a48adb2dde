"""The listener: where it is bound, how many it takes, and how it stops without failing a request that has begun."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING

from syncd import __version__
from syncd.domain.errors import Unavailable
from syncd.http import addresses, openapi, probes, rendering, webhooks
from syncd.http.api import resources
from syncd.http.api.events import EventStreams
from syncd.http.auth import Door
from syncd.http.connection import Listener, ListenerLimits
from syncd.http.dashboard import Dashboard
from syncd.http.dispatch import Dispatch
from syncd.http.gate import endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from syncd.http.services import Services
    from syncd.ports.clock import Clock

#: Connections that the kernel completes before we take them. Up to as many are taken at once, which is by how much
#: `ListenerLimits.connections` may be exceeded for a moment.
BACKLOG = 128


class Server:
    """HTTP over one address. `current` gives the services of the generation in force; each request reads it once.

    `start` -> `drain` (no new connections; requests under way and streams end) -> `stop`. `stop` without `drain` does both.
    """

    def __init__(
        self,
        *,
        current: Callable[[], Services],
        clock: Clock,
        host: str,
        port: int,
        limits: ListenerLimits | None = None,
    ) -> None:
        self._host = host
        self._wanted = port
        self._limits = limits or ListenerLimits()
        self._streams = EventStreams()
        door = Door(clock=clock)
        routes = (*resources.ROUTES, *self._streams.routes())
        self._dispatch = Dispatch(
            current=current,
            endpoints=(
                *probes.ENDPOINTS,
                *(endpoint(route, door) for route in routes),
                *openapi.endpoints(routes, __version__),
                *Dashboard(door=door).endpoints(),
                *webhooks.ENDPOINTS,
                *addresses.ENDPOINTS,
            ),
        )
        self._listener: Listener | None = None
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Server] = []
        self._full = False
        self._turning: asyncio.Task[None] | None = None
        self._warming: asyncio.Future[None] | None = None
        self.port = port
        """Once started, the port that is bound: tells what 0 became."""

    @property
    def address(self) -> str:
        """`http://host:port` of what is bound."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Bind and listen. Raises Unavailable with one line that says what to do."""
        loop = asyncio.get_running_loop()
        self._listener = Listener(self._dispatch, limits=self._limits, full=self._on_full)
        try:
            for family, kind, protocol, _, address in await loop.getaddrinfo(
                self._host, self._wanted, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                # Port 0 becomes a number with the first address; the others take the same.
                self._sockets.append(_bound(family, kind, protocol, (address[0], self.port, *address[2:])))
                self.port = self._sockets[0].getsockname()[1]
        except OSError as error:
            self._close_sockets()
            raise Unavailable(f"cannot listen on {self._host}:{self._wanted}: {_reason(error)}") from error
        await self._accept()
        self._warming = loop.run_in_executor(None, rendering.warm)

    async def drain(self, timeout: float) -> None:
        """Accept no more connections, close idle ones, and give requests under way `timeout` seconds to end."""
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        if self._warming is not None:
            await self._warming
        if self._turning is not None:
            await asyncio.wait({self._turning})
        self._pause()
        self._close_sockets()
        await asyncio.sleep(0)  # requests that have arrived begin before idle connections are closed
        self._streams.end()
        listener.pre_shutdown()
        await listener.shutdown(timeout)

    async def stop(self, timeout: float = 8.0) -> None:
        """End whatever is left. Stopping twice, or what never started, is harmless."""
        await self.drain(timeout)

    # -- as many connections as may be --

    def _on_full(self, full: bool) -> None:
        self._full = full
        if self._turning is None or self._turning.done():
            self._turning = asyncio.get_running_loop().create_task(self._turn(), name="http: accepting")

    async def _turn(self) -> None:
        """Accept or pause, as it is wanted by now. What waits meanwhile stays in the kernel's queue."""
        while self._listener is not None and self._full == bool(self._accepting):
            if self._full:
                self._pause()
            else:
                await self._accept()

    async def _accept(self) -> None:
        # A duplicate is served: closing it stops accepting while the original goes on listening.
        assert self._listener is not None
        loop = asyncio.get_running_loop()
        for one in self._sockets:
            self._accepting.append(await loop.create_server(self._listener, sock=one.dup(), backlog=BACKLOG))

    def _pause(self) -> None:
        for server in self._accepting:
            server.close()
        self._accepting.clear()

    def _close_sockets(self) -> None:
        for one in self._sockets:
            one.close()
        self._sockets.clear()


def _bound(family: int, kind: int, protocol: int, address: object) -> socket.socket:
    one = socket.socket(family, kind, protocol)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.setblocking(False)
        one.bind(address)  # type: ignore[arg-type] # as getaddrinfo gave it
        one.listen(BACKLOG)
    except OSError:
        one.close()
        raise
    return one


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the address is in use; stop the other process or set http.port"
    if error.errno == errno.EACCES:
        return "not allowed; ports below 1024 need rights: set http.port to a higher one"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address; set http.host"
    return f"{error.strerror or error}; set http.host and http.port"
