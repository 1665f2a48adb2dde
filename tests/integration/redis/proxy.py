"""What may stand between a replica and Redis: it forwards, loses answers, breaks connections, and leads to another Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Proxy:
    def __init__(self, target: int) -> None:
        self.target = target
        """The port that new connections lead to."""
        self.loses_answers = False
        """The next answer is lost, and its connection with it; those after it are not."""
        self.silent = False
        """New and old connections take everything and say nothing."""
        self.lost = 0
        self.url = ""
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def open(self) -> bool:
        return bool(self._open)

    def cut(self) -> None:
        """Break every connection that is open."""
        for writer in list(self._open):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            self._open.discard(writer)
            writer.transport.abort()
            return
        self._open.add(forth)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._requests(reader, forth))
                group.create_task(self._answers(back, writer))
        except* OSError:
            pass
        finally:
            for one in (writer, forth):
                self._open.discard(one)
                one.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, forth: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self.silent:
                forth.write(data)
        forth.transport.abort()

    async def _answers(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await back.read(65536):
            if self.loses_answers:
                self.loses_answers = False
                self.lost += 1
                break
            if not self.silent:
                writer.write(data)
        writer.transport.abort()


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        while proxy.open:
            await asyncio.sleep(0)
