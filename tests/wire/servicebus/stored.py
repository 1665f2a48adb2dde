"""A message in an entity, with what became of it so far."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from tests.wire.servicebus.message import Message, encode
from tests.wire.servicebus.specs import Row

#: x-opt-message-state of a peeked message. Source: azure.servicebus ServiceBusMessageState.
_STATES = {"deferred": 1, "scheduled": 2}


@dataclass(slots=True, kw_only=True)
class Stored:
    message: Message
    sequence: int
    enqueued_at: float
    state: str = "active"
    due: float | None = None
    expires_at: float | None = None
    failures: int = 0
    token: bytes | None = None
    locked_until: float | None = None
    first_sequence: int | None = None
    """The number it had while it was scheduled."""
    source: str | None = None
    """The entity that dead-lettered it."""

    def encoded(self) -> bytes:
        """As a receiver gets it now."""
        return encode(
            self.message,
            sequence=self.sequence,
            enqueued_at=self.enqueued_at,
            deliveries=self.failures,
            ttl=self.message.ttl,
            locked_until=self.locked_until,
            first_sequence=self.first_sequence,
            due=self.due,
            state=_STATES.get(self.state, 0),
        )

    def row(self) -> Row:
        properties = {str(key): _plain(value) for key, value in self.message.application_properties.items()}
        return Row(
            sequence=self.sequence,
            state=self.state,
            message_id=self.message.message_id,
            session_id=self.message.session_id,
            body=self.message.body,
            properties=properties,
            deliveries=self.failures,
            enqueued_at=self.enqueued_at,
            due=self.due,
            expires_at=self.expires_at,
            locked_until=self.locked_until,
            dead_letter_reason=_text(properties.get("DeadLetterReason")),
            dead_letter_description=_text(properties.get("DeadLetterErrorDescription")),
        )


def _plain(value: object) -> str | int | float | bool | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, UUID):
        return str(value)
    return value if isinstance(value, str | int | float | bool) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
