"""Tasks as they are stored, and the steps between their states."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.errors import Conflict, Invalid
from syncd.domain.tasks import (
    ENDED,
    KEPT,
    STATUSES,
    SyncTask,
    origin_of,
    result_id,
    result_partition,
    schedule_of,
    stored_as,
)
from syncd.domain.tasksteps import (
    LEASE,
    STUCK,
    cancelled,
    finished,
    judged,
    parked,
    paused,
    progressed,
    queued,
    retried,
    revived,
    running,
    ttl_of,
)
from syncd.domain.times import HOUR, iso, parse

NOW = parse("2026-05-20T12:30:00")
UNKNOWN = {"name": "Nightly", "stats": {"totalRuns": 3}, "x": [1, {"y": None}]}
#: Every word that a stored status may be, ours and theirs, and what is none.
WORDS = [*STATUSES, "processing", "completed", "active", "paused", "error", "disabled", "odd", None]


def task(**fields: Any) -> dict[str, Any]:
    return {"tenantId": "t", "status": "pending", "generation": 0, **UNKNOWN, **fields}


documents = st.fixed_dictionaries(
    {"tenantId": st.just("t"), "status": st.sampled_from(WORDS)},
    optional={
        "generation": st.integers(0, 5),
        "hop": st.integers(0, 5),
        "term": st.integers(0, 5),
        "nextScheduled": st.sampled_from([iso(NOW - 60), iso(NOW + 60), None, "odd", 7]),
        "nextRunAt": st.sampled_from([iso(NOW - 60), iso(NOW + 60), None]),
        "schedule": st.sampled_from(
            [
                "every 5m",
                "0 3 * * *",
                "odd",
                None,
                7,
                {"type": "manual"},
                {"type": "cron", "config": {"expression": "x"}},
            ]
        ),
        "enabled": st.booleans(),
        "cancelRequested": st.booleans(),
        "priority": st.sampled_from(["high", "low", "odd", None]),
        "type": st.sampled_from(["scheduled", "manual", "webhook"]),
        "until": st.sampled_from([iso(NOW - 1), iso(NOW + 1)]),
        "owner": st.just("r/1"),
        "checkAt": st.sampled_from([iso(NOW - 1), iso(NOW + 1)]),
        "startedAt": st.just(iso(NOW - 5)),
        "resultId": st.just("github:202605.t~0"),
        "unknown": st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
    },
)


def steps(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every step that applies to the document, by name."""
    found: dict[str, Any] = {
        "queued": queued(data, NOW, correlation_id="c"),
        "running": running(data, NOW, owner="r/2", result_id="github:202605.t~0", hop=1, attempt=1),
        "progressed": progressed(data, NOW, progress={"fetched": 1}),
        "paused": paused(data, NOW, due=NOW + 5, progress=None),
        "finished": finished(data, NOW, status="partial", counts={"fetched": 1}, error="odd"),
        "revived": revived(data, NOW),
        "parked": parked(data, NOW, bin_name="poison", reason="odd", hop=9, attempt=1),
    }
    for name, step in (("cancelled", cancelled), ("retried", retried)):
        try:
            found[name] = step(data, NOW)
        except Conflict:
            continue
    return {name: changed for name, changed in found.items() if changed is not None}


@given(documents)
def test_no_step_changes_what_it_was_given_or_loses_a_field_that_it_does_not_know(data: dict[str, Any]) -> None:
    before = json.dumps(data)
    for changed in steps({**data, **UNKNOWN}).values():
        assert {name: changed[name] for name in UNKNOWN} == UNKNOWN
        assert changed.get("unknown") == data.get("unknown")
        json.dumps(changed, allow_nan=False)
    steps(data)
    assert json.dumps(data) == before


@given(documents)
def test_whatever_is_due_is_not_due_any_more_once_it_is_queued(data: dict[str, Any]) -> None:
    if SyncTask(data).due(NOW):
        after = queued(data, NOW, correlation_id="c")
        assert SyncTask(after).status == "queued"
        assert not SyncTask(after).due(NOW)
        ended = SyncTask(finished(after, NOW, status="succeeded", counts={}, error=None))
        assert not ended.due(NOW)
        assert ended.next_at is None or ended.next_at > NOW


