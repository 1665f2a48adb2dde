"""Applying an accepted webhook: claim its audit row, read it, merge it into its entity, say so on the row.

Every step can be done again: the row's claim is put-if-absent or compare-and-set, the merge of an event that was merged changes
nothing, and the row is closed by compare-and-set. A crash anywhere leaves a message that comes back and a row whose lease ends.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncd.domain.dedupe import Identity
from syncd.domain.errors import Held, NotFound, NotUnderstood
from syncd.domain.events import ReceivedEvent, generic_event
from syncd.domain.ids import USER_ID, digest, located
from syncd.domain.jsonbody import parse_message
from syncd.domain.merge import Rules
from syncd.domain.outcomes import DONE, Outcome, Park
from syncd.domain.receiving import Incoming, moment, order_of
from syncd.domain.times import iso
from syncd.flows.audit_rows import raw_of
from syncd.flows.keys import Keying
from syncd.flows.subscriptions import direction_of
from syncd.ports.documents import Document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncd.domain.errors import Bin
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.messages import Envelope
    from syncd.flows.audit_rows import AuditRows
    from syncd.flows.deleteguard import DeleteGuard
    from syncd.flows.intake import Intake
    from syncd.flows.registrations import Registration, Registrations
    from syncd.flows.subscriptions import Subscriptions
    from syncd.ports.clock import Clock
    from syncd.ports.observe import Observe
    from syncd.ports.provider import Providers, WebhookSource


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where an event comes from."""

    tenant_id: str
    integration_id: str | None
    registration: Registration | None
    connection: Document | None


