"""The time of this process: the wall clock, made unable to run backwards."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from syncd.ports.observe import Observe, ignore

#: Seconds by which the two clocks may differ before that means something. Smaller steps are NTP at work, which slews the
#: monotonic clock along with the wall clock (adjtimex(2)).
TOLERANCE = 1.0


class SystemClock:
    """Implements the port `Clock`.

    `now()` is the wall clock as read once, plus the monotonic time since. The monotonic clock stands still while the machine is
    suspended, and the wall clock may be corrected, so:

    - the wall is ahead by more than TOLERANCE: `now()` jumps forward to it. Leases run out and ticks come due, as they should.
    - the wall was set back by more than that: `now()` keeps its own time. It is then `stepped_back` seconds ahead of the world,
      reported once by the event `clock_stepped_back` and to be shown as degraded health: times in documents and log lines of
      this process are that much late, schedules fire that much early. Order, leases and rate windows stay right. It ends when
      the wall has caught up, or with a restart, after which the store may hold times in the future: harmless to leases, which
      are waited for, and to dedupe, which then lasts longer.

    May be called from any thread.
    """

    def __init__(
        self,
        *,
        observe: Observe = ignore,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._observe = observe
        self._anchoring = threading.Lock()
        self._offset = wall() - monotonic()
        self._behind = False

    def now(self) -> float:
        now = self._offset + self._monotonic()
        if -TOLERANCE <= self._wall() - now <= TOLERANCE:
            if self._behind:
                self._behind = False
            return now
        return self._anchor()

    def monotonic(self) -> float:
        return self._monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # the one real sleep: everybody else sleeps on a Clock

    @property
    def stepped_back(self) -> float:
        """Seconds by which the wall clock is behind us; 0 within TOLERANCE."""
        behind = self._offset + self._monotonic() - self._wall()
        return behind if behind > TOLERANCE else 0.0

    def _anchor(self) -> float:
        with self._anchoring:
            monotonic, wall = self._monotonic(), self._wall()
            now = self._offset + monotonic
            if wall - now > TOLERANCE:
                self._offset = wall - monotonic
                self._behind = False
                return self._offset + monotonic
            report = now - wall > TOLERANCE and not self._behind
            if report:
                self._behind = True
        if report:
            self._observe("clock_stepped_back", seconds=now - wall)
        return now