@given(documents)
def test_a_term_and_a_generation_never_go_back(data: dict[str, Any]) -> None:
    before = SyncTask(data)
    for name, changed in steps(data).items():
        after = SyncTask(changed)
        assert after.generation >= before.generation
        assert after.term == before.term + (name == "running")
        assert after.status in STATUSES


@given(documents)
def test_only_one_that_can_be_heard_of_is_stuck_and_reviving_gives_it_time(data: dict[str, Any]) -> None:
    if SyncTask(data).stuck(NOW):
        assert SyncTask(data).status in ("queued", "running")
        again = revived(data, NOW)
        assert not SyncTask(again).stuck(NOW + STUCK)
        assert SyncTask(again).stuck(NOW + HOUR)
        assert SyncTask(again).hop == SyncTask(data).hop


@pytest.mark.parametrize(
    ("stored", "status", "enabled"),
    [
        ("pending", "pending", True),
        ("processing", "running", True),
        ("completed", "succeeded", True),
        ("active", "pending", True),
        ("paused", "pending", False),
        ("disabled", "pending", False),
        ("error", "failed", False),
        ("odd", "pending", True),
    ],
)
def test_stored_statuses_are_read_as_ours(stored: str, status: str, enabled: bool) -> None:
    found = SyncTask(task(status=stored))
    assert (found.status, found.enabled) == (status, enabled)


def test_every_status_is_found_under_all_its_stored_words() -> None:
    assert sorted(stored_as("succeeded")) == ["completed", "succeeded", "success"]
    assert set(stored_as("running")) == {"running", "processing"}
    for status in STATUSES:
        assert all(SyncTask(task(status=word)).status == status for word in stored_as(status))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"schedule": "every 15m"}, "2026-05-20T12:45:00"),
        ({"schedule": "0 3 * * *"}, "2026-05-21T03:00:00"),
        ({"schedule": "0 3 * * *", "timezone": "Europe/Brussels"}, "2026-05-21T01:00:00"),
        ({"schedule": {"type": "interval", "config": {"interval": 2, "unit": "hours"}}}, "2026-05-20T14:00:00"),
        ({"schedule": {"type": "interval", "config": {"interval": 1, "unit": "day"}}}, "2026-05-21T00:00:00"),
        (
            {"schedule": {"type": "cron", "config": {"expression": "0 3 * * *", "timezone": "America/New_York"}}},
            "2026-05-21T07:00:00",
        ),
        ({"schedule": {"type": "manual"}}, None),
        ({"schedule": {"type": "realtime", "config": {"webhookUrl": "u"}}}, None),
        ({}, None),
    ],
)
def test_the_next_time_is_set_from_the_schedule_when_a_task_is_queued(
    fields: dict[str, Any], expected: str | None
) -> None:
    changed = queued(task(status="succeeded", nextScheduled=iso(NOW), **fields), NOW, correlation_id="c")
    assert changed["nextScheduled"] == (None if expected is None else iso(parse(expected)))
    assert (changed["generation"], changed["resultId"]) == (1, None)


@pytest.mark.parametrize(
    "schedule",
    [
        "odd",
        7,
        {"type": "cron"},
        {"type": "cron", "config": {"expression": "0 3 * * *", "timezone": "Mars/Olympus"}},
        {"type": "interval", "config": {"interval": 0}},
        {"type": "interval", "config": {"interval": True}},
        {"type": "interval", "config": {"interval": 1.5}},
        {"type": "interval", "config": {"interval": 2, "unit": "moons"}},
        {"type": "interval"},
    ],
    ids=str,
)
def test_a_schedule_that_cannot_be_read_is_told_and_sets_no_time(schedule: object) -> None:
    with pytest.raises(Invalid):
        schedule_of({"schedule": schedule})
    changed = queued(task(schedule=schedule, nextScheduled=iso(NOW)), NOW, correlation_id="c")
    assert changed["nextScheduled"] is None
    assert changed["scheduleError"]


def test_a_new_generation_drops_what_belonged_to_the_one_before_and_keeps_the_term() -> None:
    ended = task(status="failed", generation=4, term=9, hop=3, attempt=2, error="odd", counts={}, startedAt=iso(NOW))
    for changed in (queued(ended, NOW, correlation_id="c"), retried(ended, NOW)):
        assert (changed["generation"], changed["hop"], changed["attempt"], changed["term"]) == (5, 0, 0, 9)
        assert not {"error", "counts", "startedAt"} & changed.keys()


