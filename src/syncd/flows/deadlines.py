"""One time limit for many waits at once, with one timer for all of them.

`asyncio.timeout` arms and cancels a timer for each wait, which on the path of a webhook costs more than verifying its signature.
Where every wait has the same limit the first to begin is the first to end, so a queue and one timer do.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadlines:
    """`with deadlines.one():` raises TimeoutError where its body takes longer than `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waiting: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def one(self) -> Deadline:
        return Deadline(self)

    def _enter(self, deadline: Deadline) -> None:
        loop = asyncio.get_running_loop()
        deadline.at = loop.time() + self.seconds
        self._waiting[deadline] = None
        if self._timer is None:
            self._timer = loop.call_at(deadline.at, self._expire, loop)

    def _leave(self, deadline: Deadline) -> None:
        self._waiting.pop(deadline, None)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        while self._waiting:
            first = next(iter(self._waiting))
            if first.at > now:
                self._timer = loop.call_at(first.at, self._expire, loop)
                return
            del self._waiting[first]
            first.expire()


class Deadline:
    __slots__ = ("_expired", "_owner", "_task", "at")

    def __init__(self, owner: Deadlines) -> None:
        self._owner = owner
        self._expired = False
        self._task: asyncio.Task[object] | None = None
        self.at = 0.0

    def expire(self) -> None:
        assert self._task is not None
        self._expired = True
        self._task.cancel()

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._owner._enter(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owner._leave(self)
        if self._expired and self._task is not None:
            # Somebody else's cancellation stays one, as with asyncio.timeout.
            others = self._task.uncancel()
            if not others and kind is asyncio.CancelledError:
                raise TimeoutError from error
