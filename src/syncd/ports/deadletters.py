"""What a broker itself has put aside: too many deliveries, too old. A net under everything, drained into `parked` by maintenance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from syncd.ports.queue import Delivery, Queue


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter leased to us: once it is kept elsewhere, settle its delivery with Complete; with Release it stays."""

    delivery: Delivery
    reason: str
    """The broker's word, as `MaxDeliveryCountExceeded` or `TTLExpiredException`."""
    description: str


class DeadLetters(Protocol):
    """Offered by a queue whose backend keeps dead letters of its own. May raise Overloaded or Unavailable."""

    async def dead_letters(self, queue: str, *, limit: int = 100) -> list[DeadLetter]:
        """Lease up to `limit` of them, oldest first; empty where there are none. Their leases are renewed until they are settled."""
        ...


class BrokerQueue(Queue, DeadLetters, Protocol):
    """A queue with dead letters of its own."""
