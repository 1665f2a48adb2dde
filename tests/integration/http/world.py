"""A whole HTTP side over a real store: the real Server on a real socket, real flows, and one helper to talk to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from syncd.adapters.embedded.blobs import open_blobs
from syncd.adapters.embedded.limiter import EmbeddedLimiter
from syncd.adapters.embedded.store import Store, open_store
from syncd.adapters.http.api import HttpApis
from syncd.adapters.http.client import open_session
from syncd.adapters.http.limits import Limits
from syncd.adapters.http.ssrf import OutgoingPolicy
from syncd.adapters.providers.github import PROVIDER as GITHUB
from syncd.adapters.providers.rest import PROVIDER as REST
from syncd.domain.principal import Principal
from syncd.domain.schedules import parse_schedule
from syncd.domain.secrets import Secret
from syncd.flows.accept import Accept
from syncd.flows.apply import Apply
from syncd.flows.audit_rows import AuditRows
from syncd.flows.conflicts import ConflictLog
from syncd.flows.deleteguard import DeleteGuard
from syncd.flows.editpreview import EditPreview
from syncd.flows.entities import Entities
from syncd.flows.hints import PushHints
from syncd.flows.intake import Intake
from syncd.flows.jobs import Job
from syncd.flows.operate.audit import AuditTrail
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
from syncd.flows.parked import Parked
from syncd.flows.preview import Preview
from syncd.flows.purge import Purge
from syncd.flows.purged import Purged
from syncd.flows.purgesurvey import Survey
from syncd.flows.registrations import Registrations
from syncd.flows.subscriptions import Subscriptions
from syncd.flows.ticks import Ticks
from syncd.http.auth import Tokens
from syncd.http.connection import ListenerLimits
from syncd.http.server import Server
from syncd.http.services import HttpLimits, Operate, Services
from syncd.ports.provider import schemes_of
from syncd.runtime.live import LiveEvents
from syncd.testing.clock import FrozenClock
from tests.doubles.client import _OneToken as OneToken
from tests.integration.http.parts import Controls, MemoryVault, Runs, check_overlay

ADMIN, READER, TENANT_1 = "admin-token-0123456789", "reader-token-0123456789", "tenant-1-token-0123456789"
QUEUES = ("sync-inbound", "sync-outbound")
#: Calls to a provider that this world's own limits allow.
PER_MINUTE = 30
PROVIDERS = {"github": GITHUB, "rest": REST}
NIGHTLY = parse_schedule("0 0 3 * * *")  # here: the first use of a time zone reads it from the disk


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class World:
    server: Server
    services: Services
    store: Store
    clock: FrozenClock
    control: Controls
    vault: MemoryVault
    live: LiveEvents
    runs: Runs
    ticks: Ticks
    job: Job
    apply: Apply
    parked: Parked
    observed: list[tuple[str, dict[str, object]]]
    client: aiohttp.ClientSession

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def change(self, **changes: Any) -> None:
        """Another generation."""
        self.services = replace(self.services, **changes)

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = ADMIN,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> Answer:
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None:
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        async with self.client.request(
            method, self.address + path, data=data, headers=sent, allow_redirects=False
        ) as response:
            return Answer(response.status, response.headers, await response.text())

    async def api(self, method: str, path: str, body: object = None, **more: Any) -> Answer:
        return await self.ask(method, f"/api/v1{path}", body, **more)

    async def raw(self, data: bytes, *, close: bool = False) -> bytes:
        """Bytes onto a fresh connection; what comes back until the server closes it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            writer.write(data)
            await writer.drain()
            if close:
                writer.write_eof()
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    async def connection(self, identifier: str = "conn-gh", tenant: str = "tenant-1", **more: Any) -> Answer:
        body = {
            "id": identifier,
            "tenantId": tenant,
            "integrationId": "github",
            "settings": {"owner": "o", "repo": "r"},
            "entities": {"issue": {"direction": "both"}},
            **more,
        }
        return await self.api("POST", "/connections", body)

    async def registration(self, identifier: str = "reg-1", tenant: str = "tenant-1", **more: Any) -> Answer:
        body = {
            "id": identifier,
            "tenantId": tenant,
            "integrationId": "github",
            "scheme": "hmac-sha256",
            "secret": "a-shared-secret",
            **more,
        }
        return await self.api("POST", "/webhooks", body)


