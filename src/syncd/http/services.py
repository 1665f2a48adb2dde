"""What the routes of one generation need; built by the composition root, never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from syncd.flows.accept import Accept
    from syncd.flows.operate.conflicts import ConflictsFlow
    from syncd.flows.operate.connections import ConnectionsFlow
    from syncd.flows.operate.connectiontests import ConnectionTestsFlow
    from syncd.flows.operate.entities import EntitiesFlow
    from syncd.flows.operate.events import WebhookEventsFlow
    from syncd.flows.operate.executions import ExecutionsFlow
    from syncd.flows.operate.jobs import JobsFlow
    from syncd.flows.operate.ondemand import OnDemandFlow
    from syncd.flows.operate.providers import ProvidersFlow
    from syncd.flows.operate.queues import QueuesFlow
    from syncd.flows.operate.results import ResultsFlow
    from syncd.flows.operate.settings import SettingsFlow
    from syncd.flows.operate.tasks import TasksFlow
    from syncd.flows.operate.tenants import TenantsFlow
    from syncd.flows.operate.vaultkey import VaultKeyFlow
    from syncd.flows.operate.webhooks import WebhooksFlow
    from syncd.flows.registrations import Registrations
    from syncd.http.auth import Tokens
    from syncd.ports.clock import Clock
    from syncd.ports.control import Control
    from syncd.ports.events import Events
    from syncd.ports.observe import Observe


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Bounds on what one request may take. Seconds and bytes."""

    api_bytes: int = 1024 * 1024
    body_timeout: float = 30.0
    """A body that is not complete by then is cut with 408."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operate:
    """The use-cases behind the admin API, one per resource."""

    connections: ConnectionsFlow
    connection_tests: ConnectionTestsFlow
    on_demand: OnDemandFlow
    webhooks: WebhooksFlow
    webhook_events: WebhookEventsFlow
    tasks: TasksFlow
    results: ResultsFlow
    entities: EntitiesFlow
    queues: QueuesFlow
    jobs: JobsFlow
    providers: ProvidersFlow
    executions: ExecutionsFlow
    settings: SettingsFlow
    vault_key: VaultKeyFlow
    tenants: TenantsFlow
    conflicts: ConflictsFlow | None = None
    """None where nothing is merged that could wait for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """One generation as HTTP sees it. A request reads it once, at its start, and keeps it."""

    accept: Accept | None
    """None where this replica has not the role `webhooks`."""
    registrations: Registrations
    operate: Operate
    tokens: Tokens
    limits: HttpLimits
    control: Control
    events: Events
    metrics: Callable[[], bytes]
    """The Prometheus text of now."""
    observe: Observe
    clock: Clock
    roles: frozenset[str]
