"""`[keyvault]`: Azure Key Vault for secrets."""

from __future__ import annotations

from syncd.settings.sections.http import Url
from syncd.settings.sections.section import Section
from syncd.settings.values import Directory, Switch, setting


class KeyVaultSettings(Section):
    url: Url | None = setting(None, "Address of the vault. Setting it selects Key Vault.", early=True)
    ca_file: Directory | None = setting(
        None,
        "Certificates to trust for the vault instead of the system's: one behind a proxy, or a double.",
        early=True,
    )
    verify_challenge: Switch = setting(
        True,
        "Send a token only where the vault's host lies below the host that it names as its audience. Off only for a vault under a "
        "made-up address.",
        early=True,
    )
