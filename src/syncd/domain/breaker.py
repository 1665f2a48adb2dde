"""A circuit breaker: what fails again and again is left alone for a while, so that nobody waits for it in vain.

    closed --failures in a row--> open --pause over--> half open (one asks) --answered--> closed
                                   ^                         |
                                   +---failed: twice the pause

Who asks takes a ticket first and says how it went. What a ticket says is heard only until the next change of state: the many that
were under way when the breaker opened must not lengthen the pause that the first of them began. An answer is good news whoever
brings it. Times are monotonic seconds, given by the caller.
"""

from __future__ import annotations

#: In a row, before it opens: two may be a hiccup.
FAILURES = 3
#: Seconds of the first pause, and of the longest: what is back is noticed within that time.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 3.0


class Breaker:
    def __init__(
        self, *, failures: int = FAILURES, first_pause: float = FIRST_PAUSE, longest_pause: float = LONGEST_PAUSE
    ) -> None:
        self._most = failures
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._state = 0
        self._failures = 0
        self._pause = 0.0
        self._until = 0.0
        self._asking = False
        self.opened_at: float | None = None
        """When it left the closed state; None while it is closed."""

    def admit(self, now: float) -> int | None:
        """A ticket for who may ask; None: leave it alone."""
        if self.opened_at is not None:
            if self._asking or now < self._until:
                return None
            self._asking = True
            self._state += 1
        return self._state

    def left(self, now: float) -> float:
        """Seconds until the next may ask; 0 where one may, or is just asking."""
        return 0.0 if self.opened_at is None or self._asking else max(0.0, self._until - now)

    def succeeded(self) -> bool:
        """Whether that closed it."""
        self._failures = 0
        if self.opened_at is None:
            return False
        self.opened_at, self._asking = None, False
        self._state += 1
        return True

    def failed(self, ticket: int, now: float) -> bool:
        """Whether that opened it."""
        if ticket != self._state:
            return False
        if self.opened_at is None:
            self._failures += 1
            if self._failures < self._most:
                return False
            self._pause = self._first_pause
        else:
            self._pause = min(2 * self._pause, self._longest_pause)
        opened = self.opened_at is None
        if opened:
            self.opened_at = now
        self._asking = False
        self._until = now + self._pause
        self._state += 1
        return opened

    def abandoned(self, ticket: int) -> None:
        """Who asked went away without having heard anything."""
        if ticket == self._state:
            self._asking = False
