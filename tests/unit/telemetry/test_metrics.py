from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from syncd.telemetry.exposition import Exposition
from syncd.telemetry.metrics import CARDINALITY, OTHER, Histogram, Metrics


def samples(exposition: Exposition) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(exposition.render().decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def test_counters_gauges_and_histograms_are_rendered_as_prometheus_text() -> None:
    metrics = Metrics()
    metrics.counter("webhook_success", "About.").labelled().value += 3
    metrics.counter("retries", "About.", "operation", "class").labelled("inbound", "timeout").value += 2
    metrics.gauge("queue_depth", "About.", "queue", read=lambda: [(("sync-inbound",), 7.0), (('odd "name"\n',), 1.0)])
    for value in (1, 3, 700_000):
        metrics.histogram("webhook_latency_ms", "About.").labelled().add(value)
    found = samples(Exposition(metrics))
    assert found[("webhook_success_total", frozenset())] == 3
    assert found[("retries_total", frozenset({("operation", "inbound"), ("class", "timeout")}))] == 2
    assert found[("queue_depth", frozenset({("queue", "sync-inbound")}))] == 7
    assert found[("queue_depth", frozenset({("queue", 'odd "name"\n')}))] == 1
    assert found[("webhook_latency_ms_bucket", frozenset({("le", "1")}))] == 1
    assert found[("webhook_latency_ms_bucket", frozenset({("le", "5")}))] == 2
    assert found[("webhook_latency_ms_bucket", frozenset({("le", "+Inf")}))] == 3
    assert found[("webhook_latency_ms_count", frozenset())] == 3
    assert found[("webhook_latency_ms_sum", frozenset())] == 700_004


def test_an_unlabelled_counter_is_there_with_zero_before_anything_happened() -> None:
    metrics = Metrics()
    metrics.counter("config_reload_failures", "About.")
    assert samples(Exposition(metrics)) == {("config_reload_failures_total", frozenset()): 0}


def test_label_values_beyond_the_bound_are_counted_together_and_none_is_lost() -> None:
    metrics = Metrics()
    family = metrics.counter("refused", "About.", "reason")
    for n in range(3 * CARDINALITY):
        family.labelled(f"reason {n}").value += 1
    assert len(family.children) == CARDINALITY + 1
    assert family.children[(OTHER,)].value == 2 * CARDINALITY
    assert sum(child.value for child in family.children.values()) == 3 * CARDINALITY


def test_a_gauge_that_cannot_be_read_hides_no_other_and_is_reported() -> None:
    events: list[tuple[str, object]] = []

    def observe(event: str, /, **facts: object) -> None:
        events.append((event, facts["gauge"]))

    metrics = Metrics()
    metrics.gauge("broken", "About.", read=lambda: [((), 1 / 0)])
    metrics.gauge("sound", "About.", read=lambda: [((), 5.0)])
    assert samples(Exposition(metrics, observe=observe)) == {("sound", frozenset()): 5}
    assert events == [("gauge_failed", "broken")]


def test_a_gauge_registered_again_takes_the_place_of_the_first() -> None:
    metrics = Metrics()
    metrics.gauge("config_generation", "About.", read=lambda: [((), 1.0)])
    metrics.gauge("config_generation", "About.", read=lambda: [((), 2.0)])
    assert metrics.value("config_generation") == 2


@pytest.mark.parametrize("name", ["", "Upper", "with-dash", "1st", "ü"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no metric name"):
        Metrics().counter(name, "About.")


def test_one_name_cannot_be_two_kinds() -> None:
    metrics = Metrics()
    metrics.counter("units", "About.")
    with pytest.raises(ValueError, match="another kind"):
        metrics.histogram("units", "About.")


@given(st.lists(st.floats(-1e9, 1e9)), st.lists(st.integers(0, 1000), min_size=1, unique=True).map(sorted))
def test_a_histogram_counts_every_value_under_the_first_bound_that_holds_it(
    values: list[float], bounds: list[int]
) -> None:
    histogram = Histogram(bounds)
    for value in values:
        histogram.add(value)
    assert histogram.count == len(values)
    below = 0
    for bound, count in zip(bounds, histogram.counts, strict=False):
        below += count
        assert below == sum(value <= bound for value in values)


def test_prometheus_client_is_not_imported_before_the_first_scrape() -> None:
    program = (
        "import sys, syncd.telemetry.observe as o\n"
        "class L:\n"
        "    debug = info = warning = error = lambda self, *a, **k: None\n"
        "t = o.Telemetry(logger=L()); t.observe('webhook_accepted', duration=0.1)\n"
        "assert 'prometheus_client' not in sys.modules\n"
        "assert b'webhook_success_total 1.0' in t.render()\n"
        "assert 'prometheus_client' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
