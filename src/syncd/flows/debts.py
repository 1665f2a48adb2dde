"""Debts whose hint may be lost are told again, and conflicts are written down whose merge died first: a duty of maintenance (G4)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from syncd.domain.collections import ENTITIES
from syncd.domain.errors import Conflict, TooLarge
from syncd.domain.pushing import FIRST_CHECK, due_debts, reminded
from syncd.domain.times import iso
from syncd.flows.hints import QUEUE, hint
from syncd.flows.together import together
from syncd.ports.documents import BATCH_LIMIT, PAGE_LIMIT, Condition, Query, Replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncd.flows.conflicts import ConflictLog
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents
    from syncd.ports.queue import Message, Queue

#: Documents looked at in one pass.
PER_PASS = 10_000
#: Batches on their way at the same moment.
_AT_ONCE = 16


class _Reminder(NamedTuple):
    """What is written of one entity before its messages are sent."""

    write: Replace
    messages: list[Message]


class Debts:
    """Goes round all debts, oldest first, so many in one pass; the next pass goes on behind them. Those that wait for a person, or for
    their next look, would otherwise keep the others from ever being seen."""

    def __init__(
        self, *, documents: Documents, queue: Queue, conflicts: ConflictLog, clock: Clock, per_pass: int = PER_PASS
    ) -> None:
        self._documents = documents
        self._conflicts = conflicts
        self._queue = queue
        self._clock = clock
        self._per_pass = per_pass
        self._round: tuple[str, str] | None = None
        """Of the round under way: it looks at debts from before then, and has come to this cursor."""

    async def remind(self) -> int:
        """Send each due debt's hint as its next hop, and move its next look first: killed in between, it is told at that look. How
        many were told, and how many had conflicts to write down. Documents of one partition are moved by the batch."""
        before, cursor = self._round or (iso(self._clock.now() - FIRST_CHECK), None)
        seen = told = 0
        while seen < self._per_pass:
            page = await self._documents.query(
                ENTITIES,
                Query(
                    across=True,
                    where=(Condition("dirtySince", "lt", before),),
                    order="dirtySince",
                    limit=min(PAGE_LIMIT, self._per_pass),
                    cursor=cursor,
                ),
            )
            # What is owed beside a conflict is told in the next round: the entity is another one by then.
            told += await self._conflicts.write_down((one.id, one.data) for one in page.items)
            told += await self._remind(page.items)
            seen += len(page.items)
            cursor = page.cursor
            self._round = None if cursor is None else (before, cursor)
            if cursor is None:
                break
        return told

    async def _remind(self, documents: Sequence[Document]) -> int:
        """Of the due debts of a page: how many were told."""
        now = self._clock.now()
        owing: dict[str, list[_Reminder]] = {}
        for document in documents:
            entity, due = document.data, due_debts(document.data, now)
            for connection_id, _, _ in due:
                entity = reminded(entity, connection_id, now)
            if due:
                messages = [
                    hint(document.id, entity["tenantId"], connection_id, version, now, hop=hop)
                    for connection_id, version, hop in due
                ]
                write = Replace(document.id, entity, document.etag)
                owing.setdefault(document.partition, []).append(_Reminder(write, messages))
        told: list[int] = []

        async def one_batch(partition: str, batch: list[_Reminder]) -> None:
            told.append(await self._tell(partition, batch))

        batches = [
            partial(one_batch, partition, reminders[start : start + BATCH_LIMIT])
            for partition, reminders in owing.items()
            for start in range(0, len(reminders), BATCH_LIMIT)
        ]
        await together(batches, most=_AT_ONCE)
        return sum(told)

    async def _tell(self, partition: str, batch: list[_Reminder]) -> int:
        while batch:
            try:
                await self._documents.write(ENTITIES, partition, [one.write for one in batch])
            except Conflict as error:
                del batch[error.index]  # somebody works on it
            except TooLarge:
                if len(batch) == 1:
                    raise
                half = len(batch) // 2
                return await self._tell(partition, batch[:half]) + await self._tell(partition, batch[half:])
            else:
                break
        messages = [message for one in batch for message in one.messages]
        if messages:
            await self._queue.send(QUEUE, messages)
        return len(messages)
