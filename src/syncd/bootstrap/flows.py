"""The use-cases, built from ports and plain values."""

from __future__ import annotations

from dataclasses import dataclass

from syncd.adapters.providers import load_providers
from syncd.bootstrap.ports import Ports
from syncd.domain.errors import Bin
from syncd.domain.foreign import CHANGE
from syncd.domain.outcomes import Outcome
from syncd.domain.pushing import lease_for
from syncd.domain.retry import RetryPolicy
from syncd.domain.taskmessages import KIND as TASK
from syncd.flows.accept import KIND as WEBHOOK
from syncd.flows.accept import Accept
from syncd.flows.apply import Apply
from syncd.flows.audit_rows import AuditRows
from syncd.flows.change import OutboundChanges
from syncd.flows.conflicts import ConflictLog
from syncd.flows.deleteguard import DeleteGuard
from syncd.flows.entities import Entities
from syncd.flows.exhausted import Answered, Exhausted, NotedApis
from syncd.flows.hints import KIND as PUSH
from syncd.flows.hints import PushHints
from syncd.flows.intake import Intake
from syncd.flows.operate.audit import AuditTrail
from syncd.flows.parked import Parked
from syncd.flows.pull import Pull
from syncd.flows.pullcursors import PullCursors
from syncd.flows.push import Push
from syncd.flows.pushall import PushAll
from syncd.flows.pushledger import PushLedger
from syncd.flows.registrations import Registrations
from syncd.flows.subscriptions import Subscriptions
from syncd.flows.sync import Sync
from syncd.flows.taskruns import TaskRuns
from syncd.ports.api import Apis
from syncd.ports.provider import Providers, schemes_of
from syncd.ports.queue import Delivery
from syncd.runtime.work import Handle, Handler, Work
from syncd.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Flows:
    providers: Providers
    apis: Apis
    registrations: Registrations
    subscriptions: Subscriptions
    entities: Entities
    parked: Parked
    exhausted: Exhausted
    accept: Accept
    apply: Apply
    push: Push
    sync: Sync
    runs: TaskRuns
    guard: DeleteGuard
    ledger: PushLedger
    changes: OutboundChanges
    audit: AuditTrail

    async def park(self, delivery: Delivery, where: Bin, reason: str) -> None:
        """Set a message aside, and say so where the work stands that it carries: on the audit row of its event or change, in the
        link of its push, on its task. May be repeated."""
        envelope = delivery.envelope
        if envelope.kind == PUSH:
            await self.push.parked(envelope, delivery.body, where, reason)
        await self.parked.park(delivery, where, reason)
        if envelope.kind == WEBHOOK:
            await self.apply.failed(envelope, reason)
        elif envelope.kind == TASK:
            await self.runs.parked(envelope, where, reason, body=delivery.body)
        elif envelope.kind == CHANGE:
            await self.changes.failed(envelope, delivery.body, reason)


