"""`[telemetry]`: logs, metrics and traces."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from syncd.settings.sections.section import Section
from syncd.settings.values import Duration, SecretText, Text, Whole, setting

Level = Annotated[
    Literal["debug", "info", "warning", "error"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
]


class TelemetrySettings(Section):
    log_level: Level = setting("info", "Least important line that is written.")
    log_format: Literal["auto", "json", "console"] = setting(
        "auto", "auto: console where the error stream is a terminal, else JSON lines.", restart=True
    )
    sample: Whole = setting(
        1000,
        "One in so many units that succeeded quickly gets its line; all that failed, were slow, retried or parked get theirs.",
        least=1,
        most=1_000_000,
    )
    slow: Duration = setting(5.0, "A unit that took longer always gets its line.", unit="s", most=86400)
    role_name: Text = setting("syncd", "Cloud role name, by which existing queries tell services apart.", restart=True)
    applicationinsights_connection_string: SecretText | None = setting(
        None, "Sends telemetry to Application Insights.", restart=True, later=True
    )
