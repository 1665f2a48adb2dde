"""`[aci]`: the container groups that the scaler makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator

from syncd.settings.sections.section import Section, sealed
from syncd.settings.values import Form, Number, SecretText, Text, Whole, setting


class AciSettings(Section):
    subscription_id: Text | None = setting(None, "Azure subscription of the groups.", later=True)
    resource_group: Text | None = setting(None, "Resource group of the groups.", later=True)
    location: Text | None = setting(None, "Azure region of the groups.", later=True)
    image: Text | None = setting(None, "Image that each group runs.", later=True)
    name_prefix: Text | None = setting(None, "Beginning of group names, and value of the tag managed_by.", later=True)
    max_instances: Whole = setting(200, "Most groups at once.", least=0, most=100_000, later=True)
    cpu: Number = setting(2.0, "CPU cores of a group.", least=0.1, most=64, later=True)
    memory_multiplier: Number = setting(
        8.0, "Gigabytes of memory per gigabyte of the file that the message names.", least=0, later=True
    )
    min_memory_gb: Number = setting(0.5, "Least memory of a group.", unit="GB", least=0.1, most=1000, later=True)
    max_memory_gb: Number = setting(240.0, "Most memory of a group.", unit="GB", least=0.1, most=1000, later=True)
    registry_server: Text | None = setting(None, "Registry of the image, where it needs a log-in.", later=True)
    registry_username: Text | None = setting(None, "User name at that registry.", later=True)
    registry_password: SecretText | None = setting(None, "Password at that registry.", later=True)
    environment: Annotated[Mapping[str, SecretText], AfterValidator(sealed), Form("text")] = setting(
        {}, "Environment of the container: NAME = value. All treated as secret.", later=True
    )
    subscription_env_name: Text | None = setting(
        None, "Name of the variable that carries the topic subscription into the container.", later=True
    )
