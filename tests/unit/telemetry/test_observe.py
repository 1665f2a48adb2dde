from __future__ import annotations

import pytest

from syncd.domain.errors import BINS, Unavailable
from syncd.telemetry.events import EVENTS
from syncd.telemetry.metrics import Metrics
from syncd.telemetry.observe import UNKNOWN_EVENTS, Telemetry
from syncd.telemetry.rows import Event

Line = tuple[str, str, dict[str, object]]


class Recorder:
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def debug(self, event: str, /, **fields: object) -> None:
        self.lines.append(("debug", event, fields))

    def info(self, event: str, /, **fields: object) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, /, **fields: object) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, /, **fields: object) -> None:
        self.lines.append(("error", event, fields))


@pytest.fixture
def log() -> Recorder:
    return Recorder()


@pytest.fixture
def telemetry(log: Recorder) -> Telemetry:
    return Telemetry(logger=log, sample=10, slow=2.0)


def test_an_accepted_webhook_counts_and_is_timed_in_milliseconds(telemetry: Telemetry) -> None:
    telemetry.observe("webhook_accepted", registration="r", duration=0.0034)
    assert telemetry.metrics.value("webhook_success") == 1
    histogram = telemetry.metrics.histograms["webhook_latency_ms"].labelled()
    assert (histogram.count, histogram.sum) == (1, pytest.approx(3.4))


def test_a_duplicate_is_no_success(telemetry: Telemetry) -> None:
    telemetry.observe("webhook_accepted", registration="r", duplicate=True)
    telemetry.observe("webhook_accepted", registration="r", duplicate=False)
    assert telemetry.metrics.value("webhook_success") == 1
    assert telemetry.metrics.value("webhook_duplicates") == 1


def test_rejected_webhooks_are_counted_by_reason_and_a_flood_of_them_is_one_line_in_a_while(log: Recorder) -> None:
    now = 1000.0
    telemetry = Telemetry(logger=log, monotonic=lambda: now)
    for _ in range(1000):
        telemetry.observe("webhook_rejected", registration="r", reason="unauthorized")
    telemetry.observe("webhook_rejected", registration="r", reason="too_large")
    telemetry.observe("webhook_rejected", registration="s", reason="unauthorized")
    telemetry.observe("webhook_rejected", reason="unknown")
    now += EVENTS["webhook_rejected"].sampled.every  # type: ignore[union-attr]  # it has one, or this fails
    for _ in range(3):
        telemetry.observe("webhook_rejected", registration="r", reason="unauthorized")
    told = [(fields.get("registration"), fields["reason"], fields.get("suppressed")) for _, _, fields in log.lines]
    assert told == [
        ("r", "unauthorized", None),
        ("r", "too_large", None),
        ("s", "unauthorized", None),
        (None, "unknown", None),
        ("r", "unauthorized", 999),
    ]
    assert {(level, fields["function"]) for level, _, fields in log.lines} == {("warning", "WebhookReceiver")}
    assert telemetry.metrics.value("webhook_rejected", "unauthorized") == 1004


@pytest.mark.parametrize(
    ("queue", "operation", "function"),
    [
        ("sync-inbound", "inbound", "SyncInboundWorker"),
        ("sync-outbound", "outbound", "SyncOutboundWorker"),
        ("azure_api", "advisor", "advisor"),
        ("mine", "other", None),
    ],
)
def test_a_unit_counts_under_the_operation_of_its_queue(
    telemetry: Telemetry, log: Recorder, queue: str, operation: str, function: str | None
) -> None:
    telemetry.observe("unit_done", kind="k", queue=queue, outcome="done", duration=0.5)
    telemetry.observe("unit_done", kind="k", queue=queue, outcome="retry", label="timeout", duration=0.5)
    telemetry.observe("unit_done", kind="k", queue=queue, outcome="park", duration=0.5)
    telemetry.observe("unit_done", kind="k", queue=queue, outcome="continue", duration=0.5)
    assert telemetry.metrics.value(f"{operation}_success") == 1
    assert telemetry.metrics.value(f"{operation}_failed") == 2
    assert telemetry.metrics.value(f"{operation}_duration_ms") == 4
    assert telemetry.metrics.value("retries", operation, "timeout") == 1
    assert {fields.get("function") for _, _, fields in log.lines} == {function}


