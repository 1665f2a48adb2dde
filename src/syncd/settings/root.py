"""All settings of one process, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from syncd.domain.jsontypes import Json
from syncd.settings.sections.aci import AciSettings
from syncd.settings.sections.advisor import AdvisorSettings
from syncd.settings.sections.backend import BackendSettings
from syncd.settings.sections.blob import BlobSettings
from syncd.settings.sections.cosmos import CosmosSettings
from syncd.settings.sections.daemon import DaemonSettings
from syncd.settings.sections.entities import EntitySettings
from syncd.settings.sections.finops import FinopsSettings
from syncd.settings.sections.http import HttpSettings
from syncd.settings.sections.jobs import JOBS, JobSettings
from syncd.settings.sections.keyvault import KeyVaultSettings
from syncd.settings.sections.limits import LimitSettings
from syncd.settings.sections.providers import ProviderSettings
from syncd.settings.sections.queues import QUEUES, QueueOverrides, QueueSettings
from syncd.settings.sections.redis import RedisSettings
from syncd.settings.sections.scaler import ScalerSettings
from syncd.settings.sections.section import Section, sealed
from syncd.settings.sections.servicebus import ServiceBusSettings
from syncd.settings.sections.sync import SyncSettings
from syncd.settings.sections.telemetry import TelemetrySettings
from syncd.settings.sections.tokens import TokenSettings
from syncd.settings.sections.webhooks import WebhookSettings


def _over(shipped: Mapping[str, Mapping[str, object]]) -> BeforeValidator:
    def merged(given: Json) -> Json:
        return {name: {**shipped.get(name, {}), **given.get(name, {})} for name in {**shipped, **given}}

    return BeforeValidator(merged)


class Settings(Section):
    """What `load` returns; nothing in it changes. Reload makes a new one."""

    daemon: DaemonSettings = Field(default_factory=DaemonSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    backend: BackendSettings = Field(default_factory=BackendSettings)
    cosmos: CosmosSettings = Field(default_factory=CosmosSettings)
    servicebus: ServiceBusSettings = Field(default_factory=ServiceBusSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    keyvault: KeyVaultSettings = Field(default_factory=KeyVaultSettings)
    blob: BlobSettings = Field(default_factory=BlobSettings)
    aci: AciSettings = Field(default_factory=AciSettings)
    queue: QueueSettings = Field(default_factory=QueueSettings)
    queues: Annotated[Mapping[str, QueueOverrides], _over(QUEUES), AfterValidator(sealed)] = Field(
        default={}, validate_default=True
    )
    sync: SyncSettings = Field(default_factory=SyncSettings)
    entities: EntitySettings = Field(default_factory=EntitySettings)
    tokens: TokenSettings = Field(default_factory=TokenSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings)
    scaler: ScalerSettings = Field(default_factory=ScalerSettings)
    finops: FinopsSettings = Field(default_factory=FinopsSettings)
    advisor: AdvisorSettings = Field(default_factory=AdvisorSettings)
    jobs: Annotated[Mapping[str, JobSettings], _over(JOBS), AfterValidator(sealed)] = Field(
        default={}, validate_default=True
    )
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)
    providers: Annotated[Mapping[str, ProviderSettings], AfterValidator(sealed)] = Field(
        default={}, validate_default=True
    )