class Apply:
    def __init__(
        self,
        *,
        registrations: Registrations,
        subscriptions: Subscriptions,
        intake: Intake,
        guard: DeleteGuard,
        rows: AuditRows,
        providers: Providers,
        clock: Clock,
        observe: Observe,
    ) -> None:
        self._registrations = registrations
        self._subscriptions = subscriptions
        self._intake = intake
        self._guard = guard
        self._rows = rows
        self._providers = providers
        self._clock = clock
        self._observe = observe

    async def handle(self, envelope: Envelope, body: bytes) -> Outcome:
        """Work on one message of kind `webhook`. `body` is whole, also where the message carried only its reference.

        Raises what the stores raise: the message is then retried, and its next hop takes the row over at once.
        """
        origin = await self._origin(envelope, body)
        if origin is None:
            return Park(
                bin="tenant_must_act", reason="the message names no tenant, and no registration says which it is"
            )
        event, problem = self._read(origin, envelope, body)
        event_id = envelope.event_id or _event_id(envelope)
        body_hash = hashlib.sha256(body).hexdigest()
        row = await self._rows.claim(event_id, envelope, body_hash, self._facts(origin, envelope, body, event))
        if not isinstance(row, Document):
            return row
        if problem is not None:
            return await self._park(row, "not_understood", problem)
        if event is None:
            return await self._processed(row, note="nothing to do")
        if origin.connection is None:
            return await self._park(
                row, "tenant_must_act", "the event belongs to no connection: create it, then replay"
            )
        if not origin.connection.data.get("enabled", True):
            return await self._park(row, "tenant_must_act", "the connection is disabled: enable it, then replay")
        return await self._merge(row, event_id, event, origin.connection, envelope)

    async def failed(self, envelope: Envelope, reason: str) -> None:
        """Say on the row that the message was parked by the executor (retries spent, poison, expired). May be repeated."""
        event_id = envelope.event_id or _event_id(envelope)
        await self._rows.failed(event_id, envelope.origin_id, reason)

    async def _origin(self, envelope: Envelope, body: bytes) -> _Origin | None:
        registration: Registration | None = None
        if envelope.registration_id is not None:
            try:
                registration = await self._registrations.find(envelope.registration_id)
            except NotFound:
                registration = None  # deleted since: what was accepted is applied all the same
        tenant_id = envelope.tenant_id or (registration.tenant_id if registration else None)
        connection_id, integration_id = envelope.connection_id, registration.integration_id if registration else None
        if envelope.registration_id is None:
            # A producer that writes to the queue itself is trusted as the queue is; its body says whose the event is.
            named = _addressed(body)
            tenant_id, connection_id, integration_id = tenant_id or named[0], connection_id or named[1], named[2]
        if tenant_id is None:
            return None
        if registration is not None and registration.tenant_id != tenant_id:
            registration, integration_id = None, None  # its id was given to another tenant since
        connection = await self._subscriptions.connection(tenant_id, connection_id, integration_id)
        if integration_id is None and connection is not None:
            integration_id = connection.data["integrationId"]
        return _Origin(tenant_id, integration_id, registration, connection)

    def _source(self, origin: _Origin, envelope: Envelope) -> WebhookSource | None:
        """Who can read it; None: it has the generic shape."""
        provider = self._providers.get(origin.integration_id or "")
        if provider is None or provider.webhooks is None:
            return None
        scheme = provider.webhooks.scheme
        if origin.registration is not None and origin.registration.scheme is not None:
            return provider.webhooks if origin.registration.scheme.name == scheme.name else None
        return provider.webhooks if scheme.event_type_header in envelope.headers else None

    def _read(self, origin: _Origin, envelope: Envelope, body: bytes) -> tuple[ReceivedEvent | None, str | None]:
        """The event, or why it cannot be read."""
        source = self._source(origin, envelope)
        try:
            if source is None:
                return self._as_shown(origin, generic_event(body, tenant_id=origin.tenant_id)), None
            return source.event(envelope.headers, body), None
        except NotUnderstood as error:
            return None, str(error)

    def _as_shown(self, origin: _Origin, event: ReceivedEvent) -> ReceivedEvent:
        """With data in the shape that the connection's records have, where its settings say which that is."""
        provider = self._providers.get(origin.integration_id or "")
        if provider is None or provider.read_event is None or origin.connection is None:
            return event
        return provider.read_event(origin.connection.data.get("settings") or {}, event)

    def _facts(self, origin: _Origin, envelope: Envelope, body: bytes, event: ReceivedEvent | None) -> JsonObject:
        received_at = self._clock.now() if envelope.received_at is None else envelope.received_at
        facts: JsonObject = {
            "tenantId": origin.tenant_id,
            "integrationId": origin.integration_id,
            "connectionId": origin.connection.id if origin.connection else envelope.connection_id,
            "registrationId": envelope.registration_id,
            "correlationId": envelope.correlation_id,
            "timestamp": iso(received_at),
            "receivedAt": iso(received_at),
            "headers": dict(envelope.headers),
            "eventType": self._named(origin, envelope),
            **raw_of(body, envelope.body_ref),
        }
        if event is not None:
            facts |= {
                "eventType": event.event_type,
                "entityType": event.entity_type,
                "entityId": event.entity_id,
                "operation": event.operation,
            }
        return facts

    def _named(self, origin: _Origin, envelope: Envelope) -> str | None:
        """What the sender calls an event that we have not read, or that says nothing."""
        source = self._source(origin, envelope)
        scheme = origin.registration.scheme if origin.registration else source.scheme if source else None
        return envelope.headers.get(scheme.event_type_header) if scheme and scheme.event_type_header else None

    async def _merge(
        self, row: Document, event_id: str, event: ReceivedEvent, connection: Document, envelope: Envelope
    ) -> Outcome:
        direction = direction_of(connection.data, event.entity_type)
        if direction is None:
            return await self._processed(row, note=f"the connection does not list {event.entity_type}")
        if direction == "push":
            return await self._processed(row, note=f"the connection only pushes {event.entity_type}")
        received_at = self._clock.now() if envelope.received_at is None else envelope.received_at
        occurred_at = moment(event.occurred_at, received_at)
        tenant_id, entity_type = connection.data["tenantId"], event.entity_type

        async def admit(gone: Sequence[str]) -> None:
            await self._guard.admit(tenant_id, connection.id, entity_type, gone)

        incoming = Incoming(
            connection_id=connection.id,
            external_id=event.entity_id,
            operation=event.operation,
            data=event.data,
            occurred_at=occurred_at,
            order=order_of(occurred_at, event.operation, received_at),
            event_id=event_id,
            partial=event.partial,
            timed=event.occurred_at is not None,
        )
        listed = connection.data["entities"][entity_type]
        rules = Rules.of_connection(listed)
        keying = Keying.of(Identity.of_connection(listed), event_id)
        try:
            stored = await self._intake.receive(
                tenant_id, entity_type, incoming, said_at=received_at, rules=rules, admit_deletes=admit, keying=keying
            )
        except Held as error:
            return await self._park(row, error.bin, str(error))
        return await self._processed(row, entity=stored.entity_id, entityVersion=stored.version, effect=stored.effect)

    async def _processed(self, row: Document, **facts: object) -> Outcome:
        outcome = await self._rows.finish(row, "processed", processedAt=iso(self._clock.now()), **facts)
        if outcome is None:
            self._observe("webhook_processed", event_type=row.data["eventType"], effect=facts.get("effect"))
        return outcome or DONE

    async def _park(self, row: Document, bin_name: Bin, reason: str) -> Outcome:
        return await self._rows.finish(row, "parked", reason=reason) or Park(bin=bin_name, reason=reason)


def _addressed(body: bytes) -> tuple[str | None, str | None, str | None]:
    """Tenant, connection and integration that a body names."""
    try:
        wire = parse_message(body)
    except NotUnderstood:
        return None, None, None
    tenant, connection, integration = (
        value if isinstance(value := wire.get(name), str) and USER_ID.fullmatch(value) else None
        for name in ("tenantId", "connectionId", "integrationId")
    )
    return tenant, connection, integration


def _event_id(envelope: Envelope) -> str:
    """Of a message that came by the queue, from a producer that knows no registrations."""
    hashed = digest("queue", envelope.origin_id)
    return located(f"queue:{hashed[0]}", hashed)
