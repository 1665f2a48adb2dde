"""Metrics as plain numbers in memory: a hot path adds to an attribute, a scrape reads them all.

Numbers are added on the event loop, or by one thread per instrument; a reader may see the moment before.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

#: Label values of one family; later ones are counted together as OTHER, so that ids from outside fill neither the memory nor
#: the monitoring system.
CARDINALITY = 200
OTHER = "other"
#: Upper bounds of buckets, milliseconds: from a webhook (a few) to a cost import (600 s).
MILLISECONDS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000)
#: Upper bounds of buckets, seconds: waiting for a turn, being late for a tick.
SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3_600, 43_200)

Labels = tuple[str, ...]
#: What a gauge's callback answers at a scrape: values by labels.
Readings = Iterable[tuple[Labels, float]]
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Counter:
    """Only ever grows: `counter.value += 1`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Histogram:
    """How many values fell under each bound, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self.counts)


Instrument = TypeVar("Instrument", Counter, Histogram)


class Family(Generic[Instrument]):
    """One name with an instrument per combination of label values, CARDINALITY of them at most."""

    __slots__ = ("_make", "children", "help", "labels", "name")

    def __init__(self, name: str, about: str, labels: Labels, make: Callable[[], Instrument]) -> None:
        self.name = name
        self.help = about
        self.labels = labels
        self._make: Callable[[], Instrument] = make
        self.children: dict[Labels, Instrument] = {} if labels else {(): make()}

    def labelled(self, *values: str) -> Instrument:
        child = self.children.get(values)
        if child is None:
            if len(self.children) >= CARDINALITY:
                values = (OTHER,) * len(self.labels)
            child = self.children.setdefault(values, self._make())
        return child


class Gauge:
    """Read when somebody looks, by asking `read`."""

    __slots__ = ("help", "labels", "name", "read")

    def __init__(self, name: str, about: str, labels: Labels, read: Callable[[], Readings]) -> None:
        self.name = name
        self.help = about
        self.labels = labels
        self.read = read


class Metrics:
    """All instruments of one process. Asking for a name again gives the same one."""

    def __init__(self) -> None:
        self.counters: dict[str, Family[Counter]] = {}
        self.histograms: dict[str, Family[Histogram]] = {}
        self.gauges: dict[str, Gauge] = {}

    def counter(self, name: str, about: str, *labels: str) -> Family[Counter]:
        if name not in self.counters:
            self._new(name)
            self.counters[name] = Family(name, about, labels, Counter)
        return self.counters[name]

    def histogram(
        self, name: str, about: str, *labels: str, bounds: Sequence[float] = MILLISECONDS
    ) -> Family[Histogram]:
        if name not in self.histograms:
            self._new(name)
            self.histograms[name] = Family(name, about, labels, lambda: Histogram(bounds))
        return self.histograms[name]

    def gauge(self, name: str, about: str, *labels: str, read: Callable[[], Readings]) -> None:
        """`read` answers at once, from what is already known. A second gauge of that name takes the place of the first: a new
        generation registers its own."""
        if name not in self.gauges:
            self._new(name)
        self.gauges[name] = Gauge(name, about, labels, read)

    def value(self, name: str, *labels: str) -> float:
        """What a counter, a gauge or a histogram's count stands at; 0 where nothing was counted."""
        if name in self.gauges:
            return dict(self.gauges[name].read()).get(labels, 0.0)
        if name in self.histograms:
            histogram = self.histograms[name].children.get(labels)
            return histogram.count if histogram else 0.0
        family = self.counters.get(name)
        counter = family.children.get(labels) if family else None
        return counter.value if counter else 0.0

    def _new(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no metric name: lower case letters, digits and '_'")
        if name in self.counters or name in self.histograms or name in self.gauges:
            raise ValueError(f"the metric {name!r} exists as another kind")
