"""`[jobs.<name>]`: the scheduled jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator

from syncd.domain.errors import Invalid
from syncd.domain.schedules import parse_schedule, time_zone
from syncd.settings.sections.section import Section
from syncd.settings.values import Duration, Form, NotAllowed, Switch, Text, setting


def _schedule(value: str) -> str:
    try:
        parse_schedule(value)
    except Invalid as error:
        reason = str(error).split("; allowed", 1)[0].removeprefix(f"schedule {value!r}").lstrip(": ")
        raise NotAllowed(f"it {reason}" if reason.startswith("is ") else reason) from None
    return value


def _timezone(value: str) -> str:
    try:
        time_zone(value)
    except Invalid:
        raise NotAllowed("it is not a time zone that this machine knows") from None
    return value


class JobSettings(Section):
    schedule: Annotated[
        Text,
        AfterValidator(_schedule),
        Form(
            '5-field cron, 6-field cron with seconds first and Sunday = 0, or "every 30s"; enabled = false switches a job off'
        ),
    ] = setting("every 1h", "When the job is due.")
    enabled: Switch = setting(True, "Whether it runs by itself; `syncd jobs run` works either way.")
    timezone: Annotated[Text, AfterValidator(_timezone), Form("a time zone such as UTC or Europe/Brussels")] = setting(
        "UTC", "The zone in which the schedule is read."
    )
    missed: Literal["skip", "once", "all"] = setting(
        "skip", "What becomes of ticks that passed while nothing ran: none, the latest, or each of them runs."
    )
    missed_window: Duration = setting(
        86400.0, "Missed ticks older than this are skipped whatever `missed` says.", unit="s", most=366 * 86400
    )
    timeout: Duration = setting(300.0, "A run is cancelled after so long.", unit="s", least=1, most=7 * 86400)
    jitter: Duration = setting(
        0.0,
        "Each tick starts up to so much later, by a hash of job and tick, the same on every replica.",
        unit="s",
        most=86400,
    )
    overlap: Literal["skip", "queue"] = setting(
        "skip", "What becomes of a tick that is due while the one before still runs."
    )


#: Those that this release runs. The others have their settings already, so that a configuration need not change with them.
AVAILABLE = frozenset({"finops-daily-sync", "maintenance", "sync-scheduler"})
#: The timeout of finops-daily-sync covers the POST (600 s) and the time in which an unknown outcome may settle (2 h).
JOBS: Mapping[str, Mapping[str, object]] = {
    "sync-scheduler": {"schedule": "0 0 * * * *", "missed": "once", "timeout": 600.0},
    "token-refresher": {"schedule": "0 0 */6 * * *", "missed": "once", "timeout": 600.0},
    "finops-daily-sync": {"schedule": "0 0 3 * * *", "missed": "once", "missed_window": 43200.0, "timeout": 8100.0},
    "aci-scaler": {"schedule": "every 30s", "timeout": 300.0},
    "advisor-refresh": {"schedule": "0 0 4 * * *", "enabled": False, "missed": "skip", "timeout": 660.0},
    "maintenance": {"schedule": "every 1m", "timeout": 300.0},
}
