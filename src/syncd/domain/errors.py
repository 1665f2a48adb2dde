"""Everything that can go wrong, as facts that steer the runtime.

    SyncdError
    ├── Invalid                  the caller asked for something that no retry makes right
    │   ├── NotUnderstood        authentic input that we cannot read: kept raw, parked
    │   └── TooLarge             more bytes than are taken here
    ├── NotFound                 the thing asked for does not exist
    ├── Conflict                 a compare-and-set or put-if-absent lost; re-read and decide again
    ├── LeaseLost                somebody else may own this work now; drop the outcome
    ├── Held                     stopped before it does harm: a person must let it through
    ├── Forbidden                this principal may not do that
    ├── Unauthorized             who is asking could not be established
    ├── StoreUnusable            the data directory cannot be used, and nothing in it was changed (exit 1)
    └── Failure                  outside systems; every subclass states its retry facts
        ├── Overloaded           we refuse for now: a bounded inbox or the disk is full
        ├── Throttled            they refuse for now: 429, 503 + Retry-After, request units exhausted
        ├── Unavailable          connection refused, reset, DNS, a failing disk: certainly not processed
        ├── TimedOut             no answer in time: may have been processed
        ├── ServerFault          5xx: may have been processed
        ├── Rejected             4xx: the tenant must act
        └── AuthenticationFailed the credential is refused: the tenant must act
            └── InvalidGrant     the refresh token is spent or revoked

`domain.retry` reads the class attributes below; nothing else in syncd looks at the type of an error to decide about a retry.
"""

from __future__ import annotations

from typing import ClassVar, Literal

#: Who has to act on a parked message, or what stopped it.
Bin = Literal["tenant_must_act", "we_must_act", "exhausted", "poison", "expired", "outcome_unknown", "not_understood"]
BINS: tuple[Bin, ...] = (
    "tenant_must_act",
    "we_must_act",
    "exhausted",
    "poison",
    "expired",
    "outcome_unknown",
    "not_understood",
)

RetryKind = Literal["never", "backoff", "snooze"]


class SyncdError(Exception):
    """Root of all errors that syncd raises itself.

    `retry`: `never` parks, `backoff` counts an attempt, `snooze` waits without counting one.
    `bin`: where the message goes once it is not retried any more.
    `label`: a stable word for metrics and logs.
    `maybe_processed`: the other side may have done what was asked.
    """

    retry: ClassVar[RetryKind] = "backoff"
    bin: ClassVar[Bin] = "we_must_act"
    label: ClassVar[str] = "internal"
    maybe_processed: ClassVar[bool] = False


class Invalid(SyncdError):
    """The request cannot be right at any time. `errors` maps a field path to what is wrong with it."""

    retry: ClassVar[RetryKind] = "never"
    bin: ClassVar[Bin] = "tenant_must_act"
    label: ClassVar[str] = "invalid"

    def __init__(self, message: str, *, errors: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.errors = errors or {}


class NotUnderstood(Invalid):
    """Authentic, but we cannot read it. Never dropped: parked with its raw bytes."""

    bin: ClassVar[Bin] = "not_understood"
    label: ClassVar[str] = "not_understood"


class TooLarge(Invalid):
    label: ClassVar[str] = "too_large"


class NotFound(SyncdError):
    retry: ClassVar[RetryKind] = "never"
    bin: ClassVar[Bin] = "tenant_must_act"
    label: ClassVar[str] = "not_found"


class Conflict(SyncdError):
    """A compare-and-set lost, or the id exists. `index` names the write of a batch that lost."""

    label: ClassVar[str] = "conflict"

    def __init__(self, message: str, *, index: int = 0) -> None:
        super().__init__(message)
        self.index = index


class LeaseLost(SyncdError):
    # Whoever took the work over ends it; what is left of ours looks again later and finds it done.
    retry: ClassVar[RetryKind] = "snooze"
    label: ClassVar[str] = "lease_lost"


class Held(SyncdError):
    """More deletions than anybody means by accident (guarantees, G10). Nothing of them was done."""

    retry: ClassVar[RetryKind] = "never"
    bin: ClassVar[Bin] = "tenant_must_act"
    label: ClassVar[str] = "held"


class Forbidden(SyncdError):
    retry: ClassVar[RetryKind] = "never"
    bin: ClassVar[Bin] = "tenant_must_act"
    label: ClassVar[str] = "forbidden"


class Unauthorized(SyncdError):
    retry: ClassVar[RetryKind] = "never"
    bin: ClassVar[Bin] = "tenant_must_act"
    label: ClassVar[str] = "unauthorized"


class StoreUnusable(SyncdError):
    """Corrupt, locked by another process, not writable, or written by a newer release. Nothing was overwritten."""

    retry: ClassVar[RetryKind] = "never"
    label: ClassVar[str] = "store_unusable"


class Failure(SyncdError):
    """An outside system did not do what was asked. `retry_after` is in seconds, None where nobody said."""

    label: ClassVar[str] = "failure"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(Failure):
    retry: ClassVar[RetryKind] = "snooze"
    label: ClassVar[str] = "overloaded"


class Throttled(Failure):
    """`reservation`: the turn that our limiter holds for the caller, who comes back with it after `retry_after`."""

    retry: ClassVar[RetryKind] = "snooze"
    label: ClassVar[str] = "throttled"

    def __init__(self, message: str, *, retry_after: float | None = None, reservation: str | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.reservation = reservation


class Unavailable(Failure):
    bin: ClassVar[Bin] = "exhausted"
    label: ClassVar[str] = "connection"


class TimedOut(Failure):
    bin: ClassVar[Bin] = "exhausted"
    label: ClassVar[str] = "timeout"
    maybe_processed: ClassVar[bool] = True


class ServerFault(Failure):
    bin: ClassVar[Bin] = "exhausted"
    label: ClassVar[str] = "server_fault"
    maybe_processed: ClassVar[bool] = True


class Rejected(Failure):
    retry: ClassVar[RetryKind] = "never"
    bin: ClassVar[Bin] = "tenant_must_act"
    label: ClassVar[str] = "rejected"


class AuthenticationFailed(Failure):
    retry: ClassVar[RetryKind] = "never"
    bin: ClassVar[Bin] = "tenant_must_act"
    label: ClassVar[str] = "authentication"


class InvalidGrant(AuthenticationFailed):
    label: ClassVar[str] = "invalid_grant"
