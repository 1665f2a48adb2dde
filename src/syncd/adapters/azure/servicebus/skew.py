"""Our clock against the broker's, from the time stamps that messages bring.

Let `offset` be the broker's time minus ours. A message that is received at our time `t` says:

- it was enqueued before now, by the broker's clock:          enqueued <= t + offset
- its lock has not run out, or it would not have come:       locked until >= t + offset
- if this very process sent it at our time `s`:               enqueued >= s + offset

So the offset lies between two bounds, and only what they prove is believed: an old backlog widens them, and accuses nobody.
"""

from __future__ import annotations

import math

#: The service's longest lock. Seconds.
#: https://learn.microsoft.com/azure/service-bus-messaging/message-transfers-locks-settlement
LONGEST_LOCK = 300.0
SHORTEST_LOCK = 1.0
#: Bounds are forgotten after this: clocks are corrected. Seconds, by the monotonic clock.
MEMORY = 60.0


class Skew:
    def __init__(self) -> None:
        self._forget(0.0)

    def _forget(self, monotonic: float) -> None:
        self._lower, self._upper = -math.inf, math.inf
        self._lock = LONGEST_LOCK
        self._until = monotonic + MEMORY

    def saw(
        self, *, now: float, monotonic: float, enqueued: float, locked_until: float | None, sent_at: float | None
    ) -> None:
        """`now` and `sent_at` by our clock, the others by the broker's; `sent_at` only where this process sent it."""
        if monotonic >= self._until:
            self._forget(monotonic)
        self._lower = max(self._lower, enqueued - now)
        if locked_until is not None:
            self._upper = min(self._upper, locked_until - now)
            self._lock = min(self._lock, max(locked_until - enqueued, SHORTEST_LOCK))
        if sent_at is not None:
            self._upper = min(self._upper, enqueued - sent_at)

    def forget(self) -> None:
        """What was proved has been told; the next message proves it again, or does not."""
        self._until = -math.inf

    @property
    def lock(self) -> float:
        """The lock's duration, as far as messages have shown it. Never less than it is."""
        return self._lock

    @property
    def offset(self) -> float:
        """The broker's time minus ours: what is proved of it, nearest to none. Seconds."""
        if self._lower > 0:
            return self._lower
        return min(self._upper, 0.0)

    @property
    def excess(self) -> str | None:
        """What is wrong, for people, where the clocks differ by more than a quarter of the lock."""
        limit = self._lock / 4
        if abs(self.offset) <= limit:
            return None
        way = "behind" if self.offset > 0 else "ahead of"
        return (
            f"the clock of this machine is {abs(self.offset):.1f} s or more {way} the broker's; {limit:.1f} s are allowed "
            "(a quarter of the lock): mend its time synchronisation"
        )
