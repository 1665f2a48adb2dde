"""What a test says about the entities of the namespace, and the rows in which it reads their messages."""

from __future__ import annotations

from dataclasses import dataclass, field

from syncd.domain.jsontypes import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class EntitySpec:
    """The settings that queues and subscriptions share. Durations are seconds, sizes bytes."""

    name: str
    lock_duration: float = 60.0
    max_delivery_count: int = 10
    ttl: float | None = None
    """Default and upper bound of a message's time to live; None: for ever."""
    dead_letter_on_expiration: bool = True
    requires_session: bool = False
    max_message_size: int = 262_144
    """The Standard tier's; 100 MB on Premium."""
    enabled: bool = True
    duplicate_detection: float | None = None
    """Window in seconds; None: off. Fixed when the entity is made. A subscription has none of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec(EntitySpec):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionSpec(EntitySpec):
    rule: str = "1=1"
    """SQL filter; `sys.` names the message's own fields, anything else its application properties."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    name: str
    subscriptions: tuple[SubscriptionSpec, ...] = ()
    duplicate_detection: float | None = None
    ttl: float | None = None
    max_message_size: int = 262_144
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One message as a test reads it."""

    sequence: int
    state: str
    """`active`, `locked`, `scheduled`, `deferred`; in the dead-letter queue `active` or `locked`."""
    message_id: str | None
    session_id: str | None
    body: bytes
    properties: JsonObject = field(default_factory=dict)
    deliveries: int = 0
    """Failed ones: abandoned, deferred, or the lock ran out."""
    enqueued_at: float = 0.0
    due: float | None = None
    expires_at: float | None = None
    locked_until: float | None = None
    dead_letter_reason: str | None = None
    dead_letter_description: str | None = None
