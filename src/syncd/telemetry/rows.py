"""What a row of `events` can say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from syncd.telemetry.metrics import MILLISECONDS

Facts = Mapping[str, object]
#: `canonical`: the line of a unit of work. Always where it failed, was slow, retried or parked; else one in so many.
Lines = Literal["always", "canonical", "debug", "never"]
Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Count:
    """Adds one (or the fact `amount`) to a counter, per value of the facts `labels`; only where fact `when` is true."""

    name: str
    about: str
    labels: tuple[str, ...] = ()
    amount: str | None = None
    when: str | None = None
    unless: str | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """Adds a fact in seconds to a histogram, times `scale`. Nothing where the fact is missing."""

    name: str
    about: str
    labels: tuple[str, ...] = ()
    fact: str = "duration"
    scale: float = 1000.0
    bounds: Sequence[float] = MILLISECONDS


@dataclass(frozen=True, slots=True)
class Sampled:
    """Lines that are alike in the facts `by` are written at once the first time, then one in `every` seconds at most. A line says
    in the field `suppressed` how many like it were left out since the one before. Metrics count all."""

    by: tuple[str, ...]
    every: float = 10.0


@dataclass(frozen=True, slots=True)
class Event:
    counts: tuple[Count, ...] = ()
    measures: tuple[Measure, ...] = ()
    lines: Lines = "always"
    level: Level = "info"
    sampled: Sampled | None = None
    """For what somebody outside can make happen as often as they like, so that they cannot flood the log."""
    function: str | None = None
    """The name by which existing queries group lines."""
    operations: bool = False
    """Counts `<operation>_success`, `<operation>_failed`, `<operation>_duration_ms` and `retries`, see `events.OPERATIONS`."""
