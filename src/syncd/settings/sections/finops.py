"""`[finops]`: the daily cost trigger."""

from __future__ import annotations

from syncd.settings.sections.http import Url
from syncd.settings.sections.section import Section
from syncd.settings.values import Duration, SecretText, Switch, setting


class FinopsSettings(Section):
    enabled: Switch = setting(
        False,
        "Whether the job finops-daily-sync calls the webhook. Off by default, as the function that it replaces: needs "
        "webhook_url and sync_token.",
    )
    webhook_url: Url | None = setting(
        None, "Where the trigger is POSTed. https, or http on loopback: the token must not cross a network in clear."
    )
    sync_token: SecretText | None = setting(
        None,
        "Sent raw in the header X-Sync-Token. Kept exactly as written: tokens contain +, / and =.",
    )
    status_url: Url | None = setting(
        None, "Where an unknown outcome is asked for. Left out: webhook_url with status/ behind it."
    )
    timeout: Duration = setting(
        600.0, "Bound of the POST: connecting, sending and waiting for the answer.", unit="s", least=1, most=3600
    )
    settle_interval: Duration = setting(
        30.0, "Time between two questions to status_url while the outcome is unknown.", unit="s", least=1, most=3600
    )
    settle_timeout: Duration = setting(
        7200.0,
        "How long an unknown outcome is asked for before it is left as unknown. Front ends answer 504 after about 230 s while "
        "the import goes on.",
        unit="s",
        most=86400,
    )

    @property
    def effective_status_url(self) -> str | None:
        """`status_url`, or the address that goes with `webhook_url`."""
        if self.status_url or self.webhook_url is None:
            return self.status_url
        address = self.webhook_url.split("#", 1)[0].split("?", 1)[0]
        return address.rstrip("/") + "/status/"
