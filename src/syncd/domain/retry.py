"""When to try again, read from facts on the error's class. No isinstance ladder anywhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncd.domain.errors import SyncdError
from syncd.domain.outcomes import Outcome, Park, Retry, Snooze

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Waited where a refusal names no time. Seconds.
DEFAULT_SNOOZE = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """`delays` in seconds, one per retry; the last repeats while `max_retries` allows more."""

    delays: Sequence[float] = (1.0, 5.0, 25.0)
    max_retries: int = 3
    jitter: float = 0.2
    """Share of a delay that is drawn at random, so that a crowd that failed together does not come back together."""

    def delay(self, attempt: int, draw: float) -> float:
        """Seconds before retry number `attempt` (0 = the first). `draw` is uniform in [0, 1)."""
        base = self.delays[min(attempt, len(self.delays) - 1)]
        return base * (1 - self.jitter / 2 + self.jitter * draw)


SYNC_RETRIES = RetryPolicy()
ADVISOR_RETRIES = RetryPolicy(delays=(60.0, 120.0, 180.0), jitter=0.0)
CONNECTION_TEST_RETRIES = RetryPolicy(delays=(5.0,), max_retries=1, jitter=0.0)


def outcome_of(error: Exception, *, attempt: int, now: float, draw: float, policy: RetryPolicy) -> Outcome:
    """What becomes of a message whose handler raised `error` on its attempt number `attempt` (0 = the first)."""
    fact = error if isinstance(error, SyncdError) else None
    reason = f"{type(error).__name__}: {error}"
    retry_after: float | None = getattr(error, "retry_after", None)
    kind = fact.retry if fact else "backoff"
    if kind == "snooze":
        wait = DEFAULT_SNOOZE if retry_after is None else retry_after
        return Snooze(until=now + wait, reason=reason, reservation=getattr(error, "reservation", None))
    if kind == "never" or attempt >= policy.max_retries:
        return Park(bin=fact.bin if fact else "we_must_act", reason=reason)
    after = max(policy.delay(attempt, draw), retry_after or 0.0)
    return Retry(after=after, reason=reason, label=fact.label if fact else "internal")
