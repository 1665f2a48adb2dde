"""The listener, its connections, and the hand of the clock."""

from __future__ import annotations

import asyncio

from tests.wire.servicebus.connection import Connection
from tests.wire.servicebus.faults import Faults
from tests.wire.servicebus.links import Consumer, LinkEnd, Producer
from tests.wire.servicebus.namespace import Namespace
from tests.wire.servicebus.refusal import DETACH_FORCED, Refused

#: Seconds without anything after which a link is detached. Source: MicrosoftDocs, service-bus-amqp-troubleshoot ("link is closed").
IDLE_LINK = 600.0


class Broker:
    def __init__(self, namespace: Namespace, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.namespace = namespace
        self.faults = Faults()
        self.connections: set[Connection] = set()
        self.host = host
        self.port = port
        self._server: asyncio.Server | None = None
        namespace.on_change = self.check_links
        namespace.on_time = self.detach_idle

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def entity_links(self) -> list[LinkEnd]:
        return [
            link
            for connection in list(self.connections)
            for link in connection.links
            if isinstance(link, Consumer | Producer)
        ]

    def check_links(self) -> None:
        """Detach those whose entity is gone or disabled, or whose token has ended."""
        for link in self.entity_links():
            try:
                link.check()
            except Refused as refused:
                link.connection.detach(link, refused)

    def detach_idle(self, limit: float = IDLE_LINK) -> None:
        """Detach the links over which nothing went for `limit` seconds of the double's clock."""
        now = self.namespace.now()
        for link in self.entity_links():
            if now - link.active_at >= limit:
                text = f"The link is force detached by the broker because it was idle for {limit:g} seconds"
                link.connection.detach(link, Refused(DETACH_FORCED, text))

    async def close(self) -> None:
        self.stop_listening()
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)  # lets the loop tell each connection that it is lost
