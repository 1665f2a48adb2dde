"""What connections say, merged into entities: one event at a time, or a whole page of a pull.

    aliases -> entities (point reads) -> pure change -> conflicts recorded -> entities + aliases (compare-and-set) -> push hints

Doing any of it again changes nothing. Pages, not records, cross every step; where a page meets another writer, the records of the
batch that lost are merged one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from syncd.domain.collections import ENTITIES, TOMBSTONE_TTL
from syncd.domain.conflicts import ConflictRecord
from syncd.domain.errors import Conflict, Overloaded, TooLarge
from syncd.domain.ids import located, ulid
from syncd.domain.merge import Rules
from syncd.domain.receiving import receive
from syncd.domain.records import alias, alias_id, entity_partition
from syncd.flows.creating import read_marks
from syncd.ports.documents import BATCH_LIMIT, Create, Replace, Upsert

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.receiving import Incoming
    from syncd.domain.records import Change, Effect, Subscriber
    from syncd.flows.conflicts import ConflictLog
    from syncd.flows.hints import PushHints
    from syncd.flows.subscriptions import Subscriptions
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents, Write

#: Times that a lost compare-and-set is done again at once. With more writers than that on one entity, waiting is better.
ATTEMPTS = 12
_LAST_WRITE_WINS = Rules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of a change. `version` is that of the entity now."""

    entity_id: str
    effect: Effect
    version: int
    conflicts: Sequence[str] = ()


async def _any_number(_count: int) -> None:
    """Nobody guards deletions."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One record on its way: what was found, what it becomes, and what is to be written for it."""

    incoming: Incoming
    entity_id: str
    entity: JsonObject
    change: Change
    writes: Sequence[Write]

    @property
    def stored(self) -> Stored:
        return Stored(
            entity_id=self.entity_id,
            effect=self.change.effect,
            version=self.entity["version"],
            conflicts=self.change.conflicts,
        )


