"""The steps of the state machine SyncTask (guarantees), each from one document to the next. Pure.

    pending -> queued | running    queued -> running    running(term) -> running(term + 1) -> succeeded | partial | failed | cancelled
    running | queued -> parked -> running    ended -> queued, generation + 1 (its time has come)    ended | parked -> pending (retry)

A step takes the stored document and returns a new one with every field that it does not know; whoever writes it does so by
compare-and-set. The message is the authority about retries, the task mirrors it. `checkAt` is kept while a message is under way: past
it the task counts as stuck and the message is sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from syncd.domain.errors import Conflict, Invalid
from syncd.domain.tasks import ENDED, KEPT, SyncTask, schedule_of
from syncd.domain.times import iso, iso_or_none

if TYPE_CHECKING:
    from syncd.domain.errors import Bin
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.tasks import Ending

#: A run holds its task for so long without a word, and says one three times as often. Seconds.
LEASE = 90.0
#: Two leases without progress: the message is sent again, then ever more rarely.
STUCK = 2 * LEASE
_MOST_PATIENCE = 3600.0
#: Messages of other producers that a task remembers, so that a repeated one begins no second run.
_ORIGINS = 8
#: What belongs to one generation, and goes with it.
_OF_GENERATION = (
    "cancelRequested",
    "checkAt",
    "correlationId",
    "counts",
    "error",
    "finishedAt",
    "owner",
    "parked",
    "progress",
    "queuedAt",
    "revivals",
    "startedAt",
    "until",
)
#: What the API shape tells about the last run.
_LAST_RUN = {"succeeded": "success", "partial": "partial", "failed": "failed", "cancelled": "cancelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a message finds at its task."""

    word: Literal["run", "cancel", "wait", "done"]
    """`wait`: another run holds it until `until`. `done`: nothing is left to do for this message."""
    until: float = 0.0
    why: str = ""
    begun: JsonObject | None = None
    """For `run` and `cancel`: the document in the generation that is run."""


def queued(data: JsonObject, now: float, *, correlation_id: str) -> JsonObject:
    """On its way to a worker. A generation that has ended is followed by the next, and in the same change the next time is set from the
    task's schedule, or cleared."""
    task = SyncTask(data)
    begun = _next_generation(data, task) if _has_run(task) else data
    return {
        **begun,
        **_schedule_from(data, now),
        "generation": begun.get("generation", task.generation),
        "status": "queued",
        "correlationId": correlation_id,
        "queuedAt": iso(now),
        "checkAt": iso(now + STUCK),
        "updatedAt": iso(now),
    }


def judged(data: JsonObject, *, generation: int | None, origin: str, now: float, owner: str, sole: bool) -> Verdict:
    """What becomes of a message. `generation` is None for one of another producer: it asks for a run of the task as it is, once for
    each `origin`."""
    task = SyncTask(data)
    if generation is None:
        generation = next((g for o, g in data.get("origins", ()) if o == origin), None)
        if generation is None:
            data = _asked_for(data, task, origin)
            task = SyncTask(data)
            generation = task.generation
    if generation != task.generation:
        if generation > task.generation:  # a read from before the change that sent this message
            return Verdict(word="wait", until=now + 5.0, why="the task's document is older than the message")
        return Verdict(word="done", why=f"generation {generation} was followed by {task.generation}")
    if task.status in ENDED:
        return Verdict(word="done", why=f"it has ended: {task.status}")
    held = task.held(now, owner=owner, sole=sole)
    if held is not None:
        return Verdict(word="wait", until=held, why=f"the task is being worked on by {task.owner}")
    return Verdict(word="cancel" if task.cancel_requested else "run", begun=data)


def running(data: JsonObject, now: float, *, owner: str, result_id: str, hop: int, attempt: int) -> JsonObject:
    """In the hands of its next runner, one term on. The first fixes the result's id of this generation."""
    task = SyncTask(data)
    return {
        **_without(data, "parked"),
        "generation": task.generation,
        "status": "running",
        "term": task.term + 1,
        "owner": owner,
        "until": iso(now + LEASE),
        "checkAt": iso(now + STUCK),
        "hop": max(task.hop, hop),
        "attempt": attempt,
        "resultId": task.result_id or result_id,
        "startedAt": data.get("startedAt") or iso(now),
        "revivals": 0,
        "updatedAt": iso(now),
    }


def progressed(data: JsonObject, now: float, *, progress: JsonObject | None) -> JsonObject:
    """The lease renewed, and what the run has done so far."""
    told = data.get("progress") if progress is None else progress
    return {
        **data,
        **({} if told is None else {"progress": told}),
        "until": iso(now + LEASE),
        "checkAt": iso(now + STUCK),
        "updatedAt": iso(now),
    }


def paused(data: JsonObject, now: float, *, due: float, progress: JsonObject | None) -> JsonObject:
    """The lease given back; the next hop of the message comes at `due`."""
    kept = _without(data, "owner", "until")
    return {
        **kept,
        **({} if progress is None else {"progress": progress}),
        "checkAt": iso(max(due, now) + STUCK),
        "updatedAt": iso(now),
    }


