"""Asking a queue that may be away: the breaker around every send, and what it says to people."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from syncd.domain.breaker import Breaker
from syncd.domain.errors import Invalid, SyncdError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syncd.ports.clock import Clock
    from syncd.ports.observe import Observe


class QueueGuard:
    def __init__(self, *, clock: Clock, observe: Observe, breaker: Breaker | None = None) -> None:
        self._clock = clock
        self._observe = observe
        self._breaker = breaker or Breaker()
        self._reason = ""

    @contextmanager
    def asking(self, *, tells: bool = True) -> Iterator[None]:
        """Around one question to the queue. Raises Unavailable instead where it is to be left alone for now. `tells`: whether a
        failure is one of the queue."""
        ticket = self._breaker.admit(self._clock.monotonic())
        if ticket is None:
            raise Unavailable(f"the queue does not take events: {self._reason}", retry_after=self.pause)
        try:
            yield
        except SyncdError as error:
            # What is Invalid was refused for what it is.
            self._failed(ticket, error if tells and not isinstance(error, Invalid) else None)
            raise
        except BaseException:
            self._failed(ticket, None)
            raise
        self._answered()

    def _failed(self, ticket: int, error: SyncdError | None) -> None:
        if error is None:
            self._breaker.abandoned(ticket)
            return
        self._reason = str(error)
        if self._breaker.failed(ticket, self._clock.monotonic()):
            self._observe("webhook_breaker_opened", error=self._reason)

    def _answered(self) -> None:
        opened_at = self._breaker.opened_at
        if self._breaker.succeeded() and opened_at is not None:
            self._observe("webhook_breaker_closed", duration=self._clock.monotonic() - opened_at)

    @property
    def pause(self) -> float:
        """Seconds for which nobody asks."""
        return self._breaker.left(self._clock.monotonic())

    @property
    def away(self) -> str | None:
        """Since when and why it is left alone; None while it takes events."""
        since = self._breaker.opened_at
        if since is None:
            return None
        return f"the queue has taken no event for {self._clock.monotonic() - since:.0f} s ({self._reason})"
