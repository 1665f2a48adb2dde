"""Queues: hints that something is to be done. They may come twice, late or out of order; documents say what is still to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from syncd.domain.groups import GroupCap
from syncd.domain.messages import Envelope
from syncd.domain.values import immutable


@immutable()
class Message:
    """Something to send."""

    envelope: Envelope
    body: bytes = b""
    due: float | None = None
    """Unix seconds before which it is not delivered; None: at once."""
    dedupe_id: str | None = None
    """A second send with this id is absorbed for `dedupe_window`. None: the envelope's broker id, where a window is given."""
    dedupe_window: float = 0.0
    """Seconds; 0 for a message that nobody can send again (its origin was issued by this very call). Backends without the
    capability `dedupe_window` use the window of the queue."""
    durable: bool = True
    """False for what a document says as well, and what is told again by it: a backend that is a file on this machine may answer before
    it would survive a power cut. It survives the end of the process in any case."""


@dataclass(frozen=True, slots=True)
class Sent:
    """`duplicate`: absorbed, nothing new was stored. Exact where the capability says so; otherwise always False."""

    duplicate: bool = False


class Lease(Protocol):
    """The right to work on one delivery. Renewed by the adapter, off the caller's loop, until settled or abandoned."""

    @property
    def lost(self) -> bool:
        """True once somebody else may have the message: stop, record nothing."""
        ...


@immutable()
class Delivery:
    """One message leased to us."""

    queue: str
    envelope: Envelope
    body: bytes
    lease: Lease
    deliveries: int
    """How often this hop was leased, this one included. More than five: the message killed its worker each time."""
    enqueued_at: float


@immutable()
class Complete:
    """The work is done, or safely recorded elsewhere: remove the message."""

    delivery: Delivery


@immutable()
class Next:
    """Durably replace the message by `message` (the next hop); both or neither, or twice the next hop, never none."""

    delivery: Delivery
    message: Message


@immutable()
class Release:
    """Give it back unworked: deliverable at once, this delivery not counted."""

    delivery: Delivery


Settlement = Complete | Next | Release


@dataclass(frozen=True, slots=True)
class Peeked:
    """A message seen without leasing it."""

    position: str
    """Cursor: peek continues after it."""
    envelope: Envelope
    body: bytes
    state: str
    """`ready`, `leased` or `scheduled`."""
    enqueued_at: float
    due: float


@dataclass(frozen=True, slots=True)
class Depth:
    """Counts; None where the backend cannot say, `at_most` where it stopped counting."""

    ready: int | None
    leased: int | None
    scheduled: int | None
    oldest_age: float | None
    """Seconds that the oldest ready message has been waiting."""
    at_least: bool = False
    """The counts are lower bounds: the backend stopped counting before `at_most`."""


@dataclass(frozen=True, slots=True)
class QueueCapabilities:
    exact_depth: bool
    dedupe_window: bool
    """`dedupe_window` is honoured per message, and `Sent.duplicate` is exact."""
    priority_lanes: bool


class Queue(Protocol):
    """At-least-once queues with lanes, delays and leases.

    Order is kept loosely: oldest due first inside a lane, lanes offered 8:4:1. Everything takes and answers lists.
    Every method may raise Overloaded or Unavailable. Bodies are at most `inline_bytes`; larger ones go through a blob before
    they come here (claim check).
    """

    @property
    def capabilities(self) -> QueueCapabilities: ...

    async def send(self, queue: str, messages: Sequence[Message]) -> list[Sent]:
        """Returns when every message is durable; all or none are, on a backend with atomic sends."""
        ...

    async def lease(
        self, queue: str, count: int, *, duration: float, wait: float = 0.0, cap: GroupCap | None = None
    ) -> list[Delivery]:
        """Up to `count` deliverable messages, of no group more than `cap` leaves. Waits up to `wait` seconds for the first.

        Leases are for `duration` seconds and renewed by the adapter off the caller's loop until settled or abandoned.
        The delivery is counted durably before it is returned.
        """
        ...

    async def extend(self, deliveries: Sequence[Delivery], duration: float) -> list[bool]:
        """Set the leases to end `duration` seconds from now; False where one was already lost."""
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Durable when it returns. False: the lease was lost and nothing was changed for that one."""
        ...

    def abandon(self, delivery: Delivery) -> None:
        """Stop renewing. The message comes back when its lease has run out, and the delivery counts."""
        ...

    async def peek(self, queue: str, *, limit: int = 100, after: str | None = None) -> list[Peeked]:
        """Look without touching, oldest first."""
        ...

    async def depth(self, queue: str, *, at_most: int = 100_000) -> Depth: ...

    async def sweep(self, *, limit: int = 10_000) -> int:
        """Forget up to `limit` ids whose dedupe window is over; 0 where the service does it."""
        ...
