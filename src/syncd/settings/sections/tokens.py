"""`[tokens]`: OAuth credentials of connections."""

from __future__ import annotations

from typing import Literal

from syncd.settings.sections.section import Section
from syncd.settings.sections.sync import Delays
from syncd.settings.values import Duration, Whole, setting


class TokenSettings(Section):
    refresher: Literal["off", "jit", "on"] = setting(
        "on",
        "on: the timer, and when a credential is about to be used; jit: only then; off: never. While another refresher still "
        "runs on the same credentials it must be off: two of them invalidate each other's refresh tokens.",
    )
    expiry_threshold: Duration = setting(
        3600.0, "A token that expires within so long is refreshed.", unit="s", least=60, most=30 * 86400
    )
    max_retries: Whole = setting(3, "Tries after a failed call of the token endpoint.", least=0, most=20, later=True)
    retry_delays: Delays = setting((2.0, 4.0, 8.0), "Waits before those tries.", unit="s", later=True)
