"""How late the event loop answers."""

from __future__ import annotations

from syncd.ports.clock import Clock
from syncd.ports.observe import Observe

#: Seconds between two looks.
BEAT = 0.5


class LoopWatch:
    """`lag` is the last delay in seconds, `worst` the longest of the last minute."""

    def __init__(self, *, clock: Clock, observe: Observe) -> None:
        self._clock = clock
        self._observe = observe
        self.lag = 0.0
        self.worst = 0.0

    async def run(self) -> None:
        beats = 0
        while True:
            before = self._clock.monotonic()
            await self._clock.sleep(BEAT)
            self.lag = max(0.0, self._clock.monotonic() - before - BEAT)
            beats += 1
            self.worst = self.lag if beats % 120 == 0 else max(self.worst, self.lag)
            self._observe("loop_lag", seconds=self.lag)
