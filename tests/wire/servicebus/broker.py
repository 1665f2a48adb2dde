"""The listener, its connections, and the hand of the clock."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tests.wire.servicebus.connection import Connection
from tests.wire.servicebus.namespace import Namespace


@dataclass(slots=True)
class Faults:
    latency: float = 0.0
    """Seconds by which every answer is late."""
    silent: bool = False
    """Connections are accepted and bytes are read; nothing is answered."""


class Broker:
    def __init__(self, namespace: Namespace, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.namespace = namespace
        self.faults = Faults()
        self.connections: set[Connection] = set()
        self.host = host
        self.port = port
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        self.stop_listening()
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)  # lets the loop tell each connection that it is lost
