"""`[cosmos]`: Cosmos DB for documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator

from syncd.settings.sections.http import Url
from syncd.settings.sections.section import Section, sealed
from syncd.settings.values import Form, SecretText, Switch, Text, setting


class CosmosSettings(Section):
    endpoint: Url | None = setting(None, "Account address. Setting it selects Cosmos DB.", early=True)
    key: SecretText | None = setting(None, "Account key. Left out: azure-identity.", early=True)
    database: Text = setting("syncd", "Name of the database.", early=True)
    emulator: Switch = setting(
        False,
        "The account is an emulator, or at the end of a tunnel: nobody has signed its certificate, and the addresses that it names "
        "are not its own.",
        early=True,
    )
    containers: Annotated[Mapping[str, Text], AfterValidator(sealed), Form("the name of a container")] = setting(
        {}, "Other names of containers that exist already: collection = container.", early=True
    )
