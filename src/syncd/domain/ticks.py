"""Ticks: which instants of a schedule are to be run now, and the shape of the documents that say so. Pure.

Partition = job. One document `schedule` (the book of the job) and one per tick, id = `tick~` + nominal UTC time:

    due -> running(term) -> running(term + 1) -> succeeded | failed | unknown        missed, skipped: noticed, never run

`since` is when the job was first seen, edited, enabled or resumed: nothing before it can be missed. `through` is the latest nominal
time about which everything has been decided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from syncd.domain.ids import digest, located
from syncd.domain.schedules import fires_between, last_between
from syncd.domain.times import iso, month, parse

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.schedules import Schedule

Missed = Literal["skip", "once", "all"]
Overlap = Literal["skip", "queue"]
Trigger = Literal["schedule", "manual", "missed"]

#: A tick that is claimed within so many seconds after its time is on time: a busy loop or a slow store is no outage.
ON_TIME = 60.0
#: Most ticks of one job that are made due in one decision; the rest follows with the next.
MOST_DUE = 40
#: Passed ticks are counted up to here; the count then means "at least".
MOST_COUNTED = 1000
#: The id of a job's book in its partition.
BOOK = "schedule"
#: What `running` names while a pass of a leased loop is under way: loops have no documents per tick.
LOOP = "loop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of the instants in a stretch of time."""

    run: tuple[float, ...]
    """Nominal times to run, oldest first."""
    through: float
    """Everything up to here is decided."""
    passed: int = 0
    """How many will not be run; MOST_COUNTED means that many or more."""
    last_passed: float | None = None


def decide(schedule: Schedule, *, after: float, now: float, missed: Missed, window: float) -> Decision | None:
    """What to run of the instants in (after, now]; None where there are none.

    `skip`: the latest, if it is on time. `once`: the latest, if it is inside `window` seconds. `all`: each inside `window`.
    """
    latest = last_between(schedule, after, now)
    if latest is None:
        return None
    oldest = now - (ON_TIME if missed == "skip" else max(window, ON_TIME))
    if missed == "all":
        first = after if math.isinf(oldest) else max(after, math.ceil(oldest) - 1)
        run = tuple(fires_between(schedule, first, now, MOST_DUE))
        passed = fires_between(schedule, after, first, MOST_COUNTED)
    else:
        run = (latest,) if latest >= oldest else ()
        passed = fires_between(schedule, after, latest - 1 if run else latest, MOST_COUNTED)
    return Decision(
        run=run,
        through=run[-1] if len(run) == MOST_DUE else latest,
        passed=len(passed),
        last_passed=None if not passed else latest if not run else passed[-1],
    )


def decide_overlapped(schedule: Schedule, *, after: float, until: float, overlap: Overlap) -> Decision | None:
    """What becomes of the instants in (after, until] during which an earlier tick was running."""
    latest = last_between(schedule, after, until)
    if latest is None:
        return None
    if overlap == "queue":
        return decide(schedule, after=after, now=until, missed="all", window=math.inf)
    return Decision(
        run=(),
        through=latest,
        passed=len(fires_between(schedule, after, until, MOST_COUNTED)),
        last_passed=latest,
    )


def tick_id(at: float) -> str:
    return f"tick~{iso(at)}"


def execution_id(job: str, tick: str, at: float, term: int) -> str:
    """Known before the run: whoever asks for a run is told where its record will be."""
    return located(f"{job}:{month(at)}", digest(job, tick, str(term)))


def due_document(job: str, at: float, *, trigger: Trigger, now: float, by: str | None = None) -> JsonObject:
    document: JsonObject = {
        "schema": 1,
        "kind": "tick",
        "job": job,
        "at": iso(at),
        "status": "due",
        "trigger": trigger,
        "term": 0,
        "createdAt": iso(now),
    }
    if by is not None:
        document["by"] = by
    return document


def passed_document(job: str, at: float, *, status: Literal["missed", "skipped"], count: int, now: float) -> JsonObject:
    """One document stands for all that passed in one stretch; `at` is the latest of them."""
    why = "nothing ran at that time" if status == "missed" else "an earlier run was still going on"
    return {
        **due_document(job, at, trigger="schedule", now=now),
        "status": status,
        "reason": f"{count}{'+' if count >= MOST_COUNTED else ''} not run: {why}",
        "passed": count,
        "finishedAt": iso(now),
    }


def claimed(tick: JsonObject, *, owner: str, now: float, until: float) -> JsonObject:
    """The tick in the hands of its next runner."""
    return {
        **tick,
        "status": "running",
        "term": tick["term"] + 1,
        "owner": owner,
        "until": iso(until),
        "startedAt": iso(now),
    }


def ended(tick: JsonObject, *, status: str, reason: str, evidence: JsonObject, now: float) -> JsonObject:
    rest = {name: value for name, value in tick.items() if name not in ("owner", "until")}
    return {**rest, "status": status, "reason": reason, "evidence": evidence, "finishedAt": iso(now)}


def running_mark(tick: str, *, term: int, owner: str, until: float) -> JsonObject:
    return {"tick": tick, "term": term, "owner": owner, "until": iso(until)}


def is_void(running: JsonObject, *, owner: str, now: float, alone: bool, guarded: bool) -> bool:
    """Whether a lease no longer protects its tick.

    `owner` is ours, `<replica>/<boot>`. `alone`: no other process can bear our replica's name, so a lease of an earlier boot has no
    holder; unless it is `guarded`, because a call that it sent may still be on its way.
    """
    if parse(running["until"]) <= now:
        return True
    replica, _, boot = owner.rpartition("/")
    holder, _, its_boot = str(running["owner"]).rpartition("/")
    return alone and not guarded and holder == replica and its_boot != boot
