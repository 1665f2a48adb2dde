"""`[providers.<name>]`: what all connections to one provider share."""

from __future__ import annotations

from syncd.settings.sections.http import Url
from syncd.settings.sections.section import Section
from syncd.settings.values import Duration, SecretText, Text, setting


class ProviderSettings(Section):
    base_url: Url | None = setting(None, "Address of its API where it is not the public one. A connection's own wins.")
    client_id: Text | None = setting(None, "OAuth client id of your application at the provider.")
    client_secret: SecretText | None = setting(None, "OAuth client secret of that application.")
    timeout: Duration = setting(
        30.0, "Whole time of one call. The push lease is twice this plus 10 s.", unit="s", least=0.1, most=600
    )
