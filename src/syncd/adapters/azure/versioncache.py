"""Values that never change, read once: bounded, for a while, and one read for all who ask at the same time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from syncd.domain.secrets import Secret
from syncd.ports.clock import Clock

Key = tuple[str, str]


class VersionCache:
    """`size`: most entries, the least recently used goes first. `seconds`: life of each, by the monotonic clock. Errors are not kept."""

    def __init__(self, *, size: int, seconds: float, clock: Clock) -> None:
        self._size = size
        self._seconds = seconds
        self._clock = clock
        self._kept: OrderedDict[Key, tuple[Secret, float]] = OrderedDict()
        self._reading: dict[Key, asyncio.Task[Secret]] = {}

    async def get(self, key: Key, read: Callable[[], Awaitable[Secret]]) -> Secret:
        kept = self._kept.get(key)
        if kept is not None and kept[1] > self._clock.monotonic():
            self._kept.move_to_end(key)
            return kept[0]
        reading = self._reading.get(key)
        if reading is None:
            reading = self._reading[key] = asyncio.create_task(self._read(key, read))
        # Shielded: whoever gives up does not take the answer from the others.
        return await asyncio.shield(reading)

    def put(self, key: Key, value: Secret) -> None:
        self._kept[key] = (value, self._clock.monotonic() + self._seconds)
        self._kept.move_to_end(key)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def drop(self, key: Key) -> None:
        """Also what is being read now is not kept."""
        self._kept.pop(key, None)
        self._reading.pop(key, None)

    async def close(self) -> None:
        """End what is being read for callers that are gone."""
        for task in list(self._reading.values()):
            task.cancel()
        await asyncio.gather(*self._reading.values(), return_exceptions=True)
        self._kept.clear()

    async def _read(self, key: Key, read: Callable[[], Awaitable[Secret]]) -> Secret:
        mine = asyncio.current_task()
        try:
            value = await read()
            if self._reading.get(key) is mine:
                self.put(key, value)
            return value
        finally:
            if self._reading.get(key) is mine:
                del self._reading[key]
