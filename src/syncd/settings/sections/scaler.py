"""`[scaler]`: which topic is watched for work that needs a container."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from syncd.settings.sections.section import Section
from syncd.settings.values import Form, SecretText, Text, Whole, listed, setting


class ScalerSettings(Section):
    connection_string: SecretText | None = setting(None, "Connection string of the topic's namespace.", later=True)
    namespace: Text | None = setting(
        None, "Name of that namespace. Left out: read from the connection string.", later=True
    )
    topic: Text | None = setting(None, "Topic whose subscriptions are watched.", later=True)
    skip_subscriptions: Annotated[
        tuple[Text, ...], BeforeValidator(listed), Form("a list of names, or text with commas")
    ] = setting((), "Subscriptions that are left alone.", later=True)
    max_workers: Whole = setting(
        4, "Container groups created or deleted at the same time.", least=1, most=100, later=True
    )
