"""Connections that are used now and then are closed when nobody has used them for a while: the service counts each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Idling:
    """On the I/O thread. `leave` is called `seconds` after the last use."""

    def __init__(self, seconds: float, leave: Callable[[], None]) -> None:
        self._seconds = seconds
        self._leave = leave
        self._timer: asyncio.TimerHandle | None = None

    def used(self) -> None:
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._leave)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