@pytest.mark.parametrize(
    ("fields", "generation", "word"),
    [
        ({"status": "queued", "generation": 2}, 2, "run"),
        ({"status": "queued", "generation": 2}, 1, "done"),
        ({"status": "queued", "generation": 2}, 3, "wait"),
        ({"status": "pending", "generation": 2}, 2, "run"),
        ({"status": "parked", "generation": 2}, 2, "run"),
        ({"status": "succeeded", "generation": 2}, 2, "done"),
        ({"status": "queued", "cancelRequested": True}, 0, "cancel"),
        ({"status": "running", "owner": "r/1", "until": iso(NOW + 5)}, 0, "wait"),
        ({"status": "running", "owner": "r/2", "until": iso(NOW + 5)}, 0, "wait"),
        ({"status": "running", "owner": "r/1", "until": iso(NOW)}, 0, "run"),
        ({"status": "running", "owner": "r/1", "until": iso(NOW + 5), "cancelRequested": True}, 0, "wait"),
        ({"status": "completed"}, None, "run"),
        ({"status": "cancelled"}, None, "done"),
        ({"status": "running", "owner": "r/1", "until": iso(NOW + 5)}, None, "wait"),
        ({"status": "succeeded", "generation": 4, "origins": [["o", 4]]}, None, "done"),
        ({"status": "succeeded", "generation": 4, "origins": [["o", 3]]}, None, "done"),
        ({"status": "succeeded", "generation": 4, "origins": [["p", 4]]}, None, "run"),
    ],
)
def test_what_a_message_finds_at_its_task(fields: dict[str, Any], generation: int | None, word: str) -> None:
    verdict = judged(task(**fields), generation=generation, origin="o", now=NOW, owner="r/2", sole=False)
    assert verdict.word == word


def test_the_first_run_fixes_the_results_id_and_later_ones_keep_it() -> None:
    first = running(task(status="queued"), NOW, owner="r/1", result_id="one", hop=0, attempt=0)
    second = running(first, NOW + LEASE, owner="r/2", result_id="two", hop=3, attempt=1)
    assert (second["resultId"], second["term"], second["hop"], second["startedAt"]) == ("one", 2, 3, iso(NOW))


def test_a_task_that_ended_is_kept_as_long_as_nothing_begins_it_again() -> None:
    ended = finished(task(status="running"), NOW, status="succeeded", counts={}, error=None)
    assert ttl_of(ended) == KEPT
    assert ttl_of({**ended, "nextScheduled": iso(NOW + 5)}) is None
    assert ttl_of(task(status="queued")) is None


def test_the_patience_with_a_stuck_task_doubles_up_to_an_hour() -> None:
    data, waits = task(status="queued"), []
    for _ in range(8):
        data = revived(data, NOW)
        waits.append(parse(data["checkAt"]) - NOW)
    assert waits == [360.0, 720.0, 1440.0, 2880.0, 3600.0, 3600.0, 3600.0, 3600.0]


@given(
    st.from_regex(r"[a-z][a-z0-9._-]{0,9}", fullmatch=True),
    st.text("ab.~:", min_size=1, max_size=12),
    st.integers(0, 9),
)
def test_a_results_id_finds_its_partition_whatever_dots_are_in_it(integration: str, task_id: str, number: int) -> None:
    identifier = result_id(integration, task_id, number, NOW)
    assert result_partition(identifier) == f"{integration}:202605"
    assert identifier == f"{integration}:202605.{origin_of(task_id, number)}"


@pytest.mark.parametrize("identifier", ["", "x", "a.b", "a:2026.b", "a:202605", "a:202605.", ":202605.x", "a:2026ab.x"])
def test_what_is_no_results_id_is_refused(identifier: str) -> None:
    with pytest.raises(Invalid):
        result_partition(identifier)


def test_ended_is_what_only_a_schedule_or_a_person_begins_again() -> None:
    assert frozenset({"succeeded", "partial", "failed", "cancelled"}) == ENDED
