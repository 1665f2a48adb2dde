"""Hints that a push is owed. The debt itself stands in the entity, so a lost hint is late, never lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from syncd.domain.messages import MESSAGE_LIFETIME, Envelope
from syncd.domain.records import owed_pushes
from syncd.domain.times import HOUR
from syncd.ports.queue import Message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from syncd.domain.jsontypes import JsonObject
    from syncd.ports.clock import Clock
    from syncd.ports.queue import Queue

#: The kind of these messages, and where they are worked on.
KIND = "push"
QUEUE = "sync-outbound"


class PushHints:
    """`to`: the queue that pushes are worked on."""

    def __init__(self, *, queue: Queue, clock: Clock, to: str = QUEUE) -> None:
        self._queue = queue
        self._to = to
        self._clock = clock

    async def send(self, entities: Iterable[tuple[str, JsonObject]], *, but: str | None = None) -> None:
        """One message for each push that (id, entity) owes, also for those that were told before: an earlier hint may be lost.
        A hint that is still remembered is absorbed. `but`: a connection whose hint the caller is working on, and goes on with."""
        now = self._clock.now()
        messages = [
            hint(entity_id, entity["tenantId"], connection, version, now)
            for entity_id, entity in entities
            for connection, version in owed_pushes(entity)
            if connection != but
        ]
        if messages:
            await self._queue.send(self._to, messages)

    async def again(self, debts: Iterable[tuple[str, JsonObject, str]]) -> None:
        """(id, entity, connection) of debts that may have been told before, after `pushing.reminded`: each as its own hop, which no
        earlier one absorbs."""
        now = self._clock.now()
        messages = [
            hint(entity_id, entity["tenantId"], connection, link["want"], now, hop=link.get("hop", 0))
            for entity_id, entity, connection in debts
            for link in (entity["links"][connection],)
        ]
        if messages:
            await self._queue.send(self._to, messages)


def hint(entity_id: str, tenant_id: str, connection_id: str, version: int, now: float, *, hop: int = 0) -> Message:
    envelope = Envelope(
        kind=KIND,
        origin_id=f"{entity_id}~{connection_id}~{version}",
        hop=hop,
        group=f"{tenant_id}:{connection_id}",
        tenant_id=tenant_id,
        connection_id=connection_id,
        received_at=now,
        expires_at=now + MESSAGE_LIFETIME,
    )
    body = {"entityId": entity_id, "connectionId": connection_id, "version": version}
    return Message(envelope=envelope, body=json.dumps(body).encode(), dedupe_window=HOUR, durable=False)
