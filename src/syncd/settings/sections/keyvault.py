"""`[keyvault]`: Azure Key Vault for secrets."""

from __future__ import annotations

from syncd.settings.sections.http import Url
from syncd.settings.sections.section import Section
from syncd.settings.values import setting


class KeyVaultSettings(Section):
    url: Url | None = setting(
        None, "Address of the vault. Setting it selects Key Vault, with azure-identity.", early=True, later=True
    )
