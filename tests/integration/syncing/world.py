"""Both directions as the composition root wires them: a real backend, the product's own client, and systems over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from syncd.adapters.embedded.limiter import EmbeddedLimiter
from syncd.adapters.http.api import HttpApis
from syncd.adapters.http.client import open_session
from syncd.adapters.http.limits import Limits
from syncd.adapters.http.ssrf import OutgoingPolicy
from syncd.adapters.providers import load_providers
from syncd.bootstrap.flows import Flows, build_flows, handlers_of
from syncd.bootstrap.jobs import build_plan
from syncd.bootstrap.ports import Ports
from syncd.domain.collections import CONNECTIONS, ENTITIES, RESULTS, TASKS
from syncd.domain.ids import located, ulid
from syncd.domain.jsontypes import JsonObject
from syncd.flows.conflicts import ConflictLog
from syncd.flows.debts import Debts
from syncd.flows.plan import Plan
from syncd.ports.api import Account, Api, Apis
from syncd.ports.documents import Condition, Create, Document, Query
from syncd.ports.queue import Delivery
from syncd.runtime.executor import Executor
from syncd.runtime.work import Work, Workload
from syncd.settings import Settings
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import Crash, CrashAt
from tests.doubles.client import _OneToken as OneToken
from tests.doubles.contract import START, ProviderDouble
from tests.integration.backends import Backend, Embedded, Kept, lease
from tests.integration.webhooks import Seen

TENANT = "tenant"
QUEUES = ("sync-inbound", "sync-outbound")
PROVIDERS = load_providers()
SETTINGS = Settings()


@dataclass
class World:
    ports: Ports
    flows: Flows
    plan: Plan
    clock: FrozenClock
    seen: Seen
    executor: Executor
    workload: Workload
    failures: list[str] = field(default_factory=list)

    async def connect(self, identifier: str, double: ProviderDouble, direction: str = "both", **rules: Any) -> None:
        await self._connect(identifier, "rest", double.settings(), {"contact": {"direction": direction, **rules}})

    async def _connect(self, identifier: str, integration: str, settings: JsonObject, entities: JsonObject) -> None:
        data: JsonObject = {
            "tenantId": TENANT,
            "integrationId": integration,
            "settings": settings,
            "entities": entities,
            "enabled": True,
            "credentialId": f"{TENANT}.one",
        }
        await self.ports.documents.write(CONNECTIONS, identifier, [Create(identifier, data)])

    async def task(self, connection: str, mode: str = "pull", **fields: Any) -> str:
        """A pending task, as the API makes it."""
        now = self.clock.now()
        identifier = located(TENANT, ulid(now))
        data: JsonObject = {
            "type": "sync",
            "tenantId": TENANT,
            "integrationId": "rest",
            "connectionId": connection,
            "syncMode": mode,
            "priority": "normal",
            "enabled": True,
            "status": "pending",
            "generation": 0,
            "createdAt": "2023-11-14T22:00:00.000Z",
            **fields,
        }
        await self.ports.documents.write(TASKS, TENANT, [Create(identifier, data)])
        return identifier

    async def pull(self, connection: str, **fields: Any) -> JsonObject:
        """A task of the connection through plan, queue and pull; its result's counts that are not 0."""
        identifier = await self.task(connection, **fields)
        await self.plan.queue_due()
        await self.work()
        return await self.counts(identifier)

    async def counts(self, task: str) -> JsonObject:
        result = await self.result(task)
        return {name: count for name, count in result["counts"].items() if count}

    async def result(self, task: str) -> JsonObject:
        page = await self.ports.documents.query(
            RESULTS, Query(across=True, where=(Condition("taskId", "eq", task),), order="createdAt")
        )
        return page.items[-1].data

    async def tasks(self) -> list[Document]:
        return (await self.ports.documents.query(TASKS, Query(partition=TENANT))).items

    async def task_now(self, identifier: str) -> JsonObject:
        found = await self.ports.documents.get(TASKS, TENANT, identifier)
        assert found is not None
        return found.data

    async def lease(self, count: int = 1) -> list[Delivery]:
        found: list[Delivery] = []
        for queue in QUEUES:
            found += await lease(self.ports.queue, queue, count)
        return found

    async def work(self, *, most: int = 2000, patience: float = 900.0) -> None:
        """Do as the worker does until nothing is left, letting time pass to whatever waits, up to `patience` seconds in all."""
        for _ in range(most):
            deliveries = await self.lease()
            for delivery in deliveries:
                await self.execute(delivery)
            if not deliveries:
                wait = await self.waiting()
                if wait is None or wait > patience:
                    return
                patience -= max(wait, 0.001)
                await self.clock.advance(max(wait, 0.001))
        raise AssertionError(f"still busy after {most} rounds")

    async def waiting(self) -> float | None:
        """Seconds until the next message is due; None: there is none."""
        waits = [
            one.due - self.clock.now()
            for queue in QUEUES
            for one in await self.ports.queue.peek(queue)
            if one.state != "leased"
        ]
        return min(waits, default=None)

    async def execute(self, *deliveries: Delivery) -> None:
        """All at once; time passes for those that sleep."""
        running = asyncio.gather(*(self._execute(one) for one in deliveries), return_exceptions=True)
        while not running.done():
            if self.clock.sleeping:
                await self.clock.advance(0.25)
            else:
                await asyncio.wait([running], timeout=0.01)
        for failed in running.result():
            if failed is not None:
                raise failed

    async def _execute(self, delivery: Delivery) -> None:
        work = Work(delivery, delivery.body, self.clock, self.clock.monotonic() + 60)
        await self.executor.execute(work, self.workload)
        await self.executor.flush()

    async def remind(self) -> int:
        return await self.debts().remind()

    def debts(self, **fields: Any) -> Debts:
        documents, clock = self.ports.documents, self.clock
        conflicts = ConflictLog(documents=documents, clock=clock, observe=self.seen)
        return Debts(documents=documents, queue=self.ports.queue, conflicts=conflicts, clock=clock, **fields)

    async def entities(self, *, deleted: bool = False) -> list[Document]:
        return (await self.flows.entities.list(TENANT, "contact", limit=1000, deleted=deleted)).items

    async def everything(self) -> list[Document]:
        """Entities and what stands beside them."""
        return (await self.ports.documents.query(ENTITIES, Query(partition=f"{TENANT}:contact", limit=1000))).items


