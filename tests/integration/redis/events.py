"""What a limiter said had happened, and waiting for it."""

from __future__ import annotations

import asyncio


class Events:
    """Implements `Observe`."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, object]]] = []
        self._changed = asyncio.Event()

    def __call__(self, event: str, /, **facts: object) -> None:
        self.heard.append((event, facts))
        self._changed.set()

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.heard]

    async def come(self, event: str, times: int = 1) -> None:
        async with asyncio.timeout(60):
            while self.names.count(event) < times:
                self._changed.clear()
                await self._changed.wait()
