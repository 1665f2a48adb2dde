"""Entities: every change to one is a pure change of its document, stored by compare-and-set and tried again where it lost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncd.domain.collections import ENTITIES, TOMBSTONE_TTL
from syncd.domain.errors import Conflict, Invalid, NotFound, Overloaded
from syncd.domain.ids import located, partition_of, ulid
from syncd.domain.messages import MESSAGE_LIFETIME, Envelope
from syncd.domain.records import (
    alias,
    alias_id,
    edit,
    entity_partition,
    is_alias,
    owed_pushes,
    receive,
    remove,
)
from syncd.domain.times import HOUR
from syncd.ports.documents import Condition, Create, Document, Page, Query, Replace, Upsert
from syncd.ports.queue import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.records import Change, Effect, Incoming
    from syncd.flows.subscriptions import Subscriptions
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents, Write
    from syncd.ports.queue import Queue

#: Times that a lost compare-and-set is done again at once. With more writers than that on one entity, waiting is better.
_ATTEMPTS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of a change. `version` is that of the entity now."""

    entity_id: str
    effect: Effect
    version: int
    conflicts: Sequence[str] = ()


class Entities:
    """`push_queue`: where a hint is sent for each push that a change owes; None where nothing pushes yet. The debt itself stands
    in the entity, so a lost hint is late, never lost."""

    def __init__(
        self,
        *,
        documents: Documents,
        queue: Queue,
        subscriptions: Subscriptions,
        clock: Clock,
        push_queue: str | None = None,
    ) -> None:
        self._documents = documents
        self._queue = queue
        self._subscriptions = subscriptions
        self._clock = clock
        self._push_queue = push_queue

    # -- reading --

    async def get(self, entity_id: str) -> Document:
        """By our id. A deleted one is there for 30 days, as a tombstone. Raises NotFound."""
        found = None
        if not is_alias(entity_id):
            found = await self._documents.get(ENTITIES, _partition(entity_id), entity_id)
        if found is None:
            raise NotFound(f"there is no entity {entity_id!r}")
        return found

    async def list(
        self,
        tenant_id: str,
        entity_type: str,
        *,
        limit: int = 100,
        cursor: str | None = None,
        deleted: bool = False,
    ) -> Page:
        """In the order in which they were created. Aliases have no field `deleted`, so the condition leaves them out."""
        query = Query(
            partition=entity_partition(tenant_id, entity_type),
            where=(Condition("deleted", "eq", deleted),),
            limit=limit,
            cursor=cursor,
        )
        return await self._documents.query(ENTITIES, query)

    async def find(self, tenant_id: str, entity_type: str, connection_id: str, external_id: str) -> Document | None:
        """By a connection's own id."""
        partition = entity_partition(tenant_id, entity_type)
        return (await self._located(partition, connection_id, external_id))[1]

    # -- changing --

    async def receive(self, tenant_id: str, entity_type: str, incoming: Incoming) -> Stored:
        """Merge what a connection said: entity, aliases and debts in one batch. Doing it again changes nothing."""
        partition = entity_partition(tenant_id, entity_type)
        subscribers = await self._subscriptions.subscribers(tenant_id, entity_type)
        for _ in range(_ATTEMPTS):
            pointer, found = await self._located(partition, incoming.connection_id, incoming.external_id)
            now = self._clock.now()
            change = receive(
                None if found is None else ENTITIES.upgraded(found.data),
                incoming,
                tenant_id=tenant_id,
                entity_type=entity_type,
                subscribers=subscribers,
                now=now,
            )
            identifier = located(partition, ulid(now)) if found is None else found.id
            if change.entity is None:
                assert found is not None
                return await self._told(found.id, found.data, change)
            writes = _writes(identifier, found, change.entity)
            if found is None:
                writes.append(_pointer(identifier, pointer, incoming, deleted=change.entity["deleted"]))
            if await self._stored(partition, writes):
                return await self._told(identifier, change.entity, change)
        raise _contended(partition)

    async def create(self, tenant_id: str, entity_type: str, data: JsonObject) -> Document:
        """A new one of our own users; every subscribed connection is owed it."""
        partition = entity_partition(tenant_id, entity_type)
        subscribers = await self._subscriptions.subscribers(tenant_id, entity_type)
        now = self._clock.now()
        change = edit(None, data, tenant_id=tenant_id, entity_type=entity_type, subscribers=subscribers, now=now)
        assert change.entity is not None
        identifier = located(partition, ulid(now))
        [document] = await self._documents.write(ENTITIES, partition, [Create(identifier, change.entity)])
        assert document is not None
        await self._told(identifier, change.entity, change)
        return document

    async def edit(
        self, tenant_id: str, entity_type: str, entity_id: str, data: JsonObject, *, if_match: str | None = None
    ) -> Document:
        """Put `data` in its place. With `if_match`, Conflict unless it is the entity's etag. Raises NotFound."""
        subscribers = await self._subscriptions.subscribers(tenant_id, entity_type)

        def change(stored: JsonObject) -> Change:
            return edit(
                stored,
                data,
                tenant_id=tenant_id,
                entity_type=entity_type,
                subscribers=subscribers,
                now=self._clock.now(),
            )

        return await self._changed(tenant_id, entity_type, entity_id, change, if_match)

    async def remove(
        self, tenant_id: str, entity_type: str, entity_id: str, *, if_match: str | None = None
    ) -> Document:
        """Leave a tombstone, owed to every connection that knows the entity. Raises NotFound, Conflict as `edit`."""
        subscribers = await self._subscriptions.subscribers(tenant_id, entity_type)

        def change(stored: JsonObject) -> Change:
            return remove(stored, subscribers=subscribers, now=self._clock.now())

        return await self._changed(tenant_id, entity_type, entity_id, change, if_match)

    async def _changed(
        self,
        tenant_id: str,
        entity_type: str,
        entity_id: str,
        make: Callable[[JsonObject], Change],
        if_match: str | None,
    ) -> Document:
        partition = entity_partition(tenant_id, entity_type)
        for _ in range(_ATTEMPTS):
            found = await self.get(entity_id)
            if found.partition != partition or (found.data["deleted"] and if_match is None):
                raise NotFound(f"there is no entity {entity_id!r}")
            if if_match is not None and found.etag != if_match:
                raise Conflict(
                    f"the entity {entity_id!r} was changed meanwhile; its version is {found.data['version']}"
                )
            change = make(ENTITIES.upgraded(found.data))
            if change.entity is None:
                await self._told(entity_id, found.data, change)
                return found
            try:
                [document, *_] = await self._documents.write(
                    ENTITIES, partition, _writes(entity_id, found, change.entity)
                )
            except Conflict:
                continue
            assert document is not None
            await self._told(entity_id, change.entity, change)
            return document
        raise _contended(partition)

    async def _located(
        self, partition: str, connection_id: str, external_id: str
    ) -> tuple[Document | None, Document | None]:
        pointer = await self._documents.get(ENTITIES, partition, alias_id(connection_id, external_id))
        if pointer is None:
            return None, None
        return pointer, await self._documents.get(ENTITIES, partition, pointer.data["entityId"])

    async def _stored(self, partition: str, writes: Sequence[Write]) -> bool:
        try:
            await self._documents.write(ENTITIES, partition, writes)
        except Conflict:
            return False
        return True

    async def _told(self, entity_id: str, entity: JsonObject, change: Change) -> Stored:
        """Hint at the pushes that the entity owes, also where this change owed none: an earlier hint may be lost."""
        owed = owed_pushes(entity) if self._push_queue is not None else []
        if owed and self._push_queue is not None:
            now = self._clock.now()
            await self._queue.send(
                self._push_queue, [_push(entity_id, entity, connection, version, now) for connection, version in owed]
            )
        return Stored(entity_id=entity_id, effect=change.effect, version=entity["version"], conflicts=change.conflicts)


