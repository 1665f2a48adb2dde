"""One generation: an immutable graph of settings, flows, handlers and HTTP services over the same ports.

Units of work and requests keep the generation they began with; a reload builds the next one whole and then assigns it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from syncd.bootstrap.flows import Flows, build_flows, handlers_of
from syncd.bootstrap.jobs import build_jobs, build_plan, build_planner
from syncd.bootstrap.ports import Ports
from syncd.bootstrap.purging import Park, guarded, parking
from syncd.domain.principal import Principal
from syncd.domain.secrets import Secret
from syncd.flows.editpreview import EditPreview
from syncd.flows.jobs import Job
from syncd.flows.operate.conflicts import ConflictsFlow
from syncd.flows.operate.connections import ConnectionsFlow
from syncd.flows.operate.connectiontests import ConnectionTestsFlow
from syncd.flows.operate.credentials import CredentialStore
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
from syncd.flows.overlay import Overlay
from syncd.flows.planner import Planner
from syncd.flows.preview import Preview
from syncd.flows.purge import Purge
from syncd.flows.purged import Purged
from syncd.flows.purgesurvey import Survey
from syncd.flows.ticks import Ticks
from syncd.http.auth import Tokens
from syncd.http.services import HttpLimits, Operate, Services
from syncd.ports.control import Control
from syncd.ports.events import Events
from syncd.runtime.work import Handler, WorkerLimits, Workload
from syncd.settings import Loaded, Settings

#: Which queues a role works on.
QUEUES_OF_ROLE: Mapping[str, tuple[str, ...]] = {
    "inbound": ("sync-inbound",),
    "outbound": ("sync-outbound",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    number: int
    loaded: Loaded
    flows: Flows
    workload: Workload
    jobs: tuple[Job, ...]
    planner: Planner
    services: Services
    park: Park
    """Sets a message aside, unless it is one of a purged tenant. May be repeated."""

    @property
    def settings(self) -> Settings:
        return self.loaded.settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What outlives generations and is not a port of flows."""

    ports: Ports
    control: Control
    events: Events
    metrics: Callable[[], bytes]
    ticks: Ticks
    own_token: Secret | None
    """The admin token that the embedded default made for itself."""
    extra_handlers: Mapping[str, Handler]
    """Kinds of message that an embedder of the daemon adds."""
    extra_jobs: tuple[Job, ...] = ()
    """Jobs that it adds; a reload does not change them."""


def build_generation(number: int, loaded: Loaded, around: Surroundings) -> Generation:
    """Raises Invalid where something that settings cannot see is wrong. Starts nothing."""
    settings, ports = loaded.settings, around.ports
    flows = build_flows(settings, ports)
    plan = build_plan(settings, ports)
    purged = Purged(documents=ports.documents, blobs=ports.blobs, clock=ports.clock, observe=ports.observe)
    park = parking(flows.park, purged)
    jobs = (*build_jobs(settings, ports, plan, flows, park), *around.extra_jobs)
    roles = frozenset(settings.daemon.roles)
    handlers = guarded({**handlers_of(settings, flows), **around.extra_handlers}, purged)
    return Generation(
        number=number,
        loaded=loaded,
        flows=flows,
        workload=Workload(handlers=handlers, limits=_limits(settings)),
        jobs=jobs,
        planner=build_planner(settings, ports, plan),
        services=Services(
            accept=flows.accept if "webhooks" in roles else None,
            registrations=flows.registrations,
            operate=_operate(loaded, flows, jobs, purged, around),
            tokens=Tokens(_tokens(settings, around.own_token), failures=settings.http.login_failures),
            limits=HttpLimits(api_bytes=settings.http.max_body_bytes, body_timeout=settings.http.body_timeout),
            control=around.control,
            events=around.events,
            metrics=around.metrics,
            observe=ports.observe,
            clock=ports.clock,
            roles=roles,
        ),
        park=park,
    )


