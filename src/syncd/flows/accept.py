"""Accepting a webhook: verify, limit, write once, answer.

This is the hot path. With a warm cache it makes one durable write and reads no document, or one that is not waited for longer than
a moment, where the queue cannot tell a duplicate; it parses nothing, because what is not stored yet cannot be parked.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from syncd.domain.collections import AUDIT_ROWS, REJECTED_ROW_TTL
from syncd.domain.errors import (
    Failure,
    NotFound,
    Overloaded,
    SyncdError,
    Throttled,
    TimedOut,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from syncd.domain.events import identify
from syncd.domain.ids import located, partition_of, ulid
from syncd.domain.messages import MESSAGE_LIFETIME, Envelope
from syncd.domain.times import DAY, MINUTE, iso
from syncd.flows.accept_processed import ProcessedBefore
from syncd.flows.deadlines import Deadlines
from syncd.ports.documents import Create, Replace
from syncd.ports.queue import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.signatures import Verified
    from syncd.flows.registrations import Registration, Registrations
    from syncd.flows.spooling import Spooling
    from syncd.ports.blobs import Blobs
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents
    from syncd.ports.limiter import Limiter
    from syncd.ports.observe import Observe
    from syncd.ports.queue import Queue

QUEUE = "sync-outbound"
KIND = "webhook"
#: Characters of a kept header. Longer ones are left out: nothing that a scheme needs is that long.
_MOST_HEADER = 1024
#: Rows of rejected requests in a minute, per process, whatever the sample: forgeries must not fill the disk.
_MOST_ROWS = 60


@dataclass(frozen=True, slots=True)
class Accepted:
    event_id: str
    status: Literal["accepted", "duplicate"]


class Accept:
    """`inline_bytes`: larger bodies go to a blob first. `enqueue_timeout`, `dedupe_window` and `body_dedupe_window` in seconds.
    One in `rejected_sample` rejected requests gets a row; all are counted. `spooling`: None where the queue's commit is a local
    one, and there is nothing to be spared."""

    def __init__(
        self,
        *,
        registrations: Registrations,
        documents: Documents,
        queue: Queue,
        blobs: Blobs,
        limiter: Limiter,
        clock: Clock,
        observe: Observe,
        spooling: Spooling | None = None,
        dedupe_window: float = 7 * DAY,
        body_dedupe_window: float = 60.0,
        enqueue_timeout: float = 1.5,
        inline_bytes: int = 64 * 1024,
        rejected_sample: int = 10,
    ) -> None:
        self._registrations = registrations
        self._documents = documents
        self._queue = queue
        self._blobs = blobs
        self._limiter = limiter
        self._clock = clock
        self._observe = observe
        self._spooling = spooling
        self._dedupe_window = dedupe_window
        self._body_dedupe_window = body_dedupe_window
        self._processed = (
            None
            if queue.capabilities.dedupe_window
            else ProcessedBefore(documents=documents, body_dedupe_window=body_dedupe_window)
        )
        self._deadlines = Deadlines(enqueue_timeout)
        self._inline_bytes = inline_bytes
        self._sample = rejected_sample
        self._rejected = 0
        self._rows = 0
        self._rows_since = 0.0

    async def receive(
        self, registration_id: str, headers: Mapping[str, str], body: bytes, received_at: float
    ) -> Accepted:
        """`headers` answers to lower-case names; `body` is raw; `received_at` in Unix seconds. Durable when it returns.

        Raises NotFound (unknown or disabled), TooLarge, Unauthorized, Throttled, and Overloaded or Unavailable where it could
        not be stored: the sender should try again, which is safe.
        """
        registration = self._registrations.cached(registration_id)
        if registration is None:
            try:
                registration = await self._registrations.find(registration_id)
            except NotFound:
                self._observe("webhook_rejected", reason="unknown")
                raise
        try:
            verified = await self._admit(registration, headers, body, received_at)
        except (NotFound, TooLarge, Unauthorized, Throttled) as error:
            await self._reject(registration, error, received_at)
            raise
        body_hash = hashlib.sha256(body).hexdigest()
        identity = identify(
            registration_id,
            verified,
            body_hash,
            received_at,
            dedupe_window=self._dedupe_window,
            body_dedupe_window=self._body_dedupe_window,
        )
        envelope = Envelope(
            kind=KIND,
            origin_id=identity.origin_id,
            group=registration.group,
            tenant_id=registration.tenant_id,
            connection_id=registration.connection_id,
            registration_id=registration_id,
            event_id=identity.event_id,
            received_at=received_at,
            expires_at=received_at + MESSAGE_LIFETIME,
            correlation_id=identity.event_id[-32:],
            traceparent=_traceparent(headers),
            body_ref=f"webhooks/{registration_id}/{body_hash}" if len(body) > self._inline_bytes else None,
            headers=_kept(registration.kept_headers, headers),
        )
        message = Message(envelope, body, dedupe_id=identity.dedupe_id, dedupe_window=identity.dedupe_window)
        known = self._processed is not None and await self._processed.look(identity, body_hash, received_at)
        duplicate = known or await self._store(message)
        self._observe(
            "webhook_accepted",
            registration=registration_id,
            duplicate=duplicate,
            duration=self._clock.now() - received_at,
        )
        if duplicate:
            await self._count_duplicate(identity.event_id)
        return Accepted(identity.event_id, "duplicate" if duplicate else "accepted")

    async def _admit(self, registration: Registration, headers: Mapping[str, str], body: bytes, now: float) -> Verified:
        if not registration.enabled:
            raise NotFound(f"there is no webhook registration {registration.id!r}")
        if len(body) > registration.max_body_bytes:
            raise TooLarge(f"the body is larger than {registration.max_body_bytes} bytes")
        if registration.verifier is None:
            raise Unauthorized("this registration's signature scheme is not known here")
        verified = registration.verifier.verify(headers, body, now)
        if registration.levels:
            await self._limit(registration)
        return verified

    async def _limit(self, registration: Registration) -> None:
        decision = await self._limiter.take(registration.levels)
        if not decision.allowed:
            raise Throttled(
                f"more than {registration.levels[0].limit} events a minute", retry_after=decision.retry_after
            )

    async def _store(self, message: Message) -> bool:
        try:
            if self._spooling is None:
                return await self._enqueue(message)
            return await self._spooling.keep(message, self._enqueue)
        except SyncdError as error:
            self._observe(
                "webhook_not_stored",
                registration=message.envelope.registration_id,
                reason=error.label,
                error=str(error),
            )
            if isinstance(error, Failure) and not isinstance(error, Overloaded):
                # Whatever it is to us, to the sender it is one thing: not now.
                raise Unavailable(str(error), retry_after=error.retry_after) from error
            raise

    async def _enqueue(self, message: Message) -> bool:
        """Into the queue, within the time that senders have."""
        try:
            with self._deadlines.one():
                name = message.envelope.body_ref
                if name is not None:
                    # Named by content: sent again, it is the same blob. One whose message was never sent is swept.
                    await self._blobs.put(name, message.body)
                    message = replace(message, body=b"")
                [sent] = await self._queue.send(QUEUE, (message,))
        except TimeoutError:
            # It may be stored all the same; sent again, it is then a duplicate.
            raise TimedOut(f"the queue took longer than {self._deadlines.seconds:g} s", retry_after=5.0) from None
        return sent.duplicate

    async def _count_duplicate(self, event_id: str) -> None:
        """One more on the event's row, where there is a row and nobody else is writing it: a figure for people."""
        partition = partition_of(event_id)
        try:
            row = await self._documents.get(AUDIT_ROWS, partition, event_id)
            if row is not None:
                data = {**row.data, "duplicates": row.data.get("duplicates", 0) + 1}
                await self._documents.write(AUDIT_ROWS, partition, [Replace(event_id, data, row.etag)])
        except SyncdError as error:
            self._observe("duplicate_not_counted", error=error.label)

    async def _reject(self, registration: Registration, error: SyncdError, now: float) -> None:
        self._observe("webhook_rejected", registration=registration.id, reason=error.label)
        self._rejected += 1
        if now - self._rows_since > MINUTE:
            self._rows, self._rows_since = 0, now
        if (self._rejected - 1) % self._sample or self._rows >= _MOST_ROWS:
            return
        self._rows += 1
        rest = ulid(now)
        partition = f"{registration.id}:{int(rest[-1], 36) % 16:x}"
        row: JsonObject = {
            "tenantId": registration.tenant_id,
            "registrationId": registration.id,
            "integrationId": registration.integration_id,
            "connectionId": registration.connection_id,
            "status": "rejected",
            "reason": str(error),
            "timestamp": iso(now),
            "receivedAt": iso(now),
            "schema": AUDIT_ROWS.schema,
        }
        try:
            await self._documents.write(
                AUDIT_ROWS, partition, [Create(located(partition, rest), row, ttl=REJECTED_ROW_TTL)]
            )
        except SyncdError as failed:
            self._observe("rejection_not_recorded", error=failed.label)


def _kept(names: Iterable[str], headers: Mapping[str, str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    for name in names:
        value = headers.get(name)
        if value is not None and len(value) <= _MOST_HEADER:
            kept[name] = value
    return kept


def _traceparent(headers: Mapping[str, str]) -> str | None:
    """https://www.w3.org/TR/trace-context/: 55 characters in version 00."""
    value = headers.get("traceparent")
    return value if value is not None and len(value) == 55 and value.isascii() else None