class Intake:
    def __init__(
        self,
        *,
        documents: Documents,
        subscriptions: Subscriptions,
        conflicts: ConflictLog,
        hints: PushHints,
        clock: Clock,
    ) -> None:
        self._documents = documents
        self._subscriptions = subscriptions
        self._conflicts = conflicts
        self._hints = hints
        self._clock = clock

    async def receive(
        self,
        tenant_id: str,
        entity_type: str,
        incoming: Incoming,
        *,
        said_at: float,
        rules: Rules = _LAST_WRITE_WINS,
        admit_deletes: Callable[[int], Awaitable[None]] = _any_number,
    ) -> Stored:
        """One object. `said_at`: when we heard of it, Unix seconds. `admit_deletes` is told how many entities would be deleted before
        any is, and raises Held. Raises Overloaded where it may be the answer to a create of ours
        that is under way, or while too many others change the entity."""
        partition = entity_partition(tenant_id, entity_type)
        subscribers = await self._subscriptions.subscribers(tenant_id, entity_type)
        for _ in range(ATTEMPTS):
            [(pointer, found)] = await self._located(partition, [incoming], subscribers, said_at)
            step = self._step(tenant_id, entity_type, incoming, pointer, found, subscribers, rules)
            if step.change.effect == "deleted":
                await admit_deletes(1)
            await self._record(tenant_id, entity_type, [step])
            if step.writes:
                try:
                    await self._documents.write(ENTITIES, partition, step.writes)
                except Conflict:
                    continue
            await self._hints.send([(step.entity_id, step.entity)])
            return step.stored
        raise contended(partition)

    async def receive_page(
        self,
        tenant_id: str,
        entity_type: str,
        page: Sequence[Incoming],
        *,
        said_at: float,
        rules: Rules = _LAST_WRITE_WINS,
        admit_deletes: Callable[[int], Awaitable[None]] = _any_number,
    ) -> list[Stored | TooLarge]:
        """Objects of one connection, each once; what became of each, in order. TooLarge: one that no document can hold, left out.
        Raises as `receive`."""
        partition = entity_partition(tenant_id, entity_type)
        subscribers = await self._subscriptions.subscribers(tenant_id, entity_type)
        found = await self._located(partition, page, subscribers, said_at)
        steps: list[_Step | None] = [
            self._step(tenant_id, entity_type, incoming, pointer, document, subscribers, rules)
            for incoming, (pointer, document) in zip(page, found, strict=True)
        ]
        # Two ids of one entity in one page: the second is merged after the first is stored.
        seen: set[str] = set()
        for position, step in enumerate(steps):
            if step is not None and step.entity_id in seen:
                steps[position] = None
            elif step is not None:
                seen.add(step.entity_id)
        deletes = sum(step.writes != () and step.change.effect == "deleted" for step in steps if step is not None)
        if deletes:
            await admit_deletes(deletes)
        await self._record(tenant_id, entity_type, [step for step in steps if step is not None])
        answers: list[Stored | TooLarge | None] = [
            None if step is None or step.writes else step.stored for step in steps
        ]
        changed = [(position, step) for position, step in enumerate(steps) if step is not None and step.writes]
        async with anyio.create_task_group() as group:
            for batch in _batches(changed):
                group.start_soon(self._write, partition, batch, answers)
        await self._hints.send([(step.entity_id, step.entity) for step in steps if step is not None])
        return [
            await self.receive(tenant_id, entity_type, page[position], said_at=said_at, rules=rules)
            if answer is None
            else answer
            for position, answer in enumerate(answers)
        ]

    async def _write(
        self, partition: str, batch: Sequence[tuple[int, _Step]], answers: list[Stored | TooLarge | None]
    ) -> None:
        """What was not written stays None in `answers`, to be done one by one."""
        try:
            await self._documents.write(ENTITIES, partition, [write for _, step in batch for write in step.writes])
        except Conflict:
            return
        except TooLarge as error:
            if len(batch) == 1:
                answers[batch[0][0]] = error
                return
            half = len(batch) // 2
            await self._write(partition, batch[:half], answers)
            await self._write(partition, batch[half:], answers)
            return
        for position, step in batch:
            answers[position] = step.stored

    async def _located(
        self, partition: str, page: Sequence[Incoming], subscribers: Sequence[Subscriber], said_at: float
    ) -> list[tuple[Document | None, Document | None]]:
        """(alias, entity) of each. Without an alias there may be an entity all the same: one whose create nobody answered. An alias
        may point to a tombstone that is gone."""
        pointers = await self._documents.get_many(
            ENTITIES, [(partition, alias_id(one.connection_id, one.external_id)) for one in page]
        )
        owners = [None if pointer is None else str(pointer.data["entityId"]) for pointer in pointers]
        if None in owners:
            marks = await read_marks(self._documents, partition, page[0].connection_id, subscribers)
            if marks is not None:
                now = self._clock.now()
                owners = [
                    marks.owner(incoming, said_at=said_at, now=now) if owner is None else owner
                    for incoming, owner in zip(page, owners, strict=True)
                ]
        known = {owner for owner in owners if owner is not None}
        if not known:
            return [(pointer, None) for pointer in pointers]
        found = await self._documents.get_many(ENTITIES, [(partition, identifier) for identifier in known])
        entities = {document.id: document for document in found if document is not None}
        return [
            (pointer, None if owner is None else entities.get(owner))
            for pointer, owner in zip(pointers, owners, strict=True)
        ]

    def _step(
        self,
        tenant_id: str,
        entity_type: str,
        incoming: Incoming,
        pointer: Document | None,
        found: Document | None,
        subscribers: Sequence[Subscriber],
        rules: Rules,
    ) -> _Step:
        now = self._clock.now()
        partition = entity_partition(tenant_id, entity_type)
        identifier = located(partition, ulid(now)) if found is None else found.id
        change = receive(
            None if found is None else found.data,
            incoming,
            tenant_id=tenant_id,
            entity_type=entity_type,
            subscribers=subscribers,
            now=now,
            rules=rules,
            entity_id=identifier,
        )
        if change.entity is None:
            assert found is not None
            return _Step(incoming, identifier, found.data, change, ())
        writes = entity_writes(identifier, found, change.entity)
        if pointer is None or found is None:
            writes.append(_pointer(identifier, pointer, incoming, deleted=change.entity["deleted"]))
        return _Step(incoming, identifier, change.entity, change, writes)

    async def _record(self, tenant_id: str, entity_type: str, steps: Sequence[_Step]) -> None:
        records = [
            ConflictRecord(
                entity_id=step.entity_id,
                entity_type=entity_type,
                connection_id=step.incoming.connection_id,
                remote_version=step.incoming.remote_version,
                resolutions=step.change.resolutions,
            )
            for step in steps
            if step.change.resolutions
        ]
        if records:
            await self._conflicts.record(tenant_id, records)


def entity_writes(identifier: str, found: Document | None, entity: JsonObject) -> list[Write]:
    """The entity, and its aliases where their life changes with it: they go when the tombstone goes."""
    ttl = TOMBSTONE_TTL if entity["deleted"] else None
    writes: list[Write] = [
        Create(identifier, entity, ttl=ttl) if found is None else Replace(identifier, entity, found.etag, ttl=ttl)
    ]
    if found is not None and entity["deleted"] != found.data["deleted"]:
        writes += [
            # The entity's etag in the same batch decides; an alias says only what the entity says.
            Upsert(
                alias_id(connection, external),
                alias(connection, external, identifier, live=not entity["deleted"]),
                ttl=ttl,
            )
            for connection, external in entity["externalIds"].items()
        ]
    return writes


def _pointer(identifier: str, pointer: Document | None, incoming: Incoming, *, deleted: bool) -> Write:
    """The alias by which two creators of one entity meet. One that points to a tombstone long gone is taken over."""
    ttl = TOMBSTONE_TTL if deleted else None
    data = alias(incoming.connection_id, incoming.external_id, identifier, live=not deleted)
    name = alias_id(incoming.connection_id, incoming.external_id)
    return Create(name, data, ttl=ttl) if pointer is None else Replace(name, data, pointer.etag, ttl=ttl)


def _batches(steps: Sequence[tuple[int, _Step]]) -> list[list[tuple[int, _Step]]]:
    """Whole records, as many as one atomic batch takes."""
    batches: list[list[tuple[int, _Step]]] = []
    room = 0
    for position, step in steps:
        if len(step.writes) > room:
            batches.append([])
            room = BATCH_LIMIT
        batches[-1].append((position, step))
        room -= len(step.writes)
    return batches


def contended(partition: str) -> Overloaded:
    return Overloaded(f"an entity of {partition} is being changed by too many at once", retry_after=1.0)
