"""`[redis]`: Redis for the shared rate limiter."""

from __future__ import annotations

from syncd.settings.sections.section import Section
from syncd.settings.values import SecretText, Text, Whole, setting


class RedisSettings(Section):
    url: SecretText | None = setting(
        None,
        "redis:// or rediss:// address, secret because it may carry a password. Setting it selects Redis.",
        early=True,
    )
    prefix: Text = setting(
        "syncd",
        "Beginning of all keys. Deployments that share a Redis differ in it; replicas of one do not.",
        early=True,
    )
    block: Whole = setting(
        0,
        "Units that a replica takes ahead at once and deals out by itself: five times the speed, and a limit that may be refused a "
        "little early, because what was taken counts until it is used. 0: each request is decided by Redis.",
        least=0,
        most=1000,
        early=True,
    )
