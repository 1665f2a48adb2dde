"""What the last call of a part said, for the probes: a part that answers again is well again."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from syncd.domain.errors import Failure, SyncdError, TimedOut
from syncd.ports.clock import Clock
from syncd.ports.control import Component

Port = TypeVar("Port")
#: A call that its caller gave up after so long, beyond the time that it was to wait, got no answer. Below `webhooks.enqueue_timeout`,
#: whose callers would otherwise hide a part that hangs. Seconds.
PATIENCE = 1.0


class PartHealth:
    """One part of the backend. `watch` gives the port to use; `look` answers at once from what its calls met."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.clock = clock
        self.fault: Failure | None = None

    def watch(self, port: Port) -> Port:
        """The port, with an eye on each of its coroutine methods; other attributes as they are."""
        return cast("Port", _Watched(self, port))

    def look(self) -> Component:
        if self.fault is None:
            return Component(self.name, "ok")
        return Component(self.name, "degraded", str(self.fault))


class _Watched:
    def __init__(self, part: PartHealth, port: object) -> None:
        self._part = part
        self._port = port

    def __getattr__(self, attribute: str) -> object:
        value = getattr(self._port, attribute)
        if not inspect.iscoroutinefunction(value):
            return value
        seen = _seen(self._part, value)
        setattr(self, attribute, seen)  # found at once from now on: this is on every hot path
        return seen


def _seen(part: PartHealth, method: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
    async def seen(*args: object, **kwargs: object) -> object:
        began = part.clock.monotonic()
        try:
            answer = await method(*args, **kwargs)
        except asyncio.CancelledError:
            took, wait = part.clock.monotonic() - began, kwargs.get("wait")
            if took - (wait if isinstance(wait, float | int) else 0.0) > PATIENCE:
                part.fault = TimedOut(f"does not answer: given up after {took:.1f} s")
            raise
        except Failure as error:
            part.fault = error
            raise
        except SyncdError:  # an answer, if not the one that was hoped for
            part.fault = None
            raise
        part.fault = None
        return answer

    return seen
