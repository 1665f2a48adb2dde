"""Every event that the product observes has its row, so that an operator sees what failed without debug lines."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import syncd
from syncd.telemetry.events import EVENTS

SOURCE = Path(syncd.__file__).parent
#: Words that end `job_` where a schedule's decisions are told.
VERDICTS = ("missed", "skipped")
#: What went wrong, and would be silent at `info` if its row were missing or too quiet.
ERRORS = {
    "clock_skewed",
    "handler_bug",
    "hard_limit",
    "http_failed",
    "job_pass_failed",
    "outcome_not_recorded",
    "overlay_left_out",
    "reload_failed",
    "service_failed",
    "service_given_up",
    "spool_set_aside",
    "unit_abandoned",
    "watchdog_withheld",
}
WARNINGS = {
    "broker_busy",
    "broker_unreachable",
    "lock_lost",
    "entity_twin",
    "pull_held",
    "push_failed",
    "push_lease_lost",
    "credential_needs_reauth",
    "credential_not_refreshed",
    "clock_stepped_back",
    "cost_trigger_unknown",
    "depth_unknown",
    "duty_failed",
    "execution_not_recorded",
    "gauge_failed",
    "job_lease_lost",
    "job_missed",
    "job_not_claimed",
    "job_skipped",
    "lease_lost",
    "lease_refused",
    "limiter_failed_over",
    "limiter_forgot",
    "limiter_lost",
    "message_parked",
    "notify_failed",
    "rejection_not_recorded",
    "replay_failed",
    "spool_not_drained",
    "spool_off",
    "spool_refused",
    "stopped_at_once",
    "task_gone",
    "tasks_revived",
    "vault_awaited",
    "vault_purge_refused",
    "webhook_breaker_opened",
    "webhook_not_stored",
    "webhook_rejected",
}


def observed(tree: ast.AST) -> Iterator[ast.expr]:
    """The first argument of every call of `observe` or `_observe`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("observe", "_observe"):
                yield node.args[0]


def names(argument: ast.expr) -> set[str]:
    match argument:
        case ast.Constant(value=str(name)):
            return {name}
        case ast.IfExp(body=first, orelse=second):
            return names(first) | names(second)
        case ast.JoinedStr(values=[ast.Constant(value="job_"), ast.FormattedValue(value=ast.Name(id="word"))]):
            return {f"job_{word}" for word in VERDICTS}
    raise AssertionError(f"say here which names {ast.unparse(argument)} can be")


def test_every_observed_event_has_a_row_and_no_row_is_for_nothing_observed() -> None:
    found = {
        name
        for path in SOURCE.rglob("*.py")
        for argument in observed(ast.parse(path.read_text()))
        for name in names(argument)
    }
    assert len(found) > 40
    assert found - EVENTS.keys() == set()
    # Of flows that are not there yet: their metrics are pinned, and their rows stand ready.
    assert EVENTS.keys() - found == set()


@pytest.mark.parametrize("level", ["warning", "error"])
def test_what_went_wrong_is_seen_without_debug_lines(level: str) -> None:
    expected = ERRORS if level == "error" else WARNINGS
    loud = {name for name, row in EVENTS.items() if row.level == level and row.lines == "always"}
    assert loud == expected
