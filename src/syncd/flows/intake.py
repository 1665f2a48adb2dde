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
from syncd.domain.pushing import creating_id
from syncd.domain.receiving import receive
from syncd.domain.records import Change, alias, alias_id, entity_partition
from syncd.flows.creating import read_marks
from syncd.flows.keys import Heard, address, detach, former_holder, look, says_little, under_new_holder
from syncd.ports.documents import BATCH_LIMIT, Create, Delete, Replace, Upsert

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from syncd.domain.dedupe import Deduped, R
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.receiving import Incoming
    from syncd.domain.records import Effect, Subscriber
    from syncd.flows.conflicts import ConflictLog
    from syncd.flows.hints import PushHints
    from syncd.flows.keys import Keying, Keys
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
    leaves: str | None = None
    """The entity that the object's id led to, where its key says another."""

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
        keying: Keying | None = None,
    ) -> Stored:
        """One object. `said_at`: when we heard of it, Unix seconds. `admit_deletes` is told how many entities would be deleted before
        any is, and raises Held. `keying`: where ids alone do not say what is one thing. Raises Overloaded where it may be the answer
        to a create of ours that is under way, or while too many others change the entity."""
        partition = entity_partition(tenant_id, entity_type)
        subscribers = await self._subscriptions.subscribers(tenant_id, entity_type)
        for _ in range(ATTEMPTS):
            [(pointer, found)] = await self._located(partition, [incoming], subscribers, said_at)
            keys: Keys | None = None
            if keying is not None:
                heard = Heard.of(incoming, found)
                deduped, keys = await look(self._documents, partition, incoming.connection_id, keying, [heard])
                if deduped.duplicates:
                    standing = keys.holders.get(deduped.duplicates[0].of, found)
                    if standing is None:
                        continue  # it came between two reads
                    return await self._set_aside(partition, incoming, standing, keying)
                found = keys.placed(incoming, found)
            now = self._clock.now()
            step = self._step(tenant_id, entity_type, incoming, pointer, found, subscribers, rules, keys, now)
            await self._detach(partition, step)
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
        keys: Keys | None = None,
    ) -> list[Stored | TooLarge]:
        """Objects of one connection, each once; what became of each, in order. TooLarge: one that no document can hold, left out.
        `keys`: from `keys.look`, where ids alone do not say what is one thing. Raises as `receive`."""
        partition = entity_partition(tenant_id, entity_type)
        subscribers = await self._subscriptions.subscribers(tenant_id, entity_type)
        found = await self._located(partition, page, subscribers, said_at)
        if keys is not None:
            found = [
                (pointer, keys.placed(incoming, document))
                for incoming, (pointer, document) in zip(page, found, strict=True)
            ]
        now = self._clock.now()
        steps: list[_Step | None] = [
            self._step(tenant_id, entity_type, incoming, pointer, document, subscribers, rules, keys, now)
            for incoming, (pointer, document) in zip(page, found, strict=True)
        ]
        if keys is not None:
            for step in steps:
                assert step is not None
                await self._detach(partition, step)
        # Two ids of one entity in one page: the second is merged after the first is stored.
        seen: set[str] = set()
        for position, step in enumerate(steps):
            if step is not None and step.entity_id in seen:
                steps[position] = None
            elif step is not None:
                seen.add(step.entity_id)
        counted = {
            position
            for position, step in enumerate(steps)
            if step is not None and step.writes and step.change.effect == "deleted"
        }
        if counted:
            await admit_deletes(len(counted))
        await self._record(tenant_id, entity_type, [step for step in steps if step is not None])
        answers: list[Stored | TooLarge | None] = [
            None if step is None or step.writes else step.stored for step in steps
        ]
        changed = [(position, step) for position, step in enumerate(steps) if step is not None and step.writes]
        async with anyio.create_task_group() as group:
            for batch in _batches(changed):
                group.start_soon(self._write, partition, batch, answers)
        await self._hints.send([(step.entity_id, step.entity) for step in steps if step is not None])
        keying = None if keys is None else keys.keying
        for position, answer in enumerate(answers):
            if answer is None:
                admit = _any_number if position in counted else admit_deletes
                try:
                    answers[position] = await self.receive(
                        tenant_id,
                        entity_type,
                        page[position],
                        said_at=said_at,
                        rules=rules,
                        admit_deletes=admit,
                        keying=keying,
                    )
                except TooLarge as error:
                    answers[position] = error
        return [answer for answer in answers if answer is not None]

    async def keyed(
        self, tenant_id: str, entity_type: str, connection_id: str, keying: Keying, records: Sequence[R]
    ) -> tuple[Deduped[R], Keys]:
        """Which of a page's records stand, and their keys for `receive_page`."""
        partition = entity_partition(tenant_id, entity_type)
        return await look(self._documents, partition, connection_id, keying, records)

    async def address(
        self, tenant_id: str, entity_type: str, connection_id: str, places: Sequence[tuple[str, str]]
    ) -> None:
        """The ids of records that others stand for: (external id, entity id)."""
        await address(self._documents, entity_partition(tenant_id, entity_type), connection_id, places)

    async def _set_aside(self, partition: str, incoming: Incoming, standing: Document, keying: Keying) -> Stored:
        """An object for which another stands, or something older than what was said of it."""
        if keying.identity.strategy == "composite_key":
            await address(self._documents, partition, incoming.connection_id, [(incoming.external_id, standing.id)])
        return Stored(entity_id=standing.id, effect="outdated", version=standing.data["version"])

    async def _detach(self, partition: str, step: _Step) -> None:
        if step.leaves is not None:
            incoming = step.incoming
            await detach(self._documents, partition, incoming.connection_id, incoming.external_id, step.leaves)

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
        keys: Keys | None,
        now: float,
    ) -> _Step:
        partition = entity_partition(tenant_id, entity_type)
        identifier = located(partition, ulid(now)) if found is None else found.id
        before, said = None if found is None else found.data, [] if keys is None else keys.writes(incoming, identifier)
        taken_over = keys is not None and found is not None and keys.stands_beside(incoming, found)
        if taken_over:
            assert found is not None
            if says_little(incoming):
                return _Step(incoming, identifier, found.data, Change(effect="unchanged", entity=None), ())
            said.append(former_holder(found, incoming.connection_id))
            before = under_new_holder(found.data, incoming.connection_id)
        change = receive(
            before,
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
            return _Step(incoming, identifier, found.data, change, said)
        writes = entity_writes(identifier, found, change.entity) + said
        elsewhere = pointer is not None and pointer.data["entityId"] != identifier
        # One that comes to life or dies has all its aliases written already.
        written = found is not None and found.data["deleted"] != change.entity["deleted"]
        if not written and (pointer is None or found is None or elsewhere or taken_over):
            writes.append(_pointer(identifier, pointer, incoming, deleted=change.entity["deleted"]))
        if pointer is None and found is not None:
            # Our own by content: the next object like it is another one.
            writes.append(Delete(creating_id(identifier, incoming.connection_id)))
        leaves = str(pointer.data["entityId"]) if pointer is not None and elsewhere else None
        return _Step(incoming, identifier, change.entity, change, writes, leaves)

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
