"""One unit of work as its handler sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from syncd.domain.messages import Envelope
from syncd.domain.outcomes import Outcome
from syncd.domain.retry import SYNC_RETRIES, RetryPolicy
from syncd.ports.clock import Clock
from syncd.ports.queue import Delivery


def _nothing() -> None:
    """Of work without a receiver."""


@dataclass(slots=True)
class Work:
    """A leased message with the signals its handler looks at between steps."""

    delivery: Delivery
    body: bytes
    """As sent; fetched from its blob where the message carried only a reference."""
    clock: Clock
    slice_ends: float
    """By the monotonic clock: past it the handler checkpoints and continues in another slice."""
    stopping: bool = False
    """The daemon drains, or the soft limit has passed."""
    recording: bool = False
    """The handler is over and its outcome is on its way to the store."""
    abandoned: bool = False
    """It swallowed its cancellation; its receiver and its lease were given up."""
    answered: Callable[[], None] = _nothing
    """For a handler to call once the other system has answered, and what is left only waits for the store: its receiver, and its
    place in the group, are for the next unit meanwhile."""
    let_go: bool = False
    """They are."""

    @property
    def envelope(self) -> Envelope:
        return self.delivery.envelope

    @property
    def should_pause(self) -> bool:
        """End this slice at the next safe point: checkpoint, then return Continue."""
        return self.stopping or self.delivery.lease.lost or self.clock.monotonic() >= self.slice_ends


Handle = Callable[[Work], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerLimits:
    """How long a unit may take. Seconds."""

    slice: float = 60.0
    soft_limit: float = 120.0
    """Past it `should_pause` stays true; a handler in slices ends long before."""
    hard_limit: float = 180.0
    """Past it the handler is cancelled, and abandoned if it swallows that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler(HandlerLimits):
    """What one kind of message needs."""

    handle: Handle
    retries: RetryPolicy = SYNC_RETRIES


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """How much of one queue is worked on at once."""

    minimum: int = 1
    maximum: int = 10
    group_cap: int | None = None
    """Units of one group in flight; None: half the maximum, at least one."""
    lease: float = 60.0
    """Seconds that a lease lasts after its holder has died."""

    @property
    def per_group(self) -> int:
        return self.group_cap if self.group_cap is not None else max(1, self.maximum // 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One generation's handlers and limits; a unit keeps the one it began with."""

    handlers: Mapping[str, Handler] = field(default_factory=dict)
    limits: Mapping[str, WorkerLimits] = field(default_factory=dict)
    """By queue; a queue that is not listed is not worked on by this replica."""
