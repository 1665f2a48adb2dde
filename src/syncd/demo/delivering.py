"""How far the sender is, from the lines that it writes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable


class Delivering:
    def __init__(self, total: int) -> None:
        self._total = total
        self._ended: set[str] = set()
        self._moved = asyncio.Condition()
        self._over = False
        self.unanswered = 0
        """Tries that broke without an answer: what was in flight when the daemon died."""

    @property
    def delivered(self) -> int:
        """Different deliveries that were answered 2xx."""
        return len(self._ended)

    async def follow(self, lines: asyncio.StreamReader | None, tell: Callable[[int], None]) -> None:
        assert lines is not None
        async for line in lines:
            said = json.loads(line)
            if said["what"] == "sending":
                continue
            if said["what"] == "answered":
                self._ended.add(said["delivery"])
                tell(self.delivered)
            elif said["lost"]:
                self.unanswered += 1
            async with self._moved:
                self._moved.notify_all()
        self._over = True
        async with self._moved:
            self._moved.notify_all()

    async def ended(self) -> None:
        """Wait until the sender did."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._over)
