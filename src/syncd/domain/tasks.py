"""Sync tasks as they are stored: two shapes from the systems in use and our own, read as one. Pure.

    function shape   syncMode, priority, status pending | queued | processing | completed | failed, nextScheduled, enabled, type
    API shape        name, direction, schedule {type, config}, config {entity, ...}, status active | paused | error | disabled,
                     nextRunAt, lastRunAt, lastRunStatus
    ours             the function shape, and generation, hop, term, owner, until, checkAt, resultId, schedule as text, ...

`SyncTask` says what a document means; the steps of the state machine, which change documents, are in `tasksteps`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from syncd.domain.errors import Invalid
from syncd.domain.ids import located
from syncd.domain.schedules import parse_schedule
from syncd.domain.times import DAY, month, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.domain.schedules import Schedule

Status = Literal["pending", "queued", "running", "succeeded", "partial", "failed", "cancelled", "parked"]
Ending = Literal["succeeded", "partial", "failed", "cancelled"]
Mode = Literal["pull", "push", "bidirectional"]
Priority = Literal["high", "normal", "low"]
STATUSES: tuple[Status, ...] = get_args(Status)
#: A generation in one of these has ended; a schedule or a retry begins the next.
ENDED: frozenset[str] = frozenset(get_args(Ending))
MODES: tuple[Mode, ...] = get_args(Mode)
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
#: Lanes know numbers from 0 to 9 (messages.lane_of).
LANE_NUMBERS: Mapping[Priority, int] = {"high": 8, "normal": 5, "low": 2}
#: Seconds that a task is kept after its end where no schedule begins it again.
KEPT = 90 * DAY

_ACTIVE = "active"
_STORED: Mapping[str, Status] = {
    **{status: status for status in STATUSES},
    "processing": "running",
    "completed": "succeeded",
    "success": "succeeded",
    # The API shape says with `active` only that the task waits for its time; see `SyncTask.on_request`.
    _ACTIVE: "pending",
    "error": "failed",
    "paused": "pending",
    "disabled": "pending",
}
#: Statuses of the API shape in which nothing begins by itself.
AT_REST = frozenset({"paused", "disabled", "error"})
_MODES: Mapping[str, Mode] = {
    **{mode: mode for mode in MODES},
    "inbound": "pull",
    "import": "pull",
    "outbound": "push",
    "export": "push",
    "both": "bidirectional",
}
#: Types of the function shape that its scheduler left alone: somebody or something else began them.
_ON_REQUEST = frozenset({"manual", "webhook"})
_UNITS = {"second": "s", "minute": "m", "hour": "h"}
_LONG_UNITS = {"day": 24, "week": 168}


@dataclass(frozen=True, slots=True)
class SyncTask:
    """What a stored task means today. Times are Unix seconds. Unreadable fields count as absent: one odd document must not stop the
    planner. A view: what is not asked for is not read."""

    data: JsonObject

    @property
    def tenant_id(self) -> str:
        return _text(self.data.get("tenantId")) or ""

    @property
    def integration_id(self) -> str | None:
        """None where only the connection's document knows it (API shape)."""
        return _text(self.data.get("integrationId"))

    @property
    def connection_id(self) -> str | None:
        return _text(self.data.get("connectionId")) or _text(self.data.get("tenantIntegrationId"))

    @property
    def entity_type(self) -> str | None:
        """None: all types of the connection."""
        config = self.data.get("config")
        return _text(self.data.get("entityType") or (config.get("entity") if isinstance(config, dict) else None))

    @property
    def mode(self) -> Mode:
        given = self.data.get("syncMode") or self.data.get("direction") or "pull"
        return _MODES.get(str(given).lower(), "pull")

    @property
    def priority(self) -> Priority:
        return priority_of(self.data)

    @property
    def full(self) -> bool:
        """Read everything, not only what changed since the last pull."""
        return self.data.get("full") is True

    @property
    def since(self) -> float | None:
        """Read what was changed at or after it, wherever the last pull ended."""
        return _time(self.data.get("since"))

    @property
    def status(self) -> Status:
        stored = self.data.get("status")
        return _STORED.get(stored, "pending") if isinstance(stored, str) else "pending"

    @property
    def enabled(self) -> bool:
        return self.data.get("enabled", True) is not False and self.data.get("status") not in AT_REST

    @property
    def next_at(self) -> float | None:
        """When its next generation is due; None: not by itself."""
        data = self.data
        by_api = data.get("status") == _ACTIVE or "nextScheduled" not in data
        return _time(data.get("nextRunAt" if by_api else "nextScheduled"))

    @property
    def on_request(self) -> bool:
        """It waits for its time, or until somebody asks for it, although its status is pending."""
        data = self.data
        return data.get("status") == _ACTIVE or (data.get("type") in _ON_REQUEST and not self.is_ours)

    @property
    def generation(self) -> int:
        return _number(self.data.get("generation"))

    @property
    def hop(self) -> int:
        """The highest that any run has seen."""
        return _number(self.data.get("hop"))

    @property
    def term(self) -> int:
        return _number(self.data.get("term"))

    @property
    def owner(self) -> str | None:
        return _text(self.data.get("owner"))

    @property
    def until(self) -> float | None:
        """When the lease of `owner` ends."""
        return _time(self.data.get("until"))

    @property
    def check_at(self) -> float | None:
        """When it counts as stuck unless something is heard of it before."""
        return _time(self.data.get("checkAt"))

    @property
    def cancel_requested(self) -> bool:
        return self.data.get("cancelRequested") is True

    @property
    def result_id(self) -> str | None:
        return _text(self.data.get("resultId"))

    @property
    def is_ours(self) -> bool:
        """Some step of ours has changed it."""
        return "generation" in self.data

    def due(self, now: float) -> bool:
        """Whether the planner begins a generation now (guarantees, SyncTask)."""
        if not self.enabled or self.cancel_requested:
            return False
        if self.status == "pending" and not self.on_request:
            return True
        waits = self.status == "pending" or (self.status in ENDED and self.status != "cancelled")
        next_at = self.next_at
        return waits and next_at is not None and next_at <= now

    def stuck(self, now: float) -> bool:
        """Whether nothing was heard of it for so long that its message is sent again. One that another system wrote has no time
        of its own by which it must be heard of."""
        if self.status not in ("queued", "running"):
            return False
        check_at, until = self.check_at, self.until
        return (check_at is None or check_at <= now) and (until is None or until <= now)

    def held(self, now: float, *, owner: str, sole: bool) -> float | None:
        """Until when another run holds the lease; None: nobody. `sole`: this process alone can hold leases in the store, so that
        one of another boot is void."""
        until = self.until
        if self.owner is None or until is None or until <= now or (sole and self.owner != owner):
            return None
        return until


