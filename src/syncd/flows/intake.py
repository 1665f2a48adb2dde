"""What connections say, merged into entities: one event at a time, or a whole page of a pull.

    aliases -> entities (point reads) -> pure change -> entities + aliases (compare-and-set) -> conflicts recorded -> push hints

Doing any of it again changes nothing. Pages, not records, cross every step; where a page meets another writer, the records of the
batches that lost are a page again, and after some rounds are merged one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from syncd.domain.collections import ENTITIES
from syncd.domain.errors import Conflict, Overloaded, SyncdError, TooLarge
from syncd.domain.ids import ulid, ulids
from syncd.domain.merge import Rules
from syncd.domain.records import alias_ids, entity_partition
from syncd.flows.creating import read_marks
from syncd.flows.keys import Heard, address, detach, look
from syncd.flows.steps import Found, Scope, Step, Stored, batches, step_of
from syncd.flows.steps import entity_writes as entity_writes  # for those who change entities otherwise

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from syncd.domain.dedupe import Deduped, R
    from syncd.domain.receiving import Incoming
    from syncd.flows.conflicts import ConflictLog
    from syncd.flows.hints import PushHints
    from syncd.flows.keys import Keying, Keys
    from syncd.flows.subscriptions import Subscriptions
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents

#: Times that a lost compare-and-set is done again at once. With more writers than that on one entity, waiting is better.
ATTEMPTS = 12
#: Times that a page is merged before those of its records that lost each time are merged one by one.
_ROUNDS = 3
_LAST_WRITE_WINS = Rules()


async def _any_number(_gone: Sequence[str]) -> None:
    """Nobody guards deletions."""


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
        admit_deletes: Callable[[Sequence[str]], Awaitable[None]] = _any_number,
        keying: Keying | None = None,
        pushing: bool = False,
    ) -> Stored:
        """One object. `said_at`: when we heard of it, Unix seconds. `admit_deletes` is told which entities would be deleted before any
        is, of one perhaps again, and raises Held. `keying`: where ids alone do not say what is one thing. `pushing`: for a push to its
        connection, whose message goes on with what is owed there. Raises Overloaded where it may be the answer to a create of ours that
        is under way, or while too many others change the entity."""
        partition = entity_partition(tenant_id, entity_type)
        subscribers = await self._subscriptions.subscribers(tenant_id, entity_type)
        for _ in range(ATTEMPTS):
            scope = Scope(tenant_id, entity_type, subscribers, rules, None, self._clock.now(), partition)
            [found] = await self._located(scope, [incoming], said_at)
            if keying is not None:
                heard = Heard.of(incoming, found.entity)
                deduped, keys = await look(self._documents, partition, incoming.connection_id, keying, [heard])
                if deduped.duplicates:
                    standing = keys.holders.get(deduped.duplicates[0].of, found.entity)
                    if standing is None:
                        continue  # it came between two reads
                    return await self._set_aside(partition, incoming, standing, keying)
                scope = scope._replace(keys=keys)
            step = step_of(scope, incoming, found, ulid(scope.now))
            await self._detach(partition, step)
            if step.buries:
                await admit_deletes([step.entity_id])
            if step.writes:
                try:
                    await self._documents.write(ENTITIES, partition, step.writes)
                except Conflict:
                    continue
            await self._tell([step], but=incoming.connection_id if pushing else None)
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
        admit_deletes: Callable[[Sequence[str]], Awaitable[None]] = _any_number,
        keys: Keys | None = None,
    ) -> list[Stored | TooLarge]:
        """Objects of one connection, each once; what became of each, in order. TooLarge: one that no document can hold, left out.
        `keys`: from `keys.look`, where ids alone do not say what is one thing. Raises as `receive`."""
        subscribers = await self._subscriptions.subscribers(tenant_id, entity_type)
        partition = entity_partition(tenant_id, entity_type)
        answers: list[Stored | TooLarge | None] = [None] * len(page)
        # What lost to another writer is read again and merged together; what is known of keys is of before, so that there each is
        # looked at by itself.
        for _ in range(_ROUNDS if keys is None else 1):
            left = [(position, incoming) for position, incoming in enumerate(page) if answers[position] is None]
            if left:
                scope = Scope(tenant_id, entity_type, subscribers, rules, keys, self._clock.now(), partition)
                await self._merged(scope, left, answers, said_at, admit_deletes)
        keying = None if keys is None else keys.keying
        for position, answer in enumerate(answers):
            if answer is None:
                try:
                    answers[position] = await self.receive(
                        tenant_id,
                        entity_type,
                        page[position],
                        said_at=said_at,
                        rules=rules,
                        admit_deletes=admit_deletes,
                        keying=keying,
                    )
                except TooLarge as error:
                    answers[position] = error
        return [answer for answer in answers if answer is not None]

    async def _merged(
        self,
        scope: Scope,
        page: Sequence[tuple[int, Incoming]],
        answers: list[Stored | TooLarge | None],
        said_at: float,
        admit_deletes: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        """Records with their places in `answers`. What lost a compare-and-set stays None there."""
        steps: list[tuple[int, Step]] = []
        seen: set[str] = set()
        found = await self._located(scope, [incoming for _, incoming in page], said_at)
        for (position, incoming), one, fresh in zip(page, found, ulids(scope.now, len(page)), strict=True):
            step = step_of(scope, incoming, one, fresh)
            if step.leaves is not None:
                await self._detach(scope.partition, step)
            # Two ids of one entity in one page: the second is merged after the first is stored.
            if step.entity_id not in seen:
                steps.append((position, step))
            seen.add(step.entity_id)
        changed = [(position, step) for position, step in steps if step.writes]
        gone = [step.entity_id for _, step in changed if step.buries]
        if gone:
            await admit_deletes(gone)
        for position, step in steps:
            if not step.writes:
                answers[position] = step.stored
        failed: list[SyncdError] = []
        async with anyio.create_task_group() as group:
            for batch in batches(changed):
                group.start_soon(self._write, scope.partition, batch, answers, failed)
        if failed:
            raise failed[0]
        await self._tell([step for position, step in steps if isinstance(answers[position], Stored)])

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

    async def _detach(self, partition: str, step: Step) -> None:
        if step.leaves is not None:
            incoming = step.incoming
            await detach(self._documents, partition, incoming.connection_id, incoming.external_id, step.leaves)

    async def _write(
        self,
        partition: str,
        batch: Sequence[tuple[int, Step]],
        answers: list[Stored | TooLarge | None],
        failed: list[SyncdError],
    ) -> None:
        """What lost a compare-and-set stays None in `answers`, to be done one by one. `failed`: where the store cannot write."""
        try:
            await self._documents.write(ENTITIES, partition, [write for _, step in batch for write in step.writes])
        except Conflict:
            return
        except TooLarge as error:
            if len(batch) == 1:
                answers[batch[0][0]] = error
                return
            half = len(batch) // 2
            await self._write(partition, batch[:half], answers, failed)
            await self._write(partition, batch[half:], answers, failed)
            return
        except SyncdError as error:  # raised when all are back: out of the group it would come in a group of errors
            failed.append(error)
            return
        for position, step in batch:
            answers[position] = step.stored

    async def _located(self, scope: Scope, page: Sequence[Incoming], said_at: float) -> list[Found]:
        """Of each. Without an alias there may be an entity all the same: one whose create nobody answered."""
        partition, connection_id = scope.partition, page[0].connection_id
        names = alias_ids(connection_id, [one.external_id for one in page])
        aliases = await self._documents.get_many(ENTITIES, [(partition, name) for name in names])
        owners: list[str | None] = [None if one is None else one.data["entityId"] for one in aliases]
        if None in owners:
            marks = await read_marks(self._documents, partition, connection_id, scope.subscribers)
            if marks is not None:
                owners = [
                    marks.owner(incoming, said_at=said_at, now=scope.now) if owner is None else owner
                    for incoming, owner in zip(page, owners, strict=True)
                ]
        entities: dict[str | None, Document] = {}
        known = {owner for owner in owners if owner is not None}
        if known:
            found = await self._documents.get_many(ENTITIES, [(partition, identifier) for identifier in known])
            entities = {document.id: document for document in found if document is not None}
        return [Found(name, one, entities.get(owner)) for name, one, owner in zip(names, aliases, owners, strict=True)]

    async def _tell(self, steps: Sequence[Step], *, but: str | None = None) -> None:
        """Record what the entities carry and hint at what is owed, also of what is unchanged: whoever stored it may have died."""
        owing = [(step.entity_id, step.entity) for step in steps if "dirtySince" in step.entity]
        if owing:
            await self._conflicts.write_down(owing)
            await self._hints.send(owing, but=but)


def contended(partition: str) -> Overloaded:
    return Overloaded(f"an entity of {partition} is being changed by too many at once", retry_after=1.0)