def _writes(identifier: str, found: Document | None, entity: JsonObject) -> list[Write]:
    """The entity, and its aliases where their life changes with it: they go when the tombstone goes."""
    ttl = TOMBSTONE_TTL if entity["deleted"] else None
    writes: list[Write] = [
        Create(identifier, entity, ttl=ttl) if found is None else Replace(identifier, entity, found.etag, ttl=ttl)
    ]
    if found is not None and (entity["deleted"] or found.data["deleted"]):
        writes += [
            # The entity's etag in the same batch decides; an alias says only what the entity says.
            Upsert(alias_id(connection, external), alias(connection, external, identifier), ttl=ttl)
            for connection, external in entity["externalIds"].items()
        ]
    return writes


def _pointer(identifier: str, pointer: Document | None, incoming: Incoming, *, deleted: bool) -> Write:
    """The alias by which two creators of one entity meet. One that points to a tombstone long gone is taken over."""
    ttl = TOMBSTONE_TTL if deleted else None
    data = alias(incoming.connection_id, incoming.external_id, identifier)
    name = alias_id(incoming.connection_id, incoming.external_id)
    return Create(name, data, ttl=ttl) if pointer is None else Replace(name, data, pointer.etag, ttl=ttl)


def _push(entity_id: str, entity: JsonObject, connection_id: str, version: int, now: float) -> Message:
    tenant_id = entity["tenantId"]
    envelope = Envelope(
        kind="push",
        origin_id=f"{entity_id}~{connection_id}~{version}",
        group=f"{tenant_id}:{connection_id}",
        tenant_id=tenant_id,
        connection_id=connection_id,
        expires_at=now + MESSAGE_LIFETIME,
    )
    body = {"entityId": entity_id, "connectionId": connection_id, "version": version}
    return Message(envelope=envelope, body=json.dumps(body).encode(), dedupe_window=HOUR)


def _partition(entity_id: str) -> str:
    try:
        return partition_of(entity_id)
    except Invalid:
        raise NotFound(f"there is no entity {entity_id!r}") from None


def _contended(partition: str) -> Overloaded:
    return Overloaded(f"an entity of {partition} is being changed by too many at once", retry_after=1.0)
