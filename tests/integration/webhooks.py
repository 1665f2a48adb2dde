"""The webhook flows over a real backend, as the composition root wires them."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncd.adapters.embedded.limiter import EmbeddedLimiter
from syncd.adapters.providers import load_providers
from syncd.domain.collections import AUDIT_ROWS, CONNECTIONS, ENTITIES
from syncd.domain.ids import partition_of
from syncd.domain.jsontypes import JsonObject
from syncd.domain.outcomes import Continue, Outcome, Park, Retry, Snooze
from syncd.domain.secrets import Secret
from syncd.flows.accept import QUEUE, Accept, Accepted
from syncd.flows.apply import Apply
from syncd.flows.audit_rows import AuditRows
from syncd.flows.conflicts import ConflictLog
from syncd.flows.deleteguard import DeleteGuard
from syncd.flows.entities import Entities
from syncd.flows.hints import PushHints
from syncd.flows.intake import Intake
from syncd.flows.parked import Filter, Parked, Replayed
from syncd.flows.received import ReceivedEvents
from syncd.flows.registrations import NewRegistration, Registrations
from syncd.flows.subscriptions import Subscriptions
from syncd.ports.blobs import Blobs
from syncd.ports.documents import Create, Document, Documents, Query
from syncd.ports.provider import schemes_of
from syncd.ports.queue import Complete, Delivery, Message, Next, Queue
from syncd.ports.vault import Vault
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import CrashAt
from tests.integration.backends import Backend, Embedded, lease

SECRET = "a secret of the test"
REPOSITORY = {"id": 7, "full_name": "o/r"}
PROVIDERS = load_providers()


class Seen:
    """Observes, and remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def __call__(self, event: str, /, **facts: object) -> None:
        self.events.append((event, facts))

    def named(self, event: str) -> list[dict[str, object]]:
        return [facts for name, facts in self.events if name == event]


