"""The rate limiter of one process. Everything happens between two awaits of one event loop, so there is nothing to lock."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Sequence

from syncd.domain.ratelimit import MAX_BOOKINGS, Ledger
from syncd.ports.clock import Clock
from syncd.ports.limiter import Decision, Level

#: How long a `token` is remembered, so that a decision sent again is the same decision. Seconds: far longer than any resend.
TOKEN_MEMORY = 300.0
#: Added to every wait that is told, so that rounding (0.2 us in a Unix time) does not bring a caller back too early. Seconds.
_MARGIN = 1e-6


class EmbeddedLimiter:
    """Implements the port `Limiter`, on the monotonic clock: setting the wall clock back opens no window.

    It begins empty, so a restart forgets what was used and booked: a limit that counts elsewhere, too, may then answer 429 for
    the rest of its window, which callers honour anyway. Raises Invalid for a cost that can never pass.
    """

    def __init__(self, *, clock: Clock, max_reservations: int = MAX_BOOKINGS) -> None:
        self._clock = clock
        self._ledger = Ledger(boot=secrets.token_hex(6), max_bookings=max_reservations)
        self._tokens: dict[str, Decision | str] = {}
        self._forget: deque[tuple[float, str]] = deque()

    @property
    def keys(self) -> int:
        """Keys in memory, for a gauge."""
        return self._ledger.keys

    @property
    def reservations(self) -> int:
        return self._ledger.bookings

    async def take(
        self,
        levels: Sequence[Level],
        *,
        cost: int = 1,
        reserve: bool = False,
        reservation: str | None = None,
        token: str | None = None,
    ) -> Decision:
        now = self._clock.monotonic()
        if token is not None:
            known = self._recall(now, token)
            if isinstance(known, Decision):
                return known
            reservation = reservation or known
        allowed, remaining, at, booking = self._ledger.take(
            now, levels, cost=cost, reserve=reserve, booking=reservation
        )
        if allowed:
            decision = Decision(True, remaining, self._clock.now() + (at - now))
            if token is not None:
                self._remember(now, token, decision)
            return decision
        wait = at - now + _MARGIN
        if token is not None and booking is not None:
            self._remember(now, token, booking)
        return Decision(False, remaining, self._clock.now() + wait, wait, booking)

    async def charge(self, levels: Sequence[Level], cost: int) -> None:
        self._ledger.charge(self._clock.monotonic(), levels, cost)

    async def release(self, reservation: str) -> None:
        self._ledger.release(reservation)

    def _recall(self, now: float, token: str) -> Decision | str | None:
        while self._forget and self._forget[0][0] <= now:
            self._tokens.pop(self._forget.popleft()[1], None)
        return self._tokens.get(token)

    def _remember(self, now: float, token: str, what: Decision | str) -> None:
        """Of a refusal only the booking is kept: sent again, it asks for the same turn."""
        if token not in self._tokens:
            self._forget.append((now + TOKEN_MEMORY, token))
        self._tokens[token] = what
