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
_PER_PASS = 10_000


async def remind(*, documents: Documents, queue: Queue, clock: Clock) -> int:
    """Send each due debt's hint as its next hop, and move its next look first: killed in between, it is told at that look. How many
    were told."""
    before = iso(clock.now() - FIRST_CHECK)
    cursor: str | None = None
    seen = told = 0
    while seen < _PER_PASS:
        page = await documents.query(
            ENTITIES,
            Query(
                across=True,
                where=(Condition("dirtySince", "lt", before),),
                order="dirtySince",
                limit=PAGE_LIMIT,
                cursor=cursor,
            ),
        )
        for document in page.items:
            messages = await _reminders(documents, document, clock.now())
            if messages:
                await queue.send(QUEUE, messages)
                told += len(messages)
        seen += len(page.items)
        cursor = page.cursor
        if cursor is None:
            break
    return told


async def _reminders(documents: Documents, document: Document, now: float) -> list[Message]:
    entity = document.data
    due = due_debts(entity, now)
    if not due:
        return []
    for connection_id, _, _ in due:
        entity = reminded(entity, connection_id, now)
    try:
        await documents.write(ENTITIES, document.partition, [Replace(document.id, entity, document.etag)])
    except Conflict:
        return []  # somebody works on it
    return [
        hint(document.id, entity["tenantId"], connection_id, version, now, hop=hop)
        for connection_id, version, hop in due
    ]
