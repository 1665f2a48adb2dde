"""How the broker says no: an AMQP error condition with a sentence."""

from __future__ import annotations

NOT_FOUND = "amqp:not-found"
UNAUTHORIZED = "amqp:unauthorized-access"
NOT_ALLOWED = "amqp:not-allowed"
DECODE = "amqp:decode-error"
DETACH_FORCED = "amqp:link:detach-forced"
TOO_LARGE = "amqp:link:message-size-exceeded"
RESOURCE_LIMIT = "amqp:resource-limit-exceeded"
LOCK_LOST = "com.microsoft:message-lock-lost"
MESSAGE_NOT_FOUND = "com.microsoft:message-not-found"
SESSION_LOCK_LOST = "com.microsoft:session-lock-lost"
SESSION_TAKEN = "com.microsoft:session-cannot-be-locked"
DISABLED = "com.microsoft:entity-disabled"
BUSY = "com.microsoft:server-busy"
TIMEOUT = "com.microsoft:timeout"
ARGUMENT = "com.microsoft:argument-error"
ARGUMENT_RANGE = "com.microsoft:argument-out-of-range"

#: The status of a management reply for each condition; 500 where the service's documents name none.
STATUS = {
    NOT_FOUND: 404,
    UNAUTHORIZED: 401,
    NOT_ALLOWED: 400,
    LOCK_LOST: 410,
    MESSAGE_NOT_FOUND: 404,
    SESSION_LOCK_LOST: 410,
    SESSION_TAKEN: 410,
    DISABLED: 403,
    BUSY: 503,
    TIMEOUT: 408,
    ARGUMENT: 400,
    ARGUMENT_RANGE: 400,
}


class Refused(Exception):
    """Nothing was changed."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(f"{condition}: {description}")
        self.condition = condition
        self.description = description
