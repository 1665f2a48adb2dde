"""Topics of a message broker, as the container scaler sees them: which there are, and what waits in a subscription."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from syncd.domain.jsontypes import JsonObject


@dataclass(frozen=True, slots=True, order=True)
class Subscription:
    """Where messages of a topic wait for one kind of consumer."""

    topic: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A message that nobody has taken yet, or that is being worked on: the broker shows both alike."""

    sequence: int
    """The broker's number. Greater than that of every message which it took before."""
    message_id: str | None
    body: bytes
    properties: JsonObject
    enqueued_at: float
    """Unix seconds by the broker's clock."""
    deliveries: int
    """How often somebody has taken it and not ended it."""


class Topics(Protocol):
    """Looks, and touches nothing. May raise Overloaded or Unavailable."""

    async def subscriptions(self) -> Sequence[Subscription]: ...

    async def peek(self, subscription: Subscription, *, after: int = 0, limit: int = 100) -> list[Waiting]:
        """Up to `limit` messages whose sequence number is greater than `after`, oldest first. Those that are scheduled for later are
        left out, so fewer than `limit` may come though more wait: ask again after the last until none comes.

        Raises NotFound where there is no such subscription.
        """
        ...
