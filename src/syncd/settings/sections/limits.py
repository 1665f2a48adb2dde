"""`[limits]`: rate limits of outgoing calls, per minute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from syncd.settings.sections.section import Section, sealed
from syncd.settings.values import Duration, Form, Number, Switch, Whole, setting

PerMinute = Annotated[
    Mapping[str, Annotated[Whole, Field(ge=1, le=10_000_000)]],
    AfterValidator(sealed),
    Form("a whole number of calls per minute, at least 1"),
]


class LimitSettings(Section):
    inline_wait: Duration = setting(
        1.0,
        "A refusal of at most so long is waited for in place; a longer one puts the message back with its reservation.",
        unit="s",
        most=10,
    )
    tenant: Whole = setting(5000, "Calls of one tenant over all its connections.", unit="per minute", least=1)
    tenants: PerMinute = setting({}, "Other figures for single tenants: tenant id = calls.", unit="per minute")
    integration: Whole = setting(
        600,
        "Calls of one tenant to a provider not named below. The connections of rest lead to systems that have nothing to do with each "
        "other: there this figure, and those below, are for each system (scheme, host and port of the base URL).",
        unit="per minute",
        least=1,
    )
    integrations: PerMinute = setting(
        {"salesforce": 300, "notion": 180, "slack": 60, "github": 360, "google": 240},
        "Calls of one tenant to one provider, or with rest to one system; the figures that the replaced limiter used.",
        unit="per minute",
    )
    operations: PerMinute = setting(
        {"create": 100, "update": 150, "delete": 50, "fetch": 200},
        "Calls of one tenant to one provider, or with rest to one system, for one operation; counted beside the provider's limit.",
        unit="per minute",
    )
    fail_closed: Switch = setting(
        False, "Refuse everything while the shared limiter is away, instead of using the fallback share.", restart=True
    )
    fallback_share: Number = setting(
        0.1,
        "Share of each limit kept free for replicas that are cut off from the shared limiter.",
        least=0,
        most=0.9,
        restart=True,
    )
    max_replicas: Whole = setting(
        10,
        "Most replicas ever; a cut-off replica takes fallback_share / max_replicas. 1 also says that parts of the backend may live in "
        "this machine's data directory while others are shared.",
        least=1,
        most=1000,
        restart=True,
    )