def priority_of(data: JsonObject) -> Priority:
    """Missing and unknown priorities are normal."""
    given = data.get("priority")
    return given if given in PRIORITIES else "normal"


def schedule_of(data: JsonObject) -> Schedule | None:
    """The task's calendar; None where it runs only when asked. Raises Invalid for one that cannot be read.

    Text (`every 15m`, cron; in `timezone`), or the API shape {type manual | interval | cron | realtime, config {interval, unit |
    expression, timezone}}. Intervals count from the Unix epoch, as all of syncd's.
    """
    given = data.get("schedule")
    if given is None or given == "":
        return None
    if isinstance(given, str):
        return parse_schedule(given, zone_of(data))
    if not isinstance(given, dict):
        raise Invalid("schedule must be text or {type, config}", errors={"schedule": "text or {type, config}"})
    config = given.get("config")
    config = config if isinstance(config, dict) else {}
    if given.get("type") == "cron":
        return parse_schedule(str(config.get("expression", "")), zone_of(data))
    if given.get("type") == "interval":
        return parse_schedule(_interval(config))
    return None


def zone_of(data: JsonObject) -> str:
    """The zone in which the task's calendar is read. Other zones than UTC are read from files."""
    found = data.get("timezone")
    given = data.get("schedule")
    if isinstance(given, dict):
        config = given.get("config")
        found = (config.get("timezone") if isinstance(config, dict) else None) or given.get("timezone") or found
    return _text(found) or "UTC"


def _interval(config: JsonObject) -> str:
    count, unit = config.get("interval"), str(config.get("unit", "minutes")).lower().removesuffix("s")
    if isinstance(count, bool) or not isinstance(count, int | float) or count != int(count) or count < 1:
        raise Invalid(f"the interval of the schedule is {count!r}", errors={"schedule": "a whole number from 1"})
    if unit in _LONG_UNITS:
        return f"every {int(count) * _LONG_UNITS[unit]}h"
    if unit not in _UNITS:
        known = ", ".join(f"{name}s" for name in (*_UNITS, *_LONG_UNITS))
        raise Invalid(f"the schedule's unit {unit!r} is not known", errors={"schedule": f"a unit of {known}"})
    return f"every {int(count)}{_UNITS[unit]}"


def stored_as(status: Status) -> list[str]:
    """Every word under which tasks of this status are stored."""
    return [word for word, meant in _STORED.items() if meant == status]


def origin_of(task_id: str, generation: int) -> str:
    """The origin of the messages of one generation."""
    return f"{task_id}~{generation}"


def result_id(integration_id: str, task_id: str, generation: int, now: float) -> str:
    """`<integrationId:yyyymm>.<taskId~generation>`; `now` is when the generation first ran."""
    return located(f"{integration_id}:{month(now)}", origin_of(task_id, generation))


def result_partition(identifier: str) -> str:
    """The partition inside a result's id, which ends before the first dot after the month: task ids hold dots too. Raises Invalid."""
    integration, colon, rest = identifier.partition(":")
    stamp, dot, origin = rest.partition(".")
    if not (integration and colon and dot and origin and len(stamp) == 6 and stamp.isdecimal()):
        raise Invalid(f"{identifier[:100]!r} is not a result's id: it must look like <integration>:<yyyymm>.<task>")
    return f"{integration}:{stamp}"


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Json) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _time(value: Json) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        return parse(value)
    except ValueError:
        return None