@dataclass
class World:
    documents: Documents
    queue: Queue
    blobs: Blobs
    vault: Vault
    clock: FrozenClock
    boot: str = "one"
    sole: bool = True
    push_queue: str = "pushes"
    seen: Seen = field(default_factory=Seen)
    given: dict[str, Any] = field(default_factory=dict)
    """More of what `Accept` takes."""

    def __post_init__(self) -> None:
        providers = PROVIDERS
        self.registrations = Registrations(
            documents=self.documents, vault=self.vault, clock=self.clock, schemes=schemes_of(providers)
        )
        self.accept = Accept(
            registrations=self.registrations,
            documents=self.documents,
            queue=self.queue,
            blobs=self.blobs,
            limiter=EmbeddedLimiter(clock=self.clock),
            clock=self.clock,
            observe=self.seen,
            rejected_sample=1,
            **self.given,
        )
        subscriptions = Subscriptions(documents=self.documents, clock=self.clock)
        hints = PushHints(queue=self.queue, clock=self.clock, to=self.push_queue)
        self.entities = Entities(documents=self.documents, subscriptions=subscriptions, hints=hints, clock=self.clock)
        self.intake = Intake(
            documents=self.documents,
            subscriptions=subscriptions,
            conflicts=ConflictLog(documents=self.documents, clock=self.clock, observe=self.seen),
            hints=hints,
            clock=self.clock,
        )
        self.apply = Apply(
            registrations=self.registrations,
            subscriptions=subscriptions,
            intake=self.intake,
            guard=DeleteGuard(documents=self.documents, clock=self.clock),
            rows=AuditRows(documents=self.documents, clock=self.clock, owner=f"replica/{self.boot}", sole=self.sole),
            providers=providers,
            clock=self.clock,
            observe=self.seen,
        )
        self.parked = Parked(documents=self.documents, queue=self.queue, clock=self.clock, observe=self.seen)
        self.received = ReceivedEvents(documents=self.documents)

    async def register(self, identifier: str = "reg", **fields: Any) -> None:
        await self.registrations.create(
            NewRegistration(
                **{
                    "id": identifier,
                    "tenant_id": "tenant",
                    "integration_id": "github",
                    "connection_id": "gh",
                    "scheme": "github",
                    "secret": Secret(SECRET),
                    **fields,
                }
            )
        )

    async def connect(
        self, identifier: str = "gh", direction: str = "both", *types: str, tenant: str = "tenant", **fields: Any
    ) -> None:
        data: JsonObject = {
            "tenantId": tenant,
            "integrationId": "github",
            "entities": {name: {"direction": direction} for name in types or ("issue",)},
            "enabled": True,
            **fields,
        }
        await self.documents.write(CONNECTIONS, identifier, [Create(identifier, data)])

    async def send(self, body: bytes, headers: dict[str, str], registration: str = "reg") -> Accepted:
        return await self.accept.receive(registration, headers, body, self.clock.now())

    async def lease(self, count: int = 10) -> list[Delivery]:
        return await lease(self.queue, QUEUE, count)

    async def work(self, *, most: int = 50) -> list[Outcome]:
        """Do as the executor does until nothing is due; the outcomes in order."""
        outcomes: list[Outcome] = []
        for _ in range(most):
            deliveries = await self.lease(1)
            if deliveries:
                outcomes.append(await self.execute(deliveries[0]))
            elif not await self.due():
                return outcomes
        raise AssertionError(f"still busy after {most} messages")

    async def due(self) -> bool:
        """Whether something is ready: a broker that is a network away may be late with it."""
        return any(
            one.state == "ready" and one.due <= self.clock.now() for one in await self.queue.peek(QUEUE, limit=1000)
        )

    async def execute(self, delivery: Delivery) -> Outcome:
        name = delivery.envelope.body_ref
        outcome = await self.apply.handle(
            delivery.envelope, delivery.body if name is None else await self.blobs.get(name)
        )
        if isinstance(outcome, Park):
            await self.parked.park(delivery, outcome.bin, outcome.reason)
        if isinstance(outcome, Snooze | Retry | Continue):
            due = outcome.until if isinstance(outcome, Snooze) else None
            await self.queue.settle([Next(delivery, Message(delivery.envelope.next_hop(), delivery.body, due))])
        else:
            await self.queue.settle([Complete(delivery)])
        return outcome

    async def replay_all(self, wanted: Filter, *, rate: float = 50.0, dry_run: bool = False) -> Replayed:
        """A bulk replay, with time passing as fast as it asks for it."""
        replaying = asyncio.create_task(self.parked.replay_all(wanted, rate=rate, dry_run=dry_run))
        while not replaying.done():
            if self.clock.sleeping:
                await self.clock.advance(1 / rate)
            else:
                await asyncio.wait([replaying], timeout=0.001)
        return await replaying

    async def row(self, event_id: str) -> JsonObject:
        found = await self.documents.get(AUDIT_ROWS, partition_of(event_id), event_id)
        assert found is not None
        return found.data

    async def issues(self, *, deleted: bool = False) -> list[Document]:
        return (await self.entities.list("tenant", "issue", deleted=deleted)).items

    async def everything(self, tenant: str = "tenant", entity_type: str = "issue") -> list[Document]:
        """Entities and aliases."""
        return (await self.documents.query(ENTITIES, Query(partition=f"{tenant}:{entity_type}", limit=1000))).items


@asynccontextmanager
async def opened(
    directory: Path,
    clock: FrozenClock,
    *,
    crash: CrashAt | None = None,
    backend: Backend | None = None,
    **fields: Any,
) -> AsyncIterator[World]:
    """A world on what is kept in `directory`, by the embedded backend unless another is given; with a crash, one that ends."""
    if backend is not None:  # a first send connects, which on a busy machine takes longer than a sender would wait
        fields.setdefault("given", {"enqueue_timeout": 30.0})
    async with (backend or Embedded()).opened(directory, clock, crash or CrashAt()) as kept:
        yield World(
            documents=kept.documents, queue=kept.queue, blobs=kept.blobs, vault=kept.vault, clock=clock, **fields
        )


def issue(number: int = 1, *, title: str = "t", at: str = "2023-11-14T22:00:00Z", action: str = "edited") -> bytes:
    return json.dumps(
        {
            "action": action,
            "issue": {"id": 100 + number, "number": number, "title": title, "updated_at": at},
            "repository": REPOSITORY,
        }
    ).encode()


def github(body: bytes, delivery: str | None = "d-1", event: str = "issues", secret: str = SECRET) -> dict[str, str]:
    """Headers as GitHub sends them."""
    headers = {
        "x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest(),
        "x-github-event": event,
        "content-type": "application/json",
        "authorization": "Bearer nobody",
    }
    return headers if delivery is None else {**headers, "x-github-delivery": delivery}