def build_flows(settings: Settings, ports: Ports, providers: Providers | None = None) -> Flows:
    providers = load_providers() if providers is None else providers
    documents, queue, clock, observe = ports.documents, ports.queue, ports.clock, ports.observe
    webhooks = settings.webhooks
    registrations = Registrations(
        documents=documents,
        vault=ports.vault,
        clock=clock,
        schemes=schemes_of(providers),
        rate=webhooks.rate,
        usual_bytes=webhooks.max_body_bytes,
        large_bytes=webhooks.large_body_bytes,
        tolerance=webhooks.timestamp_tolerance,
    )
    subscriptions = Subscriptions(documents=documents, clock=clock, providers=providers)
    hints = PushHints(queue=queue, clock=clock)
    conflicts = ConflictLog(documents=documents, clock=clock, observe=observe)
    intake = Intake(
        documents=documents,
        subscriptions=subscriptions,
        conflicts=conflicts,
        hints=hints,
        clock=clock,
    )
    ledger = PushLedger(
        documents=documents,
        subscriptions=subscriptions,
        conflicts=conflicts,
        hints=hints,
        clock=clock,
        observe=observe,
    )
    sync = settings.sync
    guard = DeleteGuard(
        documents=documents, clock=clock, share=sync.delete_guard_share, records=sync.delete_guard_records
    )
    answered = Answered(documents=documents, clock=clock)
    apis = NotedApis(ports.apis(settings, providers), answered)
    runs = TaskRuns(documents=documents, clock=clock, owner=ports.owner, observe=observe, sole=ports.sole)
    rows = AuditRows(
        documents=documents,
        clock=clock,
        owner=ports.owner,
        sole=ports.sole,
        body_dedupe_window=webhooks.body_dedupe_window,
    )
    push = Push(
        ledger=ledger,
        intake=intake,
        subscriptions=subscriptions,
        providers=providers,
        apis=apis,
        clock=clock,
        observe=observe,
        owner=ports.owner,
        retries=_retries(settings),
        lease=lease_for(settings.http.outgoing_timeout),
    )
    entities = Entities(documents=documents, subscriptions=subscriptions, hints=hints, clock=clock)
    parked = Parked(documents=documents, queue=queue, clock=clock, observe=observe, debts={PUSH: push})
    return Flows(
        providers=providers,
        apis=apis,
        registrations=registrations,
        subscriptions=subscriptions,
        entities=entities,
        changes=OutboundChanges(documents=documents, entities=entities, rows=rows, clock=clock, observe=observe),
        parked=parked,
        exhausted=Exhausted(parked=parked, answered=answered),
        accept=Accept(
            registrations=registrations,
            documents=documents,
            queue=queue,
            blobs=ports.blobs,
            limiter=ports.limiter,
            clock=clock,
            observe=observe,
            spooling=ports.spooling,
            dedupe_window=webhooks.dedupe_window,
            body_dedupe_window=webhooks.body_dedupe_window,
            enqueue_timeout=webhooks.enqueue_timeout,
            inline_bytes=settings.queue.inline_bytes,
            rejected_sample=webhooks.rejected_sample,
        ),
        apply=Apply(
            registrations=registrations,
            subscriptions=subscriptions,
            intake=intake,
            guard=guard,
            rows=rows,
            providers=providers,
            clock=clock,
            observe=observe,
        ),
        push=push,
        sync=Sync(
            runs=runs,
            pull=Pull(
                cursors=PullCursors(documents=documents, clock=clock, owner=ports.owner, lag=sync.lag),
                intake=intake,
                guard=guard,
                apis=apis,
                clock=clock,
                observe=observe,
                page_size=sync.page_size,
            ),
            push_all=PushAll(documents=documents, hints=hints, clock=clock),
            documents=documents,
            providers=providers,
            clock=clock,
        ),
        runs=runs,
        guard=guard,
        ledger=ledger,
        audit=AuditTrail(documents=documents, clock=clock),
    )


def handlers_of(settings: Settings, flows: Flows) -> dict[str, Handler]:
    """What each kind of message needs."""
    sync, retries = settings.sync, _retries(settings)

    async def apply(work: Work) -> Outcome:
        return await flows.apply.handle(work.envelope, work.body)

    async def push(work: Work) -> Outcome:
        return await flows.push.handle(work.envelope, work.body, work.answered)

    async def task(work: Work) -> Outcome:
        return await flows.sync.handle(work.envelope, work.body, lambda: work.should_pause)

    async def change(work: Work) -> Outcome:
        return await flows.changes.handle(work.envelope, work.body)

    def handler(handle: Handle, queue: str) -> Handler:
        limits = settings.queues[queue]
        return Handler(
            handle=handle,
            retries=retries,
            slice=sync.slice,
            soft_limit=limits.soft_limit,
            hard_limit=limits.hard_limit,
        )

    return {
        WEBHOOK: handler(apply, "sync-outbound"),
        PUSH: handler(push, "sync-outbound"),
        TASK: handler(task, "sync-inbound"),
        CHANGE: handler(change, "sync-outbound"),
    }


def _retries(settings: Settings) -> RetryPolicy:
    sync = settings.sync
    return RetryPolicy(delays=sync.retry_delays, max_retries=sync.max_retries, jitter=sync.retry_jitter)