@asynccontextmanager
async def opened(
    directory: Path,
    *,
    listener: ListenerLimits | None = None,
    limits: HttpLimits | None = None,
) -> AsyncIterator[World]:
    clock = FrozenClock()
    policy = OutgoingPolicy(loopback=True)
    observed: list[tuple[str, dict[str, object]]] = []

    def observe(event: str, /, **facts: object) -> None:
        observed.append((event, facts))

    async with (
        open_store(directory, clock=clock, durable=False) as store,
        open_blobs(directory / "blobs") as blobs,
        open_session(policy=policy) as session,
    ):
        documents, queue = store.documents, store.queue
        vault, control, runs, live = MemoryVault(), Controls(), Runs(), LiveEvents(clock=clock)
        ticks = Ticks(documents=documents, clock=clock, observe=observe, owner="test/1", alone=True)
        job = Job(name="finops-daily-sync", schedule=NIGHTLY, run=runs.run, missed="once")
        audit = AuditTrail(documents=documents, clock=clock)
        registrations = Registrations(documents=documents, vault=vault, clock=clock, schemes=schemes_of(PROVIDERS))
        subscriptions = Subscriptions(documents=documents, clock=clock, providers=PROVIDERS)
        hints = PushHints(queue=queue, clock=clock)
        entities = Entities(documents=documents, subscriptions=subscriptions, hints=hints, clock=clock)
        intake = Intake(
            documents=documents,
            subscriptions=subscriptions,
            conflicts=ConflictLog(documents=documents, clock=clock, observe=observe),
            hints=hints,
            clock=clock,
        )
        guard = DeleteGuard(documents=documents, clock=clock)
        tasks = TasksFlow(documents=documents, clock=clock, audit=audit, control=control, providers=PROVIDERS)
        apis = HttpApis(
            session=session,
            policy=policy,
            credentials=OneToken(),
            limits=Limits(tenant=PER_MINUTE, integration=PER_MINUTE, operations={}),
            limiter=EmbeddedLimiter(clock=clock),
            clock=clock,
            observe=observe,
            user_agent="syncd-tests",
            timeout=10.0,
        )
        rows = AuditRows(documents=documents, clock=clock, owner="test/1", sole=True)
        parked = Parked(documents=documents, queue=queue, clock=clock, observe=observe)
        webhooks = WebhooksFlow(registrations=registrations, documents=documents, audit=audit)
        survey = Survey(documents=documents, queue=queue, vault=vault, clock=clock, queues=QUEUES)
        purge = Purge(
            documents=documents,
            vault=vault,
            blobs=blobs,
            registrations=registrations,
            survey=survey,
            purged=Purged(documents=documents, blobs=blobs, clock=clock, observe=observe),
            clock=clock,
        )
        services = Services(
            accept=Accept(
                registrations=registrations,
                documents=documents,
                queue=queue,
                blobs=blobs,
                limiter=EmbeddedLimiter(clock=clock),
                clock=clock,
                observe=observe,
            ),
            registrations=registrations,
            operate=Operate(
                connections=ConnectionsFlow(
                    documents=documents,
                    credentials=CredentialStore(documents=documents, vault=vault, clock=clock),
                    clock=clock,
                    audit=audit,
                    providers=PROVIDERS,
                    tasks=tasks,
                ),
                connection_tests=ConnectionTestsFlow(documents=documents, providers=PROVIDERS, apis=apis, clock=clock),
                on_demand=OnDemandFlow(
                    documents=documents,
                    providers=PROVIDERS,
                    tasks=tasks,
                    preview=Preview(documents=documents, subscriptions=subscriptions, apis=apis, clock=clock),
                    guard=guard,
                    audit=audit,
                ),
                webhooks=webhooks,
                webhook_events=WebhookEventsFlow(
                    documents=documents, queue=queue, webhooks=webhooks, audit=audit, clock=clock
                ),
                tasks=tasks,
                results=ResultsFlow(documents=documents),
                entities=EntitiesFlow(
                    entities=entities,
                    audit=audit,
                    preview=EditPreview(subscriptions=subscriptions, providers=PROVIDERS, clock=clock),
                ),
                queues=QueuesFlow(queue=queue, parked=parked, clock=clock, audit=audit, names=QUEUES),
                jobs=JobsFlow(jobs={job.name: job}, requests=ticks.requests, control=control, audit=audit),
                executions=ExecutionsFlow(documents=documents),
                providers=ProvidersFlow(providers=PROVIDERS),
                settings=SettingsFlow(
                    overlay=Overlay(documents=documents, clock=clock),
                    control=control,
                    audit=audit,
                    check=check_overlay,
                ),
                vault_key=VaultKeyFlow(vault=vault, audit=audit),
                tenants=TenantsFlow(purge=purge, survey=survey, audit=audit),
            ),
            tokens=Tokens(
                [
                    (Principal(name="admin", role="operate"), Secret(ADMIN)),
                    (Principal(name="reader"), Secret(READER)),
                    (
                        Principal(name="one", role="operate", tenants=frozenset({"tenant-1"})),
                        Secret(TENANT_1),
                    ),
                ]
            ),
            limits=limits or HttpLimits(),
            control=control,
            events=live,
            metrics=lambda: b"# TYPE up gauge\nup 1\n",
            observe=observe,
            clock=clock,
            roles=frozenset({"webhooks"}),
        )
        apply = Apply(
            registrations=registrations,
            subscriptions=subscriptions,
            intake=intake,
            guard=guard,
            rows=rows,
            providers=PROVIDERS,
            clock=clock,
            observe=observe,
        )
        world: World
        server = Server(current=lambda: world.services, clock=clock, host="127.0.0.1", port=0, limits=listener)
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
            world = World(
                server=server,
                services=services,
                store=store,
                clock=clock,
                control=control,
                vault=vault,
                live=live,
                runs=runs,
                ticks=ticks,
                job=job,
                apply=apply,
                parked=parked,
                observed=observed,
                client=client,
            )
            await server.start()
            try:
                yield world
            finally:
                await server.stop(timeout=2)
