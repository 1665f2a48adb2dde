"""Our clock against the broker's, from the time stamps that messages bring.

Let `offset` be the broker's time minus ours. A message that is read at our time `t` says:

- it was enqueued before now, by the broker's clock:          enqueued <= t + offset
- if this very process sent it at our time `s`:               enqueued >= s + offset
- its lock has not run out, or it would not have come:       locked until >= t + offset

The first two are proofs: a delay only makes them say less, and an old backlog accuses nobody. The third holds only for what is read
in time. After a pause of this process or of the network that was longer than the lock it is false, and the whole batch says so alike.
So locks are judged over LOOKS separate reads, by the one with the least delay: one late read stops nobody, and is read again.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

#: The service's longest lock. Seconds.
#: https://learn.microsoft.com/azure/service-bus-messaging/message-transfers-locks-settlement
LONGEST_LOCK = 300.0
SHORTEST_LOCK = 1.0
#: Bounds are forgotten after this: clocks are corrected. Seconds, by the monotonic clock.
MEMORY = 60.0
#: Reads in a row that must say that our clock is ahead of the locks, before it is believed.
LOOKS = 3


@dataclass(frozen=True, slots=True)
class Stamps:
    """Of one message: `sent_at` by our clock, and only where this process sent it; the others by the broker's. Unix seconds."""

    enqueued: float
    locked_until: float | None
    sent_at: float | None


class Skew:
    def __init__(self) -> None:
        self._forget(0.0)

    def _forget(self, monotonic: float) -> None:
        self._lower, self._upper = -math.inf, math.inf
        self._lock = LONGEST_LOCK
        self._locks: deque[float] = deque(maxlen=LOOKS)
        """What locks had left by our clock, the most of each look."""
        self._until = monotonic + MEMORY

    def look(self, *, now: float, monotonic: float, messages: Iterable[Stamps]) -> None:
        """Messages that were read together, at this time by our clocks."""
        if monotonic >= self._until:
            self._forget(monotonic)
        left = -math.inf
        for message in messages:
            self._lower = max(self._lower, message.enqueued - now)
            if message.locked_until is not None:
                left = max(left, message.locked_until - now)
                self._lock = min(self._lock, max(message.locked_until - message.enqueued, SHORTEST_LOCK))
            if message.sent_at is not None:
                self._upper = min(self._upper, message.enqueued - message.sent_at)
        if left > -math.inf:
            self._locks.append(left)

    def forget(self) -> None:
        """What was proved has been told; the next messages prove it again, or do not."""
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
        return min(self._upper, self._best, 0.0)

    @property
    def _best(self) -> float:
        """What the locks of the look with the least delay had left, once there were enough looks."""
        return max(self._locks) if len(self._locks) == LOOKS else math.inf

    @property
    def doubtful(self) -> bool:
        """The last look was late, or our clock is ahead: look again before anything of it is used. At most LOOKS times in a row."""
        limit = -self._lock / 4
        return bool(self._locks) and self._locks[-1] < limit <= self._best

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
