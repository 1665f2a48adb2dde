"""`[cosmos]`: Cosmos DB for documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator

from syncd.settings.sections.http import Url
from syncd.settings.sections.section import Section, sealed
from syncd.settings.values import Form, SecretText, Text, setting


class CosmosSettings(Section):
    endpoint: Url | None = setting(None, "Account address. Setting it selects Cosmos DB.", early=True, later=True)
    key: SecretText | None = setting(None, "Account key. Left out: azure-identity.", early=True, later=True)
    database: Text | None = setting(None, "Name of the database.", early=True, later=True)
    containers: Annotated[Mapping[str, Text], AfterValidator(sealed), Form("the name of a container")] = setting(
        {}, "Other names of containers that exist already: collection = container.", early=True, later=True
    )
