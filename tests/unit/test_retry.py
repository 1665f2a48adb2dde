from __future__ import annotations

import pytest

from syncd.domain import errors
from syncd.domain.errors import BINS, SyncdError
from syncd.domain.outcomes import Outcome, Park, Retry, Snooze
from syncd.domain.retry import ADVISOR_RETRIES, SYNC_RETRIES, RetryPolicy, outcome_of

NOW = 1000.0


def decide(error: Exception, attempt: int = 0, policy: RetryPolicy = SYNC_RETRIES) -> Outcome:
    return outcome_of(error, attempt=attempt, now=NOW, draw=0.5, policy=policy)


@pytest.mark.parametrize(("attempt", "after"), [(0, 1.0), (1, 5.0), (2, 25.0)])
def test_sync_retries_wait_one_five_and_twenty_five_seconds(attempt: int, after: float) -> None:
    outcome = decide(errors.ServerFault("500"), attempt)
    assert isinstance(outcome, Retry)
    assert outcome.after == pytest.approx(after)


@pytest.mark.parametrize(("attempt", "after"), [(0, 60.0), (1, 120.0), (2, 180.0)])
def test_advisor_retries_are_exact(attempt: int, after: float) -> None:
    for draw in (0.0, 0.99):
        assert ADVISOR_RETRIES.delay(attempt, draw) == after


@pytest.mark.parametrize("draw", [0.0, 0.5, 0.999])
def test_jitter_stays_within_its_share(draw: float) -> None:
    assert 0.9 <= SYNC_RETRIES.delay(0, draw) <= 1.1


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (errors.ServerFault("500"), "exhausted"),
        (errors.TimedOut("slow"), "exhausted"),
        (errors.Unavailable("refused"), "exhausted"),
        (ValueError("our bug"), "we_must_act"),
    ],
)
def test_after_the_last_retry_the_bin_says_who_must_act(error: Exception, where: str) -> None:
    outcome = decide(error, attempt=3)
    assert isinstance(outcome, Park)
    assert outcome.bin == where


@pytest.mark.parametrize("error", [errors.Throttled("429"), errors.Overloaded("full")])
def test_throttling_snoozes_whatever_the_attempt(error: errors.Failure) -> None:
    for attempt in (0, 99):
        assert decide(error, attempt) == Snooze(until=NOW + 30.0, reason=f"{type(error).__name__}: {error}")


def test_a_retry_after_is_obeyed_and_lengthens_a_backoff() -> None:
    assert decide(errors.Throttled("429", retry_after=7.0)) == Snooze(until=NOW + 7.0, reason="Throttled: 429")
    slower = decide(errors.ServerFault("503", retry_after=90.0))
    assert isinstance(slower, Retry)
    assert slower.after == 90.0


@pytest.mark.parametrize(
    "error",
    [errors.Rejected("422"), errors.AuthenticationFailed("401"), errors.InvalidGrant("spent"), errors.Invalid("bad")],
)
def test_what_no_retry_mends_is_parked_for_the_tenant_at_once(error: SyncdError) -> None:
    outcome = decide(error)
    assert isinstance(outcome, Park)
    assert outcome.bin == "tenant_must_act"


def _all_errors(root: type[SyncdError]) -> list[type[SyncdError]]:
    return [root, *(found for child in root.__subclasses__() for found in _all_errors(child))]


def test_every_error_states_facts_that_the_runtime_knows() -> None:
    for kind in _all_errors(SyncdError):
        assert kind.retry in ("never", "backoff", "snooze"), kind
        assert kind.bin in BINS, kind
        assert kind.label, kind
