"""problem+json: the table from errors to answers is complete, and an answer tells no internals."""

from __future__ import annotations

import json

import pytest

from syncd.domain import errors
from syncd.http import problem


def every_error(kind: type[errors.SyncdError] = errors.SyncdError) -> list[type[errors.SyncdError]]:
    """Of the domain: what other layers derive from these for themselves answers as its ancestor."""
    children = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return [found for child in children for found in (child, *every_error(child))]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_of_ours_has_its_own_line_in_the_table(kind: type[errors.SyncdError]) -> None:
    assert kind in problem.STATUS


def test_an_error_without_a_line_answers_as_its_nearest_ancestor() -> None:
    class Odd(errors.Throttled):
        pass

    try:
        assert problem.status_of(Odd("slow down")) == 429
    finally:
        del Odd


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Invalid("no"), 400),
        (errors.NotUnderstood("no"), 422),
        (errors.TooLarge("no"), 413),
        (errors.Unauthorized("no"), 401),
        (errors.Forbidden("no"), 403),
        (errors.NotFound("no"), 404),
        (errors.Conflict("no"), 409),
        (errors.Held("no"), 409),
        (errors.Throttled("no"), 429),
        (errors.Overloaded("no"), 503),
        (errors.Unavailable("no"), 503),
        (errors.TimedOut("no"), 504),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_an_error_becomes_its_status(error: errors.SyncdError, status: int) -> None:
    answer = problem.of_error(error)
    assert answer.status == status
    assert answer.content_type == "application/problem+json"
    body = json.loads(answer.body)  # type: ignore[arg-type] # bytes here
    assert body["status"] == status
    assert body["detail"] == "no"
    assert body["title"]
    assert body["type"].startswith("urn:syncd:problem:")


def test_fields_that_are_wrong_are_listed_with_their_paths() -> None:
    answer = problem.of_error(errors.Invalid("no", errors={"entities.issue.direction": "must be one of a, b"}))
    body = json.loads(answer.body)  # type: ignore[arg-type] # bytes here
    assert body["errors"] == [{"field": "entities.issue.direction", "detail": "must be one of a, b"}]


@pytest.mark.parametrize(("seconds", "header"), [(None, "5"), (0.0, "1"), (0.2, "1"), (1.0, "1"), (29.4, "30")])
def test_a_temporary_refusal_says_when_in_whole_seconds(seconds: float | None, header: str) -> None:
    for error in (errors.Overloaded("no", retry_after=seconds), errors.Throttled("no", retry_after=seconds)):
        assert problem.of_error(error).headers["Retry-After"] == header


def test_a_refusal_for_good_names_no_time() -> None:
    assert "Retry-After" not in problem.of_error(errors.Invalid("no")).headers


def test_who_is_not_known_is_told_how_to_log_in() -> None:
    assert problem.of_error(errors.Unauthorized("no")).headers["WWW-Authenticate"].startswith("Bearer")


def test_a_text_that_utf8_cannot_hold_still_makes_an_answer() -> None:
    answer = problem.of_error(errors.NotFound("there is no '\udce4'"))
    assert json.loads(answer.body)["status"] == 404  # type: ignore[arg-type] # bytes here
