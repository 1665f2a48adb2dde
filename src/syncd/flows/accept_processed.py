"""Whether an event was processed before, asked of its audit row where the queue cannot tell (G2)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from syncd.domain.collections import AUDIT_ROWS
from syncd.domain.errors import SyncdError
from syncd.domain.events import known_by_body_alone
from syncd.domain.ids import partition_of
from syncd.domain.times import parse

if TYPE_CHECKING:
    from syncd.domain.events import Identity
    from syncd.ports.documents import Documents

#: Point reads in flight; whoever comes while there are as many is not looked up. What they may cost a store that is slow.
MOST_IN_FLIGHT = 8
#: Point reads a second, with as many more at once as may be in flight. What they may cost this process: with Cosmos DB's SDK, and
#: other threads at work, one takes as much of a CPU as ten webhooks do without it.
MOST_A_SECOND = 20
#: How long a webhook waits for its answer. Seconds.
PATIENCE = 0.02


class ProcessedBefore:
    """An answer for people and senders, which no effect depends on: what is not looked up is accepted, and its consumer finds the row.
    `body_dedupe_window` in seconds."""

    def __init__(self, *, documents: Documents, body_dedupe_window: float) -> None:
        self._documents = documents
        self._body_dedupe_window = body_dedupe_window
        self._reads: set[asyncio.Task[bool]] = set()
        self._spent_until = 0.0
        """Unix seconds until which the reads so far use up what there is for a second."""

    async def look(self, event: Identity, body_hash: str, received_at: float) -> bool:
        """True where the same body was processed as this event. Never raises; False where it cannot be told quickly."""
        if (
            len(self._reads) >= MOST_IN_FLIGHT
            or self._spent_until - received_at > (MOST_IN_FLIGHT - 0.5) / MOST_A_SECOND
        ):
            return False
        self._spent_until = max(self._spent_until, received_at) + 1 / MOST_A_SECOND
        # Not cancelled when it is late, which would cost its connection: it keeps its place among those in flight instead.
        read = asyncio.create_task(self._processed(event, body_hash, received_at))
        self._reads.add(read)
        read.add_done_callback(self._reads.discard)
        await asyncio.wait({read}, timeout=PATIENCE)
        return read.done() and not read.cancelled() and read.result()

    async def _processed(self, event: Identity, body_hash: str, received_at: float) -> bool:
        try:
            found = await self._documents.get(AUDIT_ROWS, partition_of(event.event_id), event.event_id)
        except SyncdError:
            return False
        if found is None:
            return False
        row = AUDIT_ROWS.upgraded(found.data)
        if row["status"] != "processed" or row["bodyHash"] != body_hash:
            return False
        again = known_by_body_alone(event.origin_id)
        return not again or received_at - parse(row["receivedAt"]) < self._body_dedupe_window