class _CrashingApi:
    """A request to a provider is a port call, too."""

    def __init__(self, api: Api, crash: CrashAt) -> None:
        self._api = api
        self._crash = crash

    @property
    def account(self) -> Account:
        return self._api.account

    async def request(self, *args: Any, **kwargs: Any) -> Any:
        return await self._crash.call("api.request", self._api.request, *args, **kwargs)


class _CrashingApis:
    def __init__(self, apis: Apis, crash: CrashAt) -> None:
        self._apis = apis
        self._crash = crash

    def of(self, account: Account, base_url: str, *, reservation: str | None = None, books: bool = True) -> Api:
        return cast(
            "Api", _CrashingApi(self._apis.of(account, base_url, reservation=reservation, books=books), self._crash)
        )


@asynccontextmanager
async def opened(
    directory: Path,
    clock: FrozenClock,
    *,
    crash: CrashAt | None = None,
    boot: str = "one",
    limits: Limits | None = None,
    adjust: Callable[[Settings], Settings] = lambda settings: settings,
    backend: Backend | None = None,
) -> AsyncIterator[World]:
    """A world on what is kept in `directory`, by the embedded backend unless another is given; with a crash, one that ends."""
    crash = crash or CrashAt()
    seen = Seen()
    policy = OutgoingPolicy(loopback=True)
    async with (backend or Embedded()).opened(directory, clock, crash) as kept, open_session(policy=policy) as session:
        limiter = EmbeddedLimiter(clock=clock)
        apis: Apis = HttpApis(
            session=session,
            policy=policy,
            credentials=OneToken(),
            limits=limits or Limits(tenant=10**6, integration=10**6, operations={}),
            limiter=limiter,
            clock=clock,
            observe=seen,
            user_agent="syncd-tests",
            timeout=10.0,
        )
        ports = _ports(kept, limiter, apis, clock, seen, crash, boot)
        settings = adjust(SETTINGS)
        flows = build_flows(settings, ports, PROVIDERS)
        executor = Executor(queue=ports.queue, blobs=ports.blobs, park=flows.park, clock=clock, observe=seen)
        try:
            yield World(
                ports=ports,
                flows=flows,
                plan=build_plan(settings, ports),
                clock=clock,
                seen=seen,
                executor=executor,
                workload=Workload(handlers=handlers_of(settings, flows)),
            )
        except Crash:
            if not crash.dead:
                raise


def _ports(
    kept: Kept,
    limiter: EmbeddedLimiter,
    apis: Apis,
    clock: FrozenClock,
    seen: Seen,
    crash: CrashAt,
    boot: str,
) -> Ports:
    return Ports(
        documents=kept.documents,
        queue=kept.queue,
        vault=kept.vault,
        limiter=limiter,
        blobs=kept.blobs,
        caller=cast("Any", None),  # nothing here calls anybody but providers
        apis=lambda settings, providers: _CrashingApis(apis, crash),
        clock=clock,
        observe=seen,
        owner=f"replica/{boot}",
        sole=True,
        looks=(),
    )


def at_start() -> FrozenClock:
    """The doubles' clock and ours begin together."""
    return FrozenClock(START)
