"""`[advisor]`: Azure Advisor reports."""

from __future__ import annotations

from syncd.settings.sections.section import Section
from syncd.settings.sections.sync import Delays
from syncd.settings.values import Duration, setting


class AdvisorSettings(Section):
    retry_delays: Delays = setting(
        (60.0, 120.0, 180.0), "Waits between tries of a fetch; exactly so, without jitter.", unit="s", later=True
    )
    cache_ttl: Duration = setting(
        3600.0, "How long fetched recommendations are used again for statistics.", unit="s", most=7 * 86400, later=True
    )