def finished(data: JsonObject, now: float, *, status: Ending, counts: JsonObject, error: str | None) -> JsonObject:
    """The generation has ended. What began it, and its result, stay readable."""
    ended = _without(data, "owner", "until", "checkAt", "cancelRequested", "revivals", "parked", "error")
    ended |= {"status": status, "counts": counts, "finishedAt": iso(now), "updatedAt": iso(now)}
    if error is not None:
        ended["error"] = error
    if status == "cancelled":
        ended |= _no_next(data)
    if _api_shape(data):
        ended |= {"lastRunAt": iso(now), "lastRunStatus": _LAST_RUN[status], "lastError": error}
    return ended


def parked(data: JsonObject, now: float, *, bin_name: Bin, reason: str, hop: int, attempt: int) -> JsonObject | None:
    """Its message was set aside; None where a later hop is under way or the generation has ended."""
    task = SyncTask(data)
    if task.status not in ("queued", "running") or hop < task.hop:
        return None
    return {
        **_without(data, "owner", "until", "checkAt"),
        "status": "parked",
        "parked": {"bin": bin_name, "reason": reason[:2000], "at": iso(now)},
        "hop": hop,
        "attempt": attempt,
        "updatedAt": iso(now),
    }


def revived(data: JsonObject, now: float) -> JsonObject:
    """Stuck: the message is sent again as the hop after the highest that was seen. The hop itself is noted only when it is seen, so that
    sending again what still waits is absorbed; patience doubles from one time to the next."""
    count = data.get("revivals", 0) + 1
    patience = min(STUCK * 2 ** min(count, 10), _MOST_PATIENCE)
    task = SyncTask(data)
    return {
        **_without(data, "owner", "until"),
        "generation": task.generation,
        "status": task.status,
        "revivals": count,
        "checkAt": iso(now + patience),
        "updatedAt": iso(now),
    }


def cancelled(data: JsonObject, now: float) -> JsonObject:
    """What waits ends at once; what is queued or running is asked to stop at its next checkpoint. Raises Conflict where it has ended
    and nothing would begin it again."""
    task = SyncTask(data)
    if task.status in ("queued", "running"):
        return {**data, "cancelRequested": True, "updatedAt": iso(now)}
    if task.status in ENDED and (task.status == "cancelled" or task.next_at is None):
        raise Conflict(f"the task has ended already: {task.status}")
    kept = _without(data, "owner", "until", "checkAt", "parked", "revivals")
    return {**kept, **_no_next(data), "cancelRequested": True, "status": "cancelled", "updatedAt": iso(now)}


def retried(data: JsonObject, now: float) -> JsonObject:
    """`pending` in the next generation, so that what is left of the one before (a parked message, a late answer) changes nothing any
    more; its result stays. Raises Conflict where it waits or is under way."""
    task = SyncTask(data)
    if task.status not in ENDED and task.status != "parked" and not task.on_request:
        raise Conflict(f"the task is {task.status}: only one that has ended or is parked can be tried again")
    return {**_next_generation(data, task), "status": "pending", "updatedAt": iso(now)}


def ttl_of(data: JsonObject) -> float | None:
    """Seconds to keep it from this write on; None: for ever."""
    return KEPT if data.get("status") in ENDED and SyncTask(data).next_at is None else None


def _has_run(task: SyncTask) -> bool:
    """Whether the generation that the document names is over. One that the API shape calls active, and that we have had in hand, is."""
    return task.status in ENDED or (task.on_request and task.is_ours)


def _next_generation(data: JsonObject, task: SyncTask) -> JsonObject:
    kept = _without(data, *_OF_GENERATION)
    generation = task.generation + 1 if task.is_ours else 0
    return {**kept, "generation": generation, "hop": 0, "attempt": 0, "resultId": None}


def _asked_for(data: JsonObject, task: SyncTask, origin: str) -> JsonObject:
    """The document in the generation that a message of another producer runs: the one that waits or is under way, else the next. Nobody
    but a person begins a cancelled one again."""
    if task.status == "cancelled":
        return data
    over = _has_run(task)
    begun = _next_generation(data, task) if over else {**data, "generation": task.generation}
    if over or not task.is_ours:
        begun["status"] = "queued"
    begun["origins"] = [*data.get("origins", ()), [origin, begun["generation"]]][-_ORIGINS:]
    return begun


def _schedule_from(data: JsonObject, now: float) -> JsonObject:
    try:
        schedule = schedule_of(data)
    except Invalid as error:
        return {**_no_next(data), "scheduleError": str(error)}
    if schedule is None:
        return _no_next(data)
    at = iso_or_none(schedule.next_after(now))
    return {"nextScheduled": at, **({"nextRunAt": at} if "nextRunAt" in data else {})}


def _no_next(data: JsonObject) -> JsonObject:
    return {name: None for name in ("nextScheduled", "nextRunAt") if name in data}


def _api_shape(data: JsonObject) -> bool:
    return "nextRunAt" in data or "lastRunStatus" in data or isinstance(data.get("schedule"), dict)


def _without(data: JsonObject, *names: str) -> JsonObject:
    return {name: value for name, value in data.items() if name not in names}
