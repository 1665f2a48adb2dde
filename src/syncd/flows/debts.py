"""Debts whose hint may be lost are told again: a duty of maintenance (G4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import ENTITIES
from syncd.domain.errors import Conflict
from syncd.domain.pushing import FIRST_CHECK, due_debts, reminded
from syncd.domain.times import iso
from syncd.flows.hints import QUEUE, hint
from syncd.ports.documents import PAGE_LIMIT, Condition, Query, Replace

if TYPE_CHECKING:
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents
    from syncd.ports.queue import Message, Queue

#: Documents looked at in one pass.
PER_PASS = 10_000


class Debts:
    """Goes round all debts, oldest first, so many in one pass; the next pass goes on behind them. Those that wait for a person, or for
    their next look, would otherwise keep the others from ever being seen."""

    def __init__(self, *, documents: Documents, queue: Queue, clock: Clock, per_pass: int = PER_PASS) -> None:
        self._documents = documents
        self._queue = queue
        self._clock = clock
        self._per_pass = per_pass
        self._round: tuple[str, str] | None = None
        """Of the round under way: it looks at debts from before then, and has come to this cursor."""

    async def remind(self) -> int:
        """Send each due debt's hint as its next hop, and move its next look first: killed in between, it is told at that look. How
        many were told."""
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
            for document in page.items:
                messages = await self._reminders(document)
                if messages:
                    await self._queue.send(QUEUE, messages)
                    told += len(messages)
            seen += len(page.items)
            cursor = page.cursor
            self._round = None if cursor is None else (before, cursor)
            if cursor is None:
                break
        return told

    async def _reminders(self, document: Document) -> list[Message]:
        entity, now = document.data, self._clock.now()
        due = due_debts(entity, now)
        if not due:
            return []
        for connection_id, _, _ in due:
            entity = reminded(entity, connection_id, now)
        try:
            await self._documents.write(ENTITIES, document.partition, [Replace(document.id, entity, document.etag)])
        except Conflict:
            return []  # somebody works on it
        return [
            hint(document.id, entity["tenantId"], connection_id, version, now, hop=hop)
            for connection_id, version, hop in due
        ]
