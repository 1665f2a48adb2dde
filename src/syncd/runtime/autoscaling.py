"""How many receivers a queue deserves now: pure arithmetic over what the last lease and the loop showed."""

from __future__ import annotations

from syncd.runtime.work import WorkerLimits

#: Without work for so long, one receiver is left, which waits in a long poll and holds nothing. Seconds.
IDLE_AFTER = 600.0
#: Half the receivers go when a quarter was enough for so long. Seconds.
SHRINK_AFTER = 60.0
#: No growth while the event loop answers later than this: more concurrency would only add to the delay. Seconds.
CROWDED_LOOP = 0.25


#: Messages leased ahead of free receivers cover about so much work, and are at most so many. Seconds; messages.
AHEAD = 0.05
MOST_AHEAD = 512


def ahead(receivers: int, handling: float) -> int:
    """How many to lease beyond the free receivers, where a unit takes `handling` seconds: none for long work, so many for calls of
    milliseconds that no receiver waits for a lease's commit, hundreds for units so short that each commit would be the bottleneck.
    All of them are worked on within moments, so a crash counts few."""
    return min(MOST_AHEAD, int(receivers * AHEAD / handling)) if handling > 0 else 0


class Receivers:
    """Doubles while leases come back full, halves when three quarters were not needed for a minute, sleeps after ten idle minutes."""

    def __init__(self, limits: WorkerLimits, now: float) -> None:
        self.limits = limits
        self.target = limits.minimum
        self._peak = 0
        self._shrink_at = now + SHRINK_AFTER
        self._busy_at = now
        self.handling = 1.0
        """Seconds that a unit keeps its receiver, as a running mean; begins high, so that nothing is leased ahead before it is known."""

    def handled(self, seconds: float) -> None:
        self.handling += (seconds - self.handling) * 0.05

    def leased(self, *, asked: int, got: int, in_flight: int, now: float, loop_lag: float = 0.0) -> None:
        """Tell what a lease brought; `in_flight` counts the units that run, the new ones included."""
        limits = self.limits
        self._peak = max(self._peak, in_flight)
        if in_flight:
            self._busy_at = now
        if got and got >= asked and loop_lag < CROWDED_LOOP:
            self.target = min(limits.maximum, max(limits.minimum, self.target * 2))
        if now >= self._shrink_at:
            if self._peak <= self.target // 4:
                self.target = max(limits.minimum, self.target // 2)
            self._peak, self._shrink_at = in_flight, now + SHRINK_AFTER
        if now - self._busy_at >= IDLE_AFTER:
            self.target = 1
        elif got:
            self.target = max(self.target, limits.minimum)

    def adopt(self, limits: WorkerLimits) -> None:
        """New limits after a reload."""
        if limits != self.limits:
            self.limits = limits
            self.target = min(max(self.target, limits.minimum), limits.maximum)
