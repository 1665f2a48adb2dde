"""How far a pull is: when the watermark moves, and when it must not."""

from __future__ import annotations

import pytest

from syncd.domain.jsontypes import JsonObject
from syncd.domain.pullcursor import advanced, begun, blank, doubted, finished, leased
from syncd.domain.times import HOUR, iso

NOW = 1_700_000_000.0


def run(
    data: JsonObject,
    name: str,
    *,
    at: float,
    query: str = "q",
    since: float | None = None,
    full: bool = False,
    incremental: bool = True,
    error: str | None = None,
) -> JsonObject:
    """One run of one page, answered at `at`."""
    data = begun(data, run_id=name, query=query, full=full, incremental=incremental, since=since, lag=60)
    data = leased(data, owner="me", now=at)
    data = advanced(data, counts={}, failures=[], following=None, served_at=at, validator=name, now=at)
    return finished(data, now=at, error=error)


@pytest.fixture
def pulled() -> JsonObject:
    """After a first whole run at NOW."""
    return run(blank("t", "crm", "contact"), "one", at=NOW)


def test_a_run_begins_a_little_before_the_end_of_the_last_one(pulled: JsonObject) -> None:
    following = run(pulled, "two", at=NOW + HOUR)
    assert (following["run"]["since"], following["watermark"]) == (iso(NOW - 60), iso(NOW + HOUR))


def test_a_run_from_before_the_watermark_moves_it(pulled: JsonObject) -> None:
    data = run(pulled, "two", at=NOW + HOUR, since=NOW - HOUR)
    assert (data["run"]["since"], data["watermark"]) == (iso(NOW - HOUR), iso(NOW + HOUR))


def test_a_run_from_behind_the_watermark_leaves_it_because_nobody_read_what_lies_between(pulled: JsonObject) -> None:
    data = run(pulled, "two", at=NOW + HOUR)
    data = run(data, "three", at=NOW + 3 * HOUR, since=NOW + 2 * HOUR)
    assert (data["watermark"], data["validator"]) == (iso(NOW + HOUR), "two")
    assert run(data, "four", at=NOW + 4 * HOUR)["run"]["since"] == iso(NOW + HOUR - 60)


def test_a_first_run_from_a_time_leaves_everything_before_it_to_be_read() -> None:
    data = run(blank("t", "crm", "contact"), "one", at=NOW, since=NOW - HOUR)
    assert "watermark" not in data
    assert run(data, "two", at=NOW + HOUR)["run"]["full"]


def test_a_time_means_nothing_where_a_provider_cannot_be_asked_for_changes(pulled: JsonObject) -> None:
    data = run(pulled, "two", at=NOW + HOUR, since=NOW, incremental=False)
    assert (data["run"]["since"], data["run"]["full"], data["watermark"]) == (None, True, iso(NOW + HOUR))


@pytest.mark.parametrize("since", [None, NOW - HOUR])
def test_asked_for_something_else_everything_is_read_also_after_a_run_that_failed(
    pulled: JsonObject, since: float | None
) -> None:
    data = run(pulled, "two", at=NOW + HOUR, query="another", since=since, error=None if since else "broken")
    assert "watermark" not in data
    assert run(data, "three", at=NOW + HOUR, query="another")["run"]["full"]


@pytest.mark.parametrize(
    ("served_at", "doubt"),
    [(None, True), (NOW, False), (NOW - 9 * HOUR, False), (NOW + 600, False), (NOW + 601, True), (NOW + HOUR, True)],
)
def test_a_date_that_is_missing_or_ahead_is_not_believed(served_at: float | None, doubt: bool) -> None:
    assert doubted(served_at, NOW) is doubt


def test_without_a_date_the_watermark_is_the_latest_change_less_what_the_run_had_taken_by_then() -> None:
    data = begun(
        blank("t", "crm", "contact"), run_id="one", query="q", full=False, incremental=True, since=None, lag=60
    )
    data = leased(data, owner="me", now=NOW)
    for page, newest in enumerate((NOW - 500, None, NOW - 10, NOW + 15)):
        data = advanced(
            data,
            counts={},
            failures=[],
            following=f"{page + 1}",
            served_at=None,
            validator=None,
            now=NOW + 20 * page,
            asked_at=NOW + 10 * page,
            newest=newest,
        )
    data = finished(data, now=NOW + 100)
    assert data["watermark"] == iso(NOW - 15), "NOW + 15, seen 30 s after the first page was asked for"
    behind = run(data, "two", at=NOW + HOUR)
    assert behind["watermark"] == iso(NOW + HOUR)
