"""A webhook event: what it is called, what it says, and which event it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from syncd.domain.errors import NotUnderstood
from syncd.domain.ids import USER_ID, digest, located
from syncd.domain.jsonbody import parse_message
from syncd.domain.times import DAY, iso, parse

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.signatures import Verified

Operation = Literal["create", "update", "delete"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
#: Characters of an external id; Cosmos DB allows 1,023 bytes of an id, and ours hashes it, but rows show it.
_MOST_EXTERNAL_ID = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """One change at a provider, as its event tells it. Raises NotUnderstood where a name cannot be one."""

    event_type: str
    entity_type: str
    entity_id: str
    """The provider's own id: stored as external id, never as ours."""
    operation: Operation
    data: JsonObject
    """The object as the provider shows it."""
    occurred_at: float | None = None
    """When the object became so, by the provider's clock; None where it does not say."""
    partial: bool = False
    """`data` holds some fields only: what is absent is not said, rather than removed."""

    def __post_init__(self) -> None:
        if not USER_ID.fullmatch(self.entity_type):
            raise NotUnderstood(f"{self.entity_type[:80]!r} cannot be the type of an entity")
        if not self.entity_id or len(self.entity_id) > _MOST_EXTERNAL_ID:
            raise NotUnderstood(
                f"the id of the {self.entity_type} is empty or longer than {_MOST_EXTERNAL_ID} characters"
            )


def generic_event(body: bytes, *, tenant_id: str | None = None) -> ReceivedEvent:
    """Read a `WebhookEvent {integrationId, tenantId, eventType, entityType, entityId, operation, data, timestamp}`: the shape of
    senders that have no provider file. One of another tenant than `tenant_id` is refused."""
    wire = parse_message(body)
    of = wire.get("tenantId")
    if of is not None and tenant_id is not None and of != tenant_id:
        raise NotUnderstood("the event names another tenant than its registration")
    operation = wire.get("operation", "update")
    if operation not in OPERATIONS:
        raise NotUnderstood(f"operation must be one of {', '.join(OPERATIONS)}")
    data = wire.get("data")
    if not isinstance(data, dict):
        raise NotUnderstood("data must be a JSON object")
    entity_type = _text_of(wire, "entityType")
    event_type = wire.get("eventType", f"{entity_type}.{operation}")
    if not isinstance(event_type, str):
        raise NotUnderstood("eventType must be text")
    stamp = wire.get("timestamp")
    return ReceivedEvent(
        event_type=event_type[:200],
        entity_type=entity_type,
        entity_id=_text_of(wire, "entityId"),
        operation=operation,
        data=data,
        occurred_at=None if stamp is None else moment_of(stamp, "timestamp"),
        partial=True,
    )


def _text_of(wire: JsonObject, name: str) -> str:
    value = wire.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise NotUnderstood(f"{name} must be text")
    return str(value)


def moment_of(value: object, name: str) -> float:
    """Unix seconds of an ISO 8601 text or of epoch seconds. Raises NotUnderstood."""
    try:
        if isinstance(value, str):
            seconds = parse(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            seconds = float(value)
        else:
            raise NotUnderstood(f"{name} must be a time")
        iso(seconds)  # what cannot be written back is no time of ours
    except (ValueError, OverflowError, OSError):
        raise NotUnderstood(f"{name} is not a time in ISO 8601") from None
    return seconds


@dataclass(frozen=True, slots=True)
class Identity:
    """Which event this is (G2). `event_id` leaves the body out, so that another body under a used delivery id meets its row;
    `dedupe_id` holds it, so that the queue does not swallow that other body; `origin_id` is the same for all hops of one message
    and tells two messages apart."""

    event_id: str
    origin_id: str
    dedupe_id: str
    dedupe_window: float
    """Seconds."""


#: In an origin id, before the time of receipt: the sender names no delivery and signs no time, so that the same body may be a new
#: event once the window is over.
_OCCURRENCE = "@"


def identify(
    registration_id: str,
    verified: Verified,
    body_hash: str,
    received_at: float,
    *,
    dedupe_window: float = 7 * DAY,
    body_dedupe_window: float = 60.0,
) -> Identity:
    """`body_hash` is hexadecimal. Windows in seconds: by delivery id or signed time, and by body alone."""
    delivery_id, short = verified.delivery_id, body_hash[:16]
    if delivery_id is not None:
        hashed = digest(registration_id, "delivery", delivery_id)
        named = (
            delivery_id if len(delivery_id) <= 64 and delivery_id.isascii() and delivery_id.isprintable() else hashed
        )
        origin, dedupe, window = f"{registration_id}/{named}/{short}", f"{hashed}{body_hash}", dedupe_window
    elif verified.timestamp is not None:
        hashed = digest(registration_id, "signed", verified.timestamp, body_hash)
        origin, dedupe, window = f"{registration_id}/{hashed}", hashed, dedupe_window
    else:
        hashed = digest(registration_id, "body", body_hash)
        origin = f"{registration_id}/{short}{_OCCURRENCE}{iso(received_at)}"
        dedupe, window = hashed, body_dedupe_window
    return Identity(located(f"{registration_id}:{hashed[0]}", hashed), origin, dedupe, window)


def known_by_body_alone(origin_id: str) -> bool:
    """Whether the event of this origin was told apart by its body and the time of receipt only."""
    return _OCCURRENCE in origin_id.rpartition("/")[2]
