"""Connections that are used now and then are closed when nobody has used them for a while: the service counts each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Idling:
    """On the I/O thread. `leave` is called when nobody has used them for `seconds`."""

    def __init__(self, seconds: float, leave: Callable[[], None]) -> None:
        self._seconds = seconds
        self._leave = leave
        self._users = 0
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def used(self) -> Iterator[None]:
        self._users += 1
        self.stop()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._timer = asyncio.get_running_loop().call_later(self._seconds, self._leave)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
