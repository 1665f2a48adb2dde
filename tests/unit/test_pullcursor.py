from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.pullcursor import (
    LEASE,
    MOST_FAILURES,
    advanced,
    begun,
    blank,
    finished,
    free_at,
    given_up,
    in_circle,
    leased,
    query_hash,
    restarted,
)
from syncd.domain.times import iso, parse

NOW = 1_700_000_000.0
JsonObject = dict[str, Any]


def begin(data: JsonObject, run: str = "run", **fields: Any) -> JsonObject:
    wanted = {"query": "q", "full": False, "incremental": True, "since": None, "lag": 60.0, "limit": 100, **fields}
    return begun(data, run_id=run, **wanted)


def page(data: JsonObject, following: str | None, **fields: Any) -> JsonObject:
    facts = {"counts": {"fetched": 1}, "failures": [], "served_at": None, "validator": None, "now": NOW, **fields}
    return advanced(data, following=following, **facts)


def new() -> JsonObject:
    return leased(begin(blank("t", "crm", "contact")), owner="o", now=NOW)


@given(before=st.integers(0, 40), around=st.integers(1, 40))
def test_every_circle_of_pages_is_found_after_a_few_rounds(before: int, around: int) -> None:
    data = new()
    for step in range(1, 4 * (before + around) + 3):
        number = step if step <= before else before + (step - before) % around
        data = page(data, f"page {number}")
        if in_circle(data):
            return
    raise AssertionError("it went round and round")


@given(st.integers(1, 300))
def test_pages_that_are_all_different_are_no_circle(count: int) -> None:
    data = new()
    for step in range(count):
        data = page(data, f"page {step}")
    assert not in_circle(data)
    assert not in_circle(page(data, None))


def test_a_run_that_is_begun_again_goes_on_where_it_was() -> None:
    data = page(new(), "next")
    assert begin(data) is data
    assert begin(data, "another")["run"]["cursor"] is None


@pytest.mark.parametrize(
    ("fields", "since"),
    [
        pytest.param({}, NOW - 60, id="from the watermark, and a little before"),
        pytest.param({"full": True}, None, id="all of it is wanted"),
        pytest.param({"incremental": False}, None, id="the system cannot"),
        pytest.param({"query": "another"}, None, id="something else is asked for"),
        pytest.param({"since": NOW - 5000}, NOW - 5000, id="a person says from when"),
    ],
)
def test_where_a_run_begins(fields: JsonObject, since: float | None) -> None:
    last = finished(page(new(), None, served_at=NOW), now=NOW)
    run = begin(last, "second", **fields)["run"]
    assert (None if run["since"] is None else parse(run["since"])) == since
    assert run["full"] == (since is None)


def test_counts_add_up_and_failures_are_bounded() -> None:
    data = new()
    for number in range(5):
        failures = [{"page": number}] * 30
        data = page(data, f"p{number}", counts={"fetched": 40, "failed": 30, "created": 10}, failures=failures)
    counts = data["run"]["counts"]
    assert (counts["fetched"], counts["created"], counts["failed"], counts["updated"]) == (200, 50, 150, 0)
    assert len(data["run"]["failures"]) == MOST_FAILURES


def test_a_run_that_ended_badly_moves_no_watermark() -> None:
    bad = finished(page(new(), None, served_at=NOW), now=NOW, error="why")
    assert "watermark" not in bad
    assert bad["run"]["error"] == "why"
    assert "lease" not in bad


def test_the_watermark_is_the_clock_of_the_first_page() -> None:
    data = page(new(), "second", served_at=NOW - 100)
    ended = finished(page(data, None, served_at=NOW), now=NOW)
    assert ended["watermark"] == iso(NOW - 100)


def test_a_lease_is_renewed_by_each_page_and_free_for_the_same_run() -> None:
    data = page(new(), "next", now=NOW + 30)
    assert free_at(data, "run") is None
    assert free_at(data, "another") == NOW + 30 + LEASE
    assert free_at(given_up(data), "another") is None
    assert leased(data, owner="o", now=NOW)["term"] == 2


def test_from_the_first_page_again_everything_is_counted_anew() -> None:
    run = restarted(page(new(), "lost"))["run"]
    assert (run["cursor"], run["page"], run["counts"]["fetched"], run["restarted"]) == (None, 0, 0, True)


def test_what_is_asked_for_is_known_by_its_hash() -> None:
    assert query_hash({"a": 1, "b": 2}, "contact") == query_hash({"b": 2, "a": 1}, "contact")
    assert query_hash({"a": 1}, "contact") != query_hash({"a": 1}, "deal")
