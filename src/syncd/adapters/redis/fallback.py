"""What a replica may do on its own while Redis does not answer, or does not remember.

Of each limit, `share` is left free by what Redis admits, in `replicas` equal parts of whole units: each replica that is cut off
spends no more than its part, in a window of its own that lives as long as the process. So all of them together, and Redis, stay
within the limit. Where a part is less than a unit nothing is left free, and a replica that is cut off is refused.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection, Sequence
from math import floor

from syncd.domain.errors import Invalid
from syncd.domain.ratelimit import Ledger
from syncd.ports.clock import Clock
from syncd.ports.limiter import Decision, Level

#: Refused while cut off: ask again after at most so long, because Redis may be back. Seconds, and up to half as much again, so that
#: a crowd does not come at once.
ASK_AGAIN = 5.0
#: For how long an answer is kept for a call that is sent again with its token. Seconds.
TOKEN_MEMORY = 300.0


class Fallback:
    """`fail_closed`: True, or the beginnings of the keys that are refused outright instead."""

    def __init__(
        self, *, clock: Clock, share: float, replicas: int, fail_closed: bool | Collection[str] = False
    ) -> None:
        if not 0 <= share < 1 or replicas < 1:
            raise Invalid(f"a fallback share is at least 0 and below 1, for 1 replica or more; not {share}, {replicas}")
        self._clock = clock
        self._share = share
        self._replicas = replicas
        self._closed: tuple[str, ...] = ("",) if fail_closed is True else tuple(fail_closed or ())
        self._ledger = Ledger(boot="fallback")
        self._began = clock.monotonic()
        self._sent: dict[str, Decision] = {}
        self._forget: deque[tuple[float, str]] = deque()

    def own(self, limit: int) -> int:
        """This replica's part of a limit."""
        return floor(limit * self._share / self._replicas + 1e-9)

    def shared(self, limit: int) -> int:
        """What is left of it for Redis; at least 1."""
        return limit - self._replicas * self.own(limit)

    def take(self, levels: Sequence[Level], cost: int, *, token: str | None, back_in: float | None) -> Decision:
        """`levels` with their whole limits. `back_in`: seconds until Redis decides again, where that is known. Books no turn: the
        next call may be Redis's."""
        now = self._clock.monotonic()
        while self._forget and self._forget[0][0] <= now:
            self._sent.pop(self._forget.popleft()[1], None)
        if token is not None and token in self._sent:
            return self._sent[token]
        own = [Level(level.key, self.own(level.limit), level.window) for level in levels]
        # An earlier life of this replica may have spent its part within the last window.
        rested = self._began + max(level.window for level in levels)
        if any(level.key.startswith(self._closed) for level in levels) or any(cost > level.limit for level in own):
            return self._refused(ASK_AGAIN if back_in is None else back_in)
        if now < rested:
            return self._refused(min(rested - now, ASK_AGAIN if back_in is None else back_in))
        allowed, remaining, at, _ = self._ledger.take(now, own, cost=cost)
        if not allowed:
            return self._refused(min(at - now, ASK_AGAIN if back_in is None else back_in))
        decision = Decision(True, remaining, self._clock.now() + max(0.0, at - now))
        if token is not None:
            self._sent[token] = decision
            self._forget.append((now + TOKEN_MEMORY, token))
        return decision

    def charge(self, levels: Sequence[Level], cost: int) -> None:
        own = [level for level in levels if self.own(level.limit)]
        if own:
            self._ledger.charge(self._clock.monotonic(), own, cost)

    def _refused(self, wait: float) -> Decision:
        wait += min(wait, ASK_AGAIN) * random.random() / 2  # noqa: S311 - spreads a crowd, guards no secret
        return Decision(False, 0, self._clock.now() + wait, wait)
