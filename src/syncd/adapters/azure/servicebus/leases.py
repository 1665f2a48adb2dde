"""What is held: by which lock, until when, and whether it is still ours.

A lock is the entity's: five seconds to five minutes, whatever a lease was asked for. It is renewed when half of what was left of it
is gone, for as long as the lease is held: until it is settled, or until `until` where it was abandoned or extended. Times are by the
monotonic clock, so a wall clock that is set has no say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from syncd.domain.messages import Lane
from syncd.ports.queue import Delivery, Settlement

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage

    from syncd.adapters.azure.servicebus.link import Link
    from syncd.adapters.azure.servicebus.wire import Received


class HeldLease:
    """The port's Lease. Changed on the I/O thread only, except for `until` and `renewing`; read from any."""

    __slots__ = (
        "_locked_until",
        "_monotonic",
        "duration",
        "ended",
        "lane",
        "link",
        "lock_ends",
        "message",
        "renew_at",
        "renewing",
        "sequence",
        "session",
        "settled_by",
        "until",
    )

    def __init__(
        self,
        link: Link,
        message: ServiceBusReceivedMessage,
        *,
        lane: Lane,
        read: Received,
        left: float,
        lock_ends: float | None,
        monotonic: Callable[[], float],
    ) -> None:
        self.link = link
        self.message = message
        self.lane = lane
        self.sequence = read.sequence
        self.session = read.session
        self.duration = left
        self.until: float | None = None
        """Given up at this time; None while somebody works on it."""
        self.renewing = True
        self.ended = False
        self.settled_by: Settlement | None = None
        self._monotonic = monotonic
        self._locked_until = lock_ends or 0.0
        self.lock_ends = monotonic() + left
        self.renew_at = self.lock_ends - left / 2

    def renewed(self, until: float) -> None:
        """Locked until then, by the broker's clock: as much longer as that is later than it was."""
        self.lock_ends += until - self._locked_until
        self._locked_until = until
        now = self._monotonic()
        self.renew_at = now + (self.lock_ends - now) / 2

    @property
    def lost(self) -> bool:
        if self.ended:
            return True
        now = self._monotonic()
        return now >= self.lock_ends or (self.until is not None and now >= self.until)

    def abandon(self) -> None:
        self.renewing = False
        self.until = self._monotonic() + self.duration

    def extend(self, duration: float) -> bool:
        if self.lost:
            return False
        if self.until is not None:
            self.renewing = True
            self.until = self._monotonic() + duration
        return True


def held(delivery: Delivery) -> HeldLease:
    assert isinstance(delivery.lease, HeldLease)
    return delivery.lease
