"""Feeding systemd's watchdog, but only while work goes on.

A ping from a timer would prove that the timer runs. Here the event loop must come round, and `progress` must answer in time and
name nothing that is stuck; otherwise no ping leaves, and after WATCHDOG_USEC systemd aborts and restarts the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from syncd.ports.clock import Clock
from syncd.ports.observe import Observe, ignore
from syncd.runtime.notify import Notifier

#: Looks at the loop and at every service, and names what makes no progress; empty where all do.
Progress = Callable[[], Awaitable[Sequence[str]]]


def watchdog_timeout(environment: Mapping[str, str], *, pid: int) -> float | None:
    """Seconds within which systemd wants a ping, or None where it wants none of this process.

    WATCHDOG_PID, where set, names the process that is meant: sd_watchdog_enabled(3). A value that is no number means none.
    """
    meant = environment.get("WATCHDOG_PID")
    if meant and meant != str(pid):
        return None
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 1_000_000 if text.isascii() and text.isdigit() and int(text) > 0 else None


class Watchdog:
    """Pings at half the timeout (as sd_watchdog_enabled(3) advises), each time after a progress check of at most a quarter."""

    def __init__(
        self, *, notifier: Notifier, timeout: float, progress: Progress, clock: Clock, observe: Observe = ignore
    ) -> None:
        """`timeout`: what `watchdog_timeout` said, in seconds."""
        self._notifier = notifier
        self._timeout = timeout
        self._progress = progress
        self._clock = clock
        self._observe = observe

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            stuck = await self._stuck()
            if stuck:
                self._observe("watchdog_withheld", stuck=", ".join(stuck))
            else:
                self._notifier.watchdog()
            await self._clock.sleep(self._timeout / 2)

    async def _stuck(self) -> Sequence[str]:
        limit = self._timeout / 4
        try:
            async with asyncio.timeout(limit):
                return await self._progress()
        except TimeoutError:
            return [f"the progress check itself, for more than {limit:g} s"]
        except Exception as error:  # noqa: BLE001 - a check that breaks must withhold the ping, not end the watchdog
            return [f"the progress check itself: {error!r}"]