def test_the_daily_cost_trigger_counts_as_finops_and_unknown_is_a_failure(telemetry: Telemetry, log: Recorder) -> None:
    telemetry.observe("job_late", job="finops-daily-sync", seconds=1.5)
    telemetry.observe("job_ended", job="finops-daily-sync", status="succeeded", duration=240.0)
    telemetry.observe("job_ended", job="finops-daily-sync", status="unknown", duration=600.0)
    telemetry.observe("job_missed", job="finops-daily-sync", count=4)
    assert telemetry.metrics.value("finops_success") == 1
    assert telemetry.metrics.value("finops_failed") == 1
    assert telemetry.metrics.histograms["finops_duration_ms"].labelled().sum == 840_000
    assert telemetry.metrics.histograms["job_late_seconds"].labelled("finops-daily-sync").sum == 1.5
    assert telemetry.metrics.value("job_missed", "finops-daily-sync") == 4


def test_one_in_so_many_quick_successes_has_a_line_the_first_among_them(telemetry: Telemetry, log: Recorder) -> None:
    for n in range(25):
        telemetry.observe("unit_done", queue="sync-inbound", outcome="done", duration=0.01, n=n)
    assert [fields["n"] for _, _, fields in log.lines] == [0, 10, 20]


@pytest.mark.parametrize(
    ("facts", "level"),
    [
        ({"outcome": "retry"}, "warning"),
        ({"outcome": "park"}, "warning"),
        ({"outcome": "failed"}, "warning"),
        ({"outcome": "done", "duration": 2.0}, "info"),
    ],
)
def test_what_failed_was_slow_retried_or_parked_always_has_its_line(
    telemetry: Telemetry, log: Recorder, facts: dict[str, object], level: str
) -> None:
    for _ in range(7):
        telemetry.observe("unit_done", queue="sync-inbound", **facts)
    assert [line[0] for line in log.lines] == [level] * 7


def test_units_that_wait_for_their_turn_have_a_line_in_a_while_with_the_number_of_the_others(log: Recorder) -> None:
    now = [0.0]
    telemetry = Telemetry(logger=log, monotonic=lambda: now[0])
    for _ in range(7):
        telemetry.observe("unit_done", queue="sync-outbound", kind="push", outcome="snooze")
    telemetry.observe("unit_done", queue="sync-inbound", kind="task", outcome="snooze")
    now[0] = 10.0
    telemetry.observe("unit_done", queue="sync-outbound", kind="push", outcome="snooze")
    assert [(level, fields.get("suppressed")) for level, _, fields in log.lines] == [
        ("info", None),
        ("info", None),
        ("info", 6),
    ]


def test_a_sample_changed_by_a_reload_takes_effect_at_once(telemetry: Telemetry, log: Recorder) -> None:
    telemetry.sample = 1
    for _ in range(4):
        telemetry.observe("unit_done", queue="sync-inbound", outcome="done")
    assert len(log.lines) == 4


def test_an_unknown_event_is_counted_under_its_own_name_and_logged_at_debug(
    telemetry: Telemetry, log: Recorder
) -> None:
    for _ in range(3):
        telemetry.observe("something_new", what=1)
    assert telemetry.metrics.value("something_new") == 3
    assert log.lines == [("debug", "something_new", {"what": 1})] * 3


def test_an_unknown_event_named_like_a_metric_of_another_kind_is_counted_beside_it(telemetry: Telemetry) -> None:
    telemetry.observe("webhook_latency_ms")
    assert telemetry.metrics.value("webhook_latency_ms_events") == 1
    assert telemetry.metrics.value("telemetry_failures") == 0


def test_unknown_names_are_bounded_and_odd_ones_are_counted_together(telemetry: Telemetry) -> None:
    for n in range(UNKNOWN_EVENTS + 50):
        telemetry.observe(f"invented_{n}")
    telemetry.observe("Not A Name\n")
    assert telemetry.metrics.value("events_other") == 51
    assert telemetry.metrics.value("telemetry_failures") == 0
    assert len(telemetry.metrics.counters) < UNKNOWN_EVENTS + 100


