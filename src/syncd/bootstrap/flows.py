"""The use-cases, built from ports and plain values."""

from __future__ import annotations

from dataclasses import dataclass

from syncd.adapters.providers import load_providers
from syncd.bootstrap.ports import Ports
from syncd.domain.errors import Bin
from syncd.domain.outcomes import Outcome
from syncd.domain.retry import RetryPolicy
from syncd.flows.accept import KIND as WEBHOOK
from syncd.flows.accept import Accept
from syncd.flows.apply import Apply
from syncd.flows.audit_rows import AuditRows
from syncd.flows.entities import Entities
from syncd.flows.operate.audit import AuditTrail
from syncd.flows.parked import Parked
from syncd.flows.registrations import Registrations
from syncd.flows.subscriptions import Subscriptions
from syncd.ports.provider import Providers, schemes_of
from syncd.ports.queue import Delivery
from syncd.runtime.work import Handler, Work
from syncd.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Flows:
    providers: Providers
    registrations: Registrations
    subscriptions: Subscriptions
    entities: Entities
    parked: Parked
    accept: Accept
    apply: Apply
    audit: AuditTrail

    async def park(self, delivery: Delivery, where: Bin, reason: str) -> None:
        """Set a message aside, and say so on the audit row of the event that it carries. May be repeated."""
        await self.parked.park(delivery, where, reason)
        if delivery.envelope.kind == WEBHOOK:
            await self.apply.failed(delivery.envelope, reason)


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
    subscriptions = Subscriptions(documents=documents, clock=clock)
    entities = Entities(documents=documents, queue=queue, subscriptions=subscriptions, clock=clock)
    rows = AuditRows(
        documents=documents,
        clock=clock,
        owner=ports.owner,
        sole=True,
        body_dedupe_window=webhooks.body_dedupe_window,
    )
    return Flows(
        providers=providers,
        registrations=registrations,
        subscriptions=subscriptions,
        entities=entities,
        parked=Parked(documents=documents, queue=queue, clock=clock, observe=observe),
        accept=Accept(
            registrations=registrations,
            documents=documents,
            queue=queue,
            blobs=ports.blobs,
            limiter=ports.limiter,
            clock=clock,
            observe=observe,
            dedupe_window=webhooks.dedupe_window,
            body_dedupe_window=webhooks.body_dedupe_window,
            enqueue_timeout=webhooks.enqueue_timeout,
            inline_bytes=settings.queue.inline_bytes,
            rejected_sample=webhooks.rejected_sample,
        ),
        apply=Apply(
            registrations=registrations,
            subscriptions=subscriptions,
            entities=entities,
            rows=rows,
            providers=providers,
            clock=clock,
            observe=observe,
        ),
        audit=AuditTrail(documents=documents, clock=clock),
    )


def handlers_of(settings: Settings, flows: Flows) -> dict[str, Handler]:
    """What each kind of message needs."""
    sync = settings.sync
    retries = RetryPolicy(delays=sync.retry_delays, max_retries=sync.max_retries, jitter=sync.retry_jitter)
    outbound = settings.queues["sync-outbound"]

    async def apply(work: Work) -> Outcome:
        return await flows.apply.handle(work.envelope, work.body)

    return {
        WEBHOOK: Handler(
            handle=apply,
            retries=retries,
            slice=sync.slice,
            soft_limit=outbound.soft_limit,
            hard_limit=outbound.hard_limit,
        )
    }
