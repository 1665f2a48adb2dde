"""Entities as our own users read and change them: every change is a pure change of the document, stored by compare-and-set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import ENTITIES
from syncd.domain.edits import decide, edit, remove
from syncd.domain.errors import Conflict, Invalid, NotFound
from syncd.domain.ids import located, partition_of, ulid
from syncd.domain.records import alias_id, entity_partition, is_alias
from syncd.flows.intake import ATTEMPTS, contended
from syncd.flows.steps import entity_writes
from syncd.ports.documents import Condition, Create, Document, Page, Query

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.domain.records import Change
    from syncd.flows.hints import PushHints
    from syncd.flows.subscriptions import Subscriptions
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents


class Entities:
    def __init__(self, *, documents: Documents, subscriptions: Subscriptions, hints: PushHints, clock: Clock) -> None:
        self._documents = documents
        self._subscriptions = subscriptions
        self._hints = hints
        self._clock = clock

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
        pointer = await self._documents.get(ENTITIES, partition, alias_id(connection_id, external_id))
        if pointer is None:
            return None
        return await self._documents.get(ENTITIES, partition, pointer.data["entityId"])

    # -- changing --

    async def create(
        self, tenant_id: str, entity_type: str, data: JsonObject, *, entity_id: str | None = None
    ) -> Document:
        """A new one of our own users; every subscribed connection is owed it. `entity_id`: in the type's partition; Conflict where it
        exists."""
        partition = entity_partition(tenant_id, entity_type)
        subscribers = await self._subscriptions.subscribers(tenant_id, entity_type)
        now = self._clock.now()
        change = edit(None, data, tenant_id=tenant_id, entity_type=entity_type, subscribers=subscribers, now=now)
        assert change.entity is not None
        identifier = entity_id or located(partition, ulid(now))
        [document] = await self._documents.write(ENTITIES, partition, [Create(identifier, change.entity)])
        assert document is not None
        await self._hints.send([(identifier, change.entity)])
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

    async def resolve(
        self,
        tenant_id: str,
        entity_type: str,
        entity_id: str,
        connection_id: str,
        values: Mapping[str, Json],
        conflict_id: str,
    ) -> Document:
        """A person's decision, as flows/operate/conflicts needs it. Raises NotFound where the entity is deleted or gone."""
        subscribers = await self._subscriptions.subscribers(tenant_id, entity_type)

        def change(stored: JsonObject) -> Change:
            now = self._clock.now()
            return decide(stored, connection_id, values, conflict=conflict_id, subscribers=subscribers, now=now)

        return await self._changed(tenant_id, entity_type, entity_id, change, None)

    async def _changed(
        self,
        tenant_id: str,
        entity_type: str,
        entity_id: str,
        make: Callable[[JsonObject], Change],
        if_match: str | None,
    ) -> Document:
        partition = entity_partition(tenant_id, entity_type)
        for _ in range(ATTEMPTS):
            found = await self.get(entity_id)
            if found.partition != partition or (found.data["deleted"] and if_match is None):
                raise NotFound(f"there is no entity {entity_id!r}")
            if if_match is not None and found.etag != if_match:
                raise Conflict(
                    f"the entity {entity_id!r} was changed meanwhile; its version is {found.data['version']}"
                )
            change = make(found.data)
            if change.entity is None:
                await self._hints.send([(entity_id, found.data)])
                return found
            try:
                [document, *_] = await self._documents.write(
                    ENTITIES, partition, entity_writes(entity_id, found, change.entity)
                )
            except Conflict:
                continue
            assert document is not None
            await self._hints.send([(entity_id, change.entity)])
            return document
        raise contended(partition)


def _partition(entity_id: str) -> str:
    try:
        return partition_of(entity_id)
    except Invalid:
        raise NotFound(f"there is no entity {entity_id!r}") from None
