"""What is remembered of a purged tenant: from when on its messages count again.

Queues offer no removal, so messages of a purged tenant may still wait, some for days. Each is recognised by when it came in, and
ends without a trace: nothing is merged, no row is made, nothing is parked, and its body goes. A tenant of the same id that is set
up later is another one; its messages came in later, and are worked on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import AUDIT_ROWS, PURGES
from syncd.domain.errors import Invalid
from syncd.domain.ids import partition_of
from syncd.domain.messages import MESSAGE_LIFETIME
from syncd.domain.times import iso, parse
from syncd.ports.documents import Delete, Upsert

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.messages import Envelope
    from syncd.ports.blobs import Blobs
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents
    from syncd.ports.observe import Observe

#: Seconds after a purge for which other replicas may still take in events: longer than a registration lives in their memory
#: (flows/registrations, 10 s).
STRAGGLERS = 15.0
#: Seconds for which the answer is kept in memory. The purging process itself sees its own mark at once.
_TTL = 5.0
#: Tenants kept in memory.
_CACHED = 10_000


class Purged:
    def __init__(self, *, documents: Documents, blobs: Blobs, clock: Clock, observe: Observe) -> None:
        self._documents = documents
        self._blobs = blobs
        self._clock = clock
        self._observe = observe
        self._cache: dict[str, tuple[float, float]] = {}

    async def mark(self, tenant_id: str) -> None:
        """From here on what came in before now ends unworked. Repeating it moves the moment on."""
        now = self._clock.now()
        data: JsonObject = {"tenantId": tenant_id, "at": iso(now), "before": iso(now + STRAGGLERS)}
        try:
            await self._documents.write(PURGES, tenant_id, [Upsert(tenant_id, data)])
        finally:
            self._cache.pop(tenant_id, None)

    async def takes(self, envelope: Envelope, enqueued_at: float, *, remembered: bool = True) -> bool:
        """Whether the message is one of a purged tenant. Then all that it left is gone, and it is to be completed.

        With `remembered`, what was read a few seconds ago is good enough; that is for every message, before it is worked on.
        """
        if envelope.tenant_id is None:
            return False
        before = await self._before(envelope.tenant_id, remembered=remembered)
        if _came_at(envelope, enqueued_at) >= before:
            return False
        await self._forget(envelope)
        self._observe("purged_message_dropped", kind=envelope.kind, tenantId=envelope.tenant_id)
        return True

    async def _before(self, tenant_id: str, *, remembered: bool) -> float:
        """Unix seconds; 0 for a tenant that was not purged."""
        now = self._clock.monotonic()
        known = self._cache.get(tenant_id)
        if remembered and known is not None and known[0] > now:
            return known[1]
        found = await self._documents.get(PURGES, tenant_id, tenant_id)
        before = 0.0 if found is None else parse(found.data["before"])
        self._cache.pop(tenant_id, None)
        self._cache[tenant_id] = (now + _TTL, before)
        if len(self._cache) > _CACHED:
            del self._cache[next(iter(self._cache))]
        return before

    async def _forget(self, envelope: Envelope) -> None:
        """The body, and the row of an event that was being worked on while the purge went by."""
        if envelope.body_ref is not None:
            await remove_body(self._blobs, envelope.body_ref, envelope.registration_id)
        if envelope.event_id is not None:
            await self._documents.write(AUDIT_ROWS, partition_of(envelope.event_id), [Delete(envelope.event_id)])


async def remove_body(blobs: Blobs, name: str, registration_id: str | None) -> bool:
    """Remove a blob that holds a message's body. False where there was none, or where the name is not that of a body of this
    registration: a producer writes its own envelope, and must not name what belongs to others."""
    if not name.startswith(("claims/", f"webhooks/{registration_id}/")):
        return False
    try:
        return await blobs.delete(name)
    except Invalid:
        return False


def _came_at(envelope: Envelope, enqueued_at: float) -> float:
    """When it first came in. A later hop of a message that says no time of receipt still says until when it may live."""
    if envelope.received_at is not None:
        return envelope.received_at
    return enqueued_at if envelope.expires_at is None else min(enqueued_at, envelope.expires_at - MESSAGE_LIFETIME)
