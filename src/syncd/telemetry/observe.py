"""From `observe(event, **facts)` to metrics and log lines. Rows are turned into functions once; a hot event then adds to numbers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from syncd.domain.errors import SyncdError
from syncd.telemetry.events import (
    EVENTS,
    FAILED,
    OPERATIONS,
    SUCCEEDED,
    WAITING,
    outcome_in,
)
from syncd.telemetry.exposition import Exposition
from syncd.telemetry.metrics import OTHER, Counter, Histogram, Metrics, Readings
from syncd.telemetry.rows import Count, Event, Facts, Level, Measure
from syncd.telemetry.sampling import Sampling

#: Names of unknown events that get a counter each; later ones are counted together.
UNKNOWN_EVENTS = 200
#: Combinations of queue or job and outcome whose counters are kept at hand.
MOST_ENDS = 500
_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")
#: A tuple made once: `int | float` would be made anew for each event.
_NUMBERS = (int, float)

Step = Callable[[Facts], None]


class Logger(Protocol):
    """What is needed of a structlog logger."""

    def debug(self, event: str, /, **fields: object) -> object: ...
    def info(self, event: str, /, **fields: object) -> object: ...
    def warning(self, event: str, /, **fields: object) -> object: ...
    def error(self, event: str, /, **fields: object) -> object: ...


class Telemetry:
    """Implements the port `Observe` (`telemetry.observe`) and answers /metrics (`telemetry.render`).

    `sample`: one in so many canonical lines of quick successes is written. `slow`: seconds after which a unit is always written.
    Both may be changed at any time.
    """

    def __init__(
        self,
        *,
        logger: Logger,
        sample: int = 100,
        slow: float = 5.0,
        events: Mapping[str, Event] = EVENTS,
        metrics: Metrics | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.metrics = metrics or Metrics()
        self.sample = sample
        self.slow = slow
        self._logger = logger
        self._monotonic = monotonic
        self._skipped: dict[str, int] = {}
        self._failures = self.metrics.counter(
            "telemetry_failures", "Events that could not be counted or logged."
        ).labelled()
        self._unknown = 0
        self._ends: dict[tuple[str, str], tuple[Counter | None, Histogram]] = {}
        self._steps: dict[str, Step] = {name: self._step(name, event) for name, event in events.items()}
        self._exposition = Exposition(self.metrics, observe=self.observe)

    def observe(self, event: str, /, **facts: object) -> None:
        try:
            (self._steps.get(event) or self._learn(event))(facts)
        except Exception:  # noqa: BLE001 - the port promises never to raise: telemetry must not fail the work it tells about
            self._failures.value += 1

    def render(self) -> bytes:
        """Prometheus text, format 0.0.4."""
        return self._exposition.render()

    def gauge(self, name: str, about: str, *labels: str, read: Callable[[], Readings]) -> None:
        """See `Metrics.gauge`."""
        self.metrics.gauge(name, about, *labels, read=read)

    def _learn(self, event: str) -> Step:
        """An event without a row: counted under its own name, logged at debug."""
        self._unknown += 1
        if not _WORD.fullmatch(event) or self._unknown > UNKNOWN_EVENTS:
            return self._step(event, Event(counts=(Count("events_other", "Events of other names."),), lines="debug"))
        taken = event in self.metrics.histograms or event in self.metrics.gauges or event in self.metrics.counters
        name = f"{event}_events" if taken else event
        self._steps[event] = self._step(event, Event(counts=(Count(name, f"Events {event}."),), lines="debug"))
        return self._steps[event]

    def _step(self, name: str, event: Event) -> Step:
        steps: list[Step] = [self._counting(count) for count in event.counts]
        steps += [self._measuring(measure) for measure in event.measures]
        if event.operations:
            steps.append(self._operation)
        if event.lines != "never":
            steps.append(self._lines(name, event))
        return steps[0] if len(steps) == 1 else _in_turn(tuple(steps))

    def _counting(self, count: Count) -> Step:
        family = self.metrics.counter(count.name, count.about, *count.labels)
        labels, amount, when, unless = count.labels, count.amount, count.when, count.unless
        if not labels and amount is None:
            return _plain(family.labelled(), when, unless)

        def step(facts: Facts) -> None:
            if (when is None or facts.get(when)) and (unless is None or not facts.get(unless)):
                counter = family.labelled(*[_label(facts, label) for label in labels])
                counter.value += 1 if amount is None else _number(facts.get(amount))

        return step

    def _measuring(self, measure: Measure) -> Step:
        family = self.metrics.histogram(measure.name, measure.about, *measure.labels, bounds=measure.bounds)
        only: Histogram | None = None if measure.labels else family.labelled()
        labels, fact, scale = measure.labels, measure.fact, measure.scale

        def step(facts: Facts) -> None:
            value = facts.get(fact)
            if isinstance(value, _NUMBERS):
                histogram = only or family.labelled(*[_label(facts, label) for label in labels])
                histogram.add(value * scale)

        return step

    def _operation(self, facts: Facts) -> None:
        """`<operation>_success`, `_failed`, `_duration_ms` by queue or job, and `retries` by class of error."""
        name, outcome = str(facts.get("queue") or facts.get("job") or OTHER), str(outcome_in(facts))
        ended, took = self._ends.get((name, outcome)) or self._learn_end(name, outcome)
        if ended is not None:
            ended.value += 1
        if outcome == "retry":
            retries = self.metrics.counter(
                "retries", "Units that will be tried again, by class of error.", "operation", "class"
            )
            retries.labelled(OPERATIONS.get(name, (OTHER, name))[0], _label(facts, "label")).value += 1
        duration = facts.get("duration")
        if isinstance(duration, _NUMBERS):
            took.add(duration * 1000)

    def _learn_end(self, name: str, outcome: str) -> tuple[Counter | None, Histogram]:
        """What an end of this kind moves; looked up once, because every unit of work passes here."""
        operation = OPERATIONS.get(name, (OTHER, name))[0]
        ended: Counter | None = None
        if outcome in SUCCEEDED:
            ended = self.metrics.counter(f"{operation}_success", f"Units of {operation} that succeeded.").labelled()
        elif outcome in FAILED:
            ended = self.metrics.counter(f"{operation}_failed", f"Units of {operation} that failed.").labelled()
        about = f"How long units of {operation} took, milliseconds."
        took = self.metrics.histogram(f"{operation}_duration_ms", about).labelled()
        if len(self._ends) < MOST_ENDS:
            self._ends[name, outcome] = (ended, took)
        return ended, took

    def _lines(self, name: str, event: Event) -> Step:
        write: dict[Level, Callable[..., object]] = {
            "debug": self._logger.debug,
            "info": self._logger.info,
            "warning": self._logger.warning,
            "error": self._logger.error,
        }

        canonical = event.lines == "canonical"
        usual: Level = "debug" if event.lines == "debug" else event.level
        sampling = None if event.sampled is None else Sampling(event.sampled, monotonic=self._monotonic)
        # Under a limit thousands wait for their turn, each again and again: that they do is worth a line, not each of them.
        waiting = Sampling(WAITING, monotonic=self._monotonic)

        def step(facts: Facts) -> None:
            level = usual
            left_out = 0
            if canonical and outcome_in(facts) == "snooze":
                turn = waiting.turn(facts)
                if turn is None:
                    return
                left_out = turn
            elif canonical:
                noteworthy = self._noteworthy(facts)
                if noteworthy is None and self._skip(name):
                    return
                level = noteworthy or level
            fields = dict(facts)
            if sampling is not None:
                turn = sampling.turn(facts)
                if turn is None:
                    return
                left_out = turn
            if left_out:
                fields["suppressed"] = left_out
            error = facts.get("error")
            function = event.function or OPERATIONS.get(str(facts.get("queue") or facts.get("job")), (None, None))[1]
            if function is not None:
                fields.setdefault("function", function)
            # Our own errors say in their text what a person needs; a traceback beside it looks like a bug of ours.
            if isinstance(error, BaseException) and level == "error" and not isinstance(error, SyncdError):
                fields["exc_info"] = (type(error), error, error.__traceback__)
            write[level](name, **{key: value for key, value in fields.items() if value is not None})

        return step

    def _noteworthy(self, facts: Facts) -> Level | None:
        """The level of a line that is always written: it failed, was parked or retried, or was slow."""
        if outcome_in(facts) in FAILED:
            return "warning"
        if "duration" in facts:
            duration = facts["duration"]
            if isinstance(duration, _NUMBERS) and duration >= self.slow:
                return "info"
        return None

    def _skip(self, name: str) -> bool:
        """True for all but one in `sample`, the first among them."""
        passed = self._skipped.get(name, 0)
        self._skipped[name] = passed + 1 if passed + 1 < self.sample else 0
        return passed != 0


def _in_turn(steps: tuple[Step, ...]) -> Step:
    def all_of_them(facts: Facts) -> None:
        for step in steps:
            step(facts)

    return all_of_them


def _plain(counter: Counter, when: str | None, unless: str | None) -> Step:
    """One more; the shape of the hottest events, so without anything that is not needed for it."""
    fact = when or unless
    if fact is None:

        def always(_: Facts) -> None:
            counter.value += 1

        return always
    wanted = when is not None

    def where(facts: Facts) -> None:
        if bool(facts.get(fact)) is wanted:
            counter.value += 1

    return where


def _label(facts: Facts, name: str) -> str:
    value = facts.get(name)
    return OTHER if value is None else str(value)


def _number(value: object) -> float:
    return value if isinstance(value, _NUMBERS) and value >= 0 else 0
