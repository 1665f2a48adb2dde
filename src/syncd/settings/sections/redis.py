"""`[redis]`: Redis for the shared rate limiter."""

from __future__ import annotations

from syncd.settings.sections.section import Section
from syncd.settings.values import SecretText, setting


class RedisSettings(Section):
    url: SecretText | None = setting(
        None,
        "redis:// or rediss:// address, secret because it may carry a password. Setting it selects Redis.",
        early=True,
        later=True,
    )
