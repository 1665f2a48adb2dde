"""The metrics as Prometheus text.

prometheus_client is imported at the first scrape: it costs a tenth of a second, and a daemon that nobody scrapes needs none.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from syncd.ports.observe import Observe, ignore
from syncd.telemetry.metrics import Gauge, Metrics, Readings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric


class Exposition:
    """Implements prometheus_client's `Collector`; `render()` is what /metrics answers.

    Names carry no prefix; Prometheus adds its own suffixes (`_total`, `_bucket`, `_sum`, `_count`). A gauge that cannot be read
    is left out of that scrape and reported as `gauge_failed`.
    """

    def __init__(self, metrics: Metrics, *, observe: Observe = ignore) -> None:
        self._metrics = metrics
        self._observe = observe
        self._render: Callable[[CollectorRegistry], bytes] | None = None
        self._registry: CollectorRegistry | None = None

    def render(self) -> bytes:
        if self._render is None:
            # Called by name, so that the import is not taken for one of start-up.
            self._render = importlib.import_module("prometheus_client").generate_latest
            registry = importlib.import_module("prometheus_client.registry").CollectorRegistry(auto_describe=False)
            registry.register(self)
            self._registry = registry
        assert self._registry is not None
        return self._render(self._registry)

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        for counters in list(self._metrics.counters.values()):
            counted = CounterMetricFamily(counters.name, counters.help, labels=counters.labels)
            for labels, counter in list(counters.children.items()):
                counted.add_metric(labels, counter.value)
            yield counted
        for gauge in list(self._metrics.gauges.values()):
            read = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
            for labels, value in self._read(gauge):
                read.add_metric(labels, value)
            yield read
        for histograms in list(self._metrics.histograms.values()):
            measured = HistogramMetricFamily(histograms.name, histograms.help, labels=histograms.labels)
            for labels, histogram in list(histograms.children.items()):
                buckets: list[tuple[str, float]] = []
                below = 0
                for bound, count in zip((*histogram.bounds, float("inf")), list(histogram.counts), strict=True):
                    below += count
                    buckets.append(("+Inf" if bound == float("inf") else f"{bound:g}", below))
                measured.add_metric(labels, buckets, sum_value=histogram.sum)
            yield measured

    def _read(self, gauge: Gauge) -> Readings:
        try:
            return list(gauge.read())
        except Exception as error:  # noqa: BLE001 - a part that cannot answer must not hide the others
            self._observe("gauge_failed", gauge=gauge.name, error=error)
            return []
