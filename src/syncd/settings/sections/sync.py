"""`[sync]`: pulling and pushing."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from syncd.settings.sections.section import Section
from syncd.settings.values import Duration, Form, Number, Whole, listed, setting

Delays = Annotated[
    tuple[Annotated[Duration, Form("")], ...], BeforeValidator(listed), Form('a list of durations such as ["1s", "5s"]')
]


class SyncSettings(Section):
    batch_size: Whole = setting(
        100, "Due tasks read and queued per page of the planner; a tick goes on until none is due.", least=1, most=1000
    )
    max_retries: Whole = setting(3, "Failures of a sync or webhook message before it is parked.", least=0, most=100)
    retry_delays: Delays = setting(
        (1.0, 5.0, 25.0),
        "Waits before the first, second, ... retry; the last one repeats. A minute's outage is over before they are.",
        unit="s",
    )
    retry_jitter: Number = setting(
        0.2,
        "Share of a wait that is drawn at random, so that what failed together does not return together.",
        least=0,
        most=1,
    )
    slice: Duration = setting(
        60.0,
        "A long pull gives its worker back after so long and continues from its cursor.",
        unit="s",
        least=1,
        most=3600,
    )
    page_size: Whole = setting(
        100, "Records asked for per page of a pull, where the provider lets one choose.", least=1, most=1000
    )
    lag: Duration = setting(
        60.0,
        "An incremental pull goes back so far behind the last one: what a provider lists late, or rounds, is seen all the same.",
        unit="s",
        most=86400,
    )
    delete_guard_share: Number = setting(
        0.10,
        "Share of a connection's live entities that one run, or one hour, may delete before it stops and asks. Both this and "
        "delete_guard_records must be exceeded.",
        least=0,
        most=1,
    )
    delete_guard_records: Whole = setting(20, "Number of deletes that one run, or one hour, may always make.", least=0)
