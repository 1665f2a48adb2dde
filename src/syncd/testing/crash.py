"""Crash injection at every port call.

`CrashAt(n, when)` ends a *world*: at the n-th port call a BaseException is raised, before the call or after it (the call took
effect and its answer was lost), and every later port call of that world is refused, so that no `finally` can tidy up after a
process that is supposed to be dead. A new world is then opened on the same store and must finish the work.

`at_every_call` runs a scenario for n = 1, 2, ... and both sides of the call until it runs through without reaching the crash, which
makes the search exhaustive for that scenario. Where one call follows the other, a world that ends before the next call leaves what
one leaves that ended after the last; the other side differs where several calls are under way at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar, cast

Port = TypeVar("Port")
When = Literal["before", "after"]


class Crash(BaseException):  # not an Exception: nothing may catch it, as nothing catches kill -9
    """The world has ended."""


class CrashAt:
    """Counts port calls and ends the world at the n-th. `n = 0`: never."""

    def __init__(self, n: int = 0, when: When = "before") -> None:
        self.n = n
        self.when = when
        self.calls = 0
        self.dead = False
        self.last = ""

    def wrap(self, name: str, port: Port) -> Port:
        """The port, each of its coroutine methods counted; other attributes as they are."""
        return cast("Port", _Counted(self, name, port))

    async def call(
        self, name: str, method: Callable[..., Awaitable[object]], *args: object, **kwargs: object
    ) -> object:
        if self.dead:
            raise Crash(f"the world ended at {self.last}")
        self.calls += 1
        mine = self.calls == self.n
        if mine:
            self.last = name
        if mine and self.when == "before":
            self.dead = True
            raise Crash(name)
        try:
            answer = await method(*args, **kwargs)
        except Exception as error:  # an error is an answer, which gets lost like any other
            if mine or self.dead:
                self.dead = True
                raise Crash(name) from error
            raise
        if mine or self.dead:
            self.dead = True
            raise Crash(name)
        return answer


class _Counted:
    def __init__(self, crash: CrashAt, name: str, port: object) -> None:
        self._crash = crash
        self._name = name
        self._port = port

    def __getattr__(self, attribute: str) -> object:
        value = getattr(self._port, attribute)
        if not inspect.iscoroutinefunction(value):
            return value
        crash, name = self._crash, f"{self._name}.{attribute}"

        async def counted(*args: object, **kwargs: object) -> object:
            return await crash.call(name, value, *args, **kwargs)

        return counted


async def at_every_call(
    scenario: Callable[[CrashAt], Awaitable[None]], *, most: int = 500, sides: Sequence[When] = ("before", "after")
) -> int:
    """Run `scenario` for every call it makes, on each of `sides` of it; how many worlds ended.

    The scenario opens its own store, runs its first world with the given CrashAt (catching Crash), then a second world without one,
    and checks the result. It is run once more without a crash at the end.
    """
    ended = 0
    for n in range(1, most):
        crashes = [CrashAt(n, side) for side in sides]
        for crash in crashes:
            await scenario(crash)
        if all(crash.calls < n for crash in crashes):
            return ended
        ended += sum(crash.dead for crash in crashes)
    raise AssertionError(f"the scenario still made port calls after {most}")
