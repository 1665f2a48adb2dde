"""What many ask for at the same moment is done once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

Value = TypeVar("Value")


class Alone(Generic[Value]):
    """One run for a key at a time, whoever asks; all who ask meanwhile get its result."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: dict[Hashable, asyncio.Task[Value]] = {}

    async def run(self, key: Hashable, work: Callable[[], Coroutine[object, object, Value]]) -> Value:
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(work(), name=self._name)
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    async def settled(self) -> None:
        while self._running:
            await asyncio.wait(set(self._running.values()))

    def _ended(self, key: Hashable, task: asyncio.Task[Value]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # those who waited have it; where all were cancelled nobody asks