def test_an_observer_never_raises_whatever_it_is_told() -> None:
    class Broken(Recorder):
        def error(self, event: str, /, **fields: object) -> None:
            raise OSError("the disk is full")

    class Unshowable:
        def __str__(self) -> str:
            raise RuntimeError

    telemetry = Telemetry(logger=Broken())
    telemetry.observe("service_failed", service="worker", error=ValueError("x"))
    telemetry.observe("webhook_rejected", reason=Unshowable())
    telemetry.observe("engine_commit", operations="many", duration="long")
    telemetry.observe("job_missed", job=None, count=-5)
    assert telemetry.metrics.value("telemetry_failures") == 2
    assert telemetry.metrics.value("service_failures", "worker") == 1
    assert telemetry.metrics.value("job_missed", "other") == 0


def test_an_error_is_logged_with_its_traceback(telemetry: Telemetry, log: Recorder) -> None:
    error = ValueError("x")
    telemetry.observe("handler_bug", kind="webhook", error=error)
    [(level, _, fields)] = log.lines
    assert level == "error"
    assert fields["exc_info"] == (ValueError, error, None)


def test_an_error_of_ours_is_logged_with_its_text_alone(telemetry: Telemetry, log: Recorder) -> None:
    telemetry.observe("job_pass_failed", job="maintenance", error=Unavailable("the disk is full: free space on it"))
    [(level, _, fields)] = log.lines
    assert level == "error"
    assert str(fields["error"]) == "the disk is full: free space on it"
    assert "exc_info" not in fields


def test_hot_events_write_no_line(telemetry: Telemetry, log: Recorder) -> None:
    telemetry.observe("engine_commit", operations=12, duration=0.004)
    telemetry.observe("loop_lag", seconds=0.25)
    telemetry.observe("ratelimit_wait", seconds=3.0)
    assert log.lines == []
    assert telemetry.metrics.value("engine_operations") == 12
    assert telemetry.metrics.histograms["event_loop_lag_ms"].labelled().sum == 250
    assert telemetry.metrics.histograms["ratelimit_wait_seconds"].labelled().sum == 3


def test_the_table_of_events_agrees_with_itself() -> None:
    """Building every row registers every metric: a name of two kinds, or with other labels, fails here."""
    metrics = Metrics()
    Telemetry(logger=Recorder(), metrics=metrics)
    for event in EVENTS.values():
        for count in event.counts:
            assert metrics.counters[count.name].labels == count.labels
        for measure in event.measures:
            assert metrics.histograms[measure.name].labels == measure.labels


def test_a_table_of_ones_own_is_used() -> None:
    log = Recorder()
    telemetry = Telemetry(logger=log, events={"mine": Event(level="warning")})
    telemetry.observe("mine", bin=BINS[0])
    assert log.lines == [("warning", "mine", {"bin": BINS[0]})]


def test_the_documented_names_are_in_the_exposition(telemetry: Telemetry) -> None:
    telemetry.gauge("queue_depth", "About.", "queue", read=lambda: [(("q",), 1.0)])
    for queue in ("sync-inbound", "sync-outbound"):
        for outcome in ("done", "retry"):
            telemetry.observe("unit_done", queue=queue, outcome=outcome, duration=1.0)
    for job in ("sync-scheduler", "token-refresher", "finops-daily-sync"):
        for outcome in ("succeeded", "failed"):
            telemetry.observe("job_ended", job=job, status=outcome, duration=1.0)
    text = telemetry.render().decode()
    for name in [
        "tasks_scheduled_total",
        "scheduler_success_total",
        "inbound_success_total",
        "inbound_failed_total",
        "outbound_success_total",
        "outbound_failed_total",
        "refresher_success_total",
        "refresher_failed_total",
        "webhook_success_total",
        "inbound_duration_ms_count",
        "finops_success_total",
        "finops_failed_total",
        "finops_duration_ms_sum",
        "webhook_latency_ms_count",
        "queue_depth",
        "retries_total",
        "event_loop_lag_ms_count",
        "config_reload_failures_total",
        "ratelimit_wait_seconds_count",
    ]:
        assert f"\n{name}" in text
    for labelled in ("webhook_rejected_total", "job_missed_total", "job_late_seconds"):
        assert f"# TYPE {labelled} " in text
