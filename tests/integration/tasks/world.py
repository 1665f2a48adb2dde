"""Planner and runs of tasks over a real backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncd.domain.collections import CONNECTIONS, RESULTS, TASKS
from syncd.domain.jsontypes import JsonObject
from syncd.domain.tasks import result_partition
from syncd.domain.times import iso
from syncd.flows.plan import Plan
from syncd.flows.taskruns import Run, TaskRuns
from syncd.ports.documents import Create, Document, Documents, Query
from syncd.ports.queue import Complete, Delivery, Queue
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import CrashAt
from tests.integration.backends import Backend, Embedded, lease

INBOUND, OUTBOUND = "sync-inbound", "sync-outbound"


class Seen:
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
    clock: FrozenClock
    boot: str = "one"
    sole: bool = True
    batch_size: int = 100
    seen: Seen = field(default_factory=Seen)

    def __post_init__(self) -> None:
        self.runs = self.runs_of(self.boot)
        self.plan = Plan(
            documents=self.documents,
            queue=self.queue,
            clock=self.clock,
            observe=self.seen,
            batch_size=self.batch_size,
        )

    def runs_of(self, boot: str) -> TaskRuns:
        return TaskRuns(
            documents=self.documents,
            clock=self.clock,
            owner=f"replica/{boot}",
            observe=self.seen,
            sole=self.sole,
        )

    async def add(self, identifier: str = "t.one", **fields: Any) -> None:
        data: JsonObject = {
            "tenantId": "t",
            "integrationId": "github",
            "connectionId": "gh",
            "syncMode": "pull",
            "priority": "normal",
            "enabled": True,
            "status": "pending",
            "generation": 0,
            "createdAt": iso(self.clock.now()),
        }
        wanted = {name: value for name, value in {**data, **fields}.items() if value != "absent"}
        await self.documents.write(TASKS, wanted.get("tenantId", "t"), [Create(identifier, wanted)])

    async def store(self, identifier: str, data: JsonObject, tenant: str = "t") -> None:
        """A document as it stands, of another system."""
        await self.documents.write(TASKS, tenant, [Create(identifier, dict(data))])

    async def connect(self, identifier: str = "gh", tenant: str = "t", integration: str = "github") -> None:
        data = {"tenantId": tenant, "integrationId": integration, "entities": {}, "enabled": True}
        await self.documents.write(CONNECTIONS, identifier, [Create(identifier, data)])

    async def task(self, identifier: str = "t.one", tenant: str = "t") -> JsonObject:
        found = await self.documents.get(TASKS, tenant, identifier)
        assert found is not None
        return found.data

    async def result(self, identifier: str) -> JsonObject:
        found = await self.documents.get(RESULTS, result_partition(identifier), identifier)
        assert found is not None
        return found.data

    async def results(self) -> list[Document]:
        return (await self.documents.query(RESULTS, Query(across=True, limit=1000))).items

    async def messages(self, queue: str = INBOUND) -> list[Delivery]:
        return await lease(self.queue, queue, 1000)

    async def message(self, queue: str = INBOUND) -> Delivery:
        [one] = await self.messages(queue)
        return one

    async def begin(self, delivery: Delivery, runs: TaskRuns | None = None) -> Run | None:
        runs = runs or self.runs
        message = await runs.read(delivery.envelope, delivery.body)
        return await runs.begin(message, delivery.envelope)

    async def complete(self, delivery: Delivery) -> None:
        await self.queue.settle([Complete(delivery)])


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
    async with (backend or Embedded()).opened(directory, clock, crash or CrashAt()) as kept:
        yield World(documents=kept.documents, queue=kept.queue, clock=clock, **fields)