def _limits(settings: Settings) -> dict[str, WorkerLimits]:
    """Receivers of each queue that this replica's roles work on."""
    names = [name for role in settings.daemon.roles for name in QUEUES_OF_ROLE.get(role, ())]
    return {
        name: WorkerLimits(
            minimum=queue.min_receivers,
            maximum=queue.max_receivers,
            group_cap=queue.effective_group_cap,
            lease=settings.queue.lease_duration,
        )
        for name in names
        for queue in (settings.queues[name],)
    }


def _tokens(settings: Settings, own: Secret | None) -> Sequence[tuple[Principal, Secret]]:
    tokens = [
        (
            Principal(name=token.name, role=token.role, tenants=frozenset(token.tenants) if token.tenants else "*"),
            token.value,
        )
        for token in settings.http.tokens
    ]
    admin = settings.http.admin_token or own
    return [*tokens, (Principal(name="admin", role="operate"), admin)] if admin else tokens


def _tenants(loaded: Loaded, flows: Flows, purged: Purged, ports: Ports) -> TenantsFlow:
    documents, vault, clock = ports.documents, ports.vault, ports.clock
    survey = Survey(
        documents=documents, queue=ports.queue, vault=vault, clock=clock, queues=tuple(loaded.settings.queues)
    )
    purge = Purge(
        documents=documents,
        vault=vault,
        blobs=ports.blobs,
        registrations=flows.registrations,
        survey=survey,
        purged=purged,
        clock=clock,
    )
    return TenantsFlow(purge=purge, survey=survey, audit=flows.audit)


def _operate(loaded: Loaded, flows: Flows, jobs: Sequence[Job], purged: Purged, around: Surroundings) -> Operate:
    ports, control, audit = around.ports, around.control, flows.audit
    documents, clock = ports.documents, ports.clock
    webhooks = WebhooksFlow(registrations=flows.registrations, documents=documents, audit=audit)
    tasks = TasksFlow(documents=documents, clock=clock, audit=audit, control=control, providers=flows.providers)

    def check_overlay(values: Mapping[str, object]) -> None:
        loaded.again(overlay=values)

    return Operate(
        connections=ConnectionsFlow(
            documents=documents,
            credentials=CredentialStore(documents=documents, vault=ports.vault, clock=clock),
            clock=clock,
            audit=audit,
            providers=flows.providers,
            tasks=tasks,
        ),
        connection_tests=ConnectionTestsFlow(
            documents=documents, providers=flows.providers, apis=flows.apis, clock=clock
        ),
        on_demand=OnDemandFlow(
            documents=documents,
            providers=flows.providers,
            tasks=tasks,
            preview=Preview(
                documents=documents,
                subscriptions=flows.subscriptions,
                apis=flows.apis,
                clock=clock,
                lag=loaded.settings.sync.lag,
            ),
            guard=flows.guard,
            audit=audit,
        ),
        webhooks=webhooks,
        webhook_events=WebhookEventsFlow(
            documents=documents, queue=ports.queue, webhooks=webhooks, audit=audit, clock=clock
        ),
        tasks=tasks,
        results=ResultsFlow(documents=documents),
        entities=EntitiesFlow(
            entities=flows.entities,
            audit=audit,
            preview=EditPreview(subscriptions=flows.subscriptions, providers=flows.providers, clock=clock),
        ),
        conflicts=ConflictsFlow(documents=documents, entities=flows.entities, audit=audit, clock=clock),
        queues=QueuesFlow(
            queue=ports.queue,
            parked=flows.parked,
            clock=clock,
            audit=audit,
            names=tuple(loaded.settings.queues),
        ),
        jobs=JobsFlow(
            jobs={job.name: job for job in jobs}, requests=around.ticks.requests, control=control, audit=audit
        ),
        executions=ExecutionsFlow(documents=documents),
        providers=ProvidersFlow(providers=flows.providers),
        settings=SettingsFlow(
            overlay=Overlay(documents=documents, clock=clock), control=control, audit=audit, check=check_overlay
        ),
        vault_key=VaultKeyFlow(vault=ports.vault, audit=audit),
        tenants=_tenants(loaded, flows, purged, ports),
    )
