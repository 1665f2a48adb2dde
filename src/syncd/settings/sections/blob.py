"""`[blob]`: Azure Blob Storage for large bodies and reports."""

from __future__ import annotations

from syncd.settings.sections.section import Section
from syncd.settings.values import SecretText, Text, setting


class BlobSettings(Section):
    connection_string: SecretText | None = setting(
        None, "Connection string of the account. Setting it selects Blob Storage.", early=True
    )
    account_name: Text | None = setting(
        None, "Account name, where no connection string is used. Setting it selects Blob Storage.", early=True
    )
    account_key: SecretText | None = setting(None, "Account key. Left out: azure-identity.", early=True)
    container: Text = setting("reports", "Container for reports and bodies.", early=True)
