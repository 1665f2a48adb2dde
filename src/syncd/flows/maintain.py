"""The maintenance loop: small duties that keep the store tidy, one pass each minute, on one replica at a time.

A duty is a name and a coroutine that says how much it did. Duties are bounded, can be killed anywhere and done again, and do not
depend on each other: one that fails is observed and the others go on. A new duty is one more entry in the list.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from syncd.domain.collections import PARKED
from syncd.domain.times import DAY
from syncd.flows.jobs import TickResult
from syncd.ports.documents import PAGE_LIMIT, Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncd.domain.jsontypes import JsonObject
    from syncd.flows.jobs import Tick
    from syncd.ports.blobs import Blobs
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents
    from syncd.ports.observe import Observe
    from syncd.ports.queue import Queue

#: Bodies that went to blobs are kept a day longer than any message lives (messages.MESSAGE_LIFETIME is 7 days).
CLAIM_LIFETIME = 8 * DAY
CLAIMS = "claims/"
#: Most of anything that one duty removes in one pass, so that a pass stays far below its minute.
_BATCH = 10_000
_BLOBS_PER_PASS = 1000


@dataclass(frozen=True, slots=True)
class Duty:
    name: str
    run: Callable[[], Awaitable[int]]
    """Bounded work; how many things it dealt with."""


class Maintain:
    def __init__(self, *, duties: Sequence[Duty], observe: Observe) -> None:
        self._duties = tuple(duties)
        self._observe = observe

    async def run(self, _tick: Tick | None = None) -> TickResult:
        done: JsonObject = {}
        failed: list[str] = []
        for duty in self._duties:
            try:
                done[duty.name] = await duty.run()
            except Exception as error:  # noqa: BLE001 - one duty must not stop the others; the error is observed and told
                failed.append(f"{duty.name}: {type(error).__name__}: {error}")
                self._observe("duty_failed", duty=duty.name, error=str(error))
            else:
                if done[duty.name]:
                    self._observe("duty_done", duty=duty.name, count=done[duty.name])
        return TickResult(status="failed" if failed else "succeeded", reason="; ".join(failed), evidence={"done": done})


def store_duties(*, documents: Documents, queue: Queue, blobs: Blobs, clock: Clock) -> list[Duty]:
    """What every deployment needs done."""

    async def expired_documents() -> int:
        return await documents.sweep(limit=_BATCH)

    async def expired_dedupe_ids() -> int:
        return await queue.sweep(limit=_BATCH)

    async def orphaned_bodies() -> int:
        return await remove_orphaned_bodies(documents=documents, blobs=blobs, now=clock.now())

    return [
        Duty("expired_documents", expired_documents),
        Duty("expired_dedupe_ids", expired_dedupe_ids),
        Duty("orphaned_bodies", orphaned_bodies),
    ]


async def remove_orphaned_bodies(*, documents: Documents, blobs: Blobs, now: float) -> int:
    """Remove message bodies `claims/<yyyymmdd>/...` of days longer ago than any message lives, but not those that a parked
    document still refers to. How many went."""
    last_day = f"{datetime.fromtimestamp(now - CLAIM_LIFETIME, UTC):%Y%m%d}"
    orphans: list[str] = []
    kept: set[str] | None = None
    async for blob in blobs.list(CLAIMS):
        day = blob.name.removeprefix(CLAIMS).partition("/")[0]
        # Names are in order, so the days are; of the last day some may still be a few hours too young.
        if day >= last_day or len(orphans) == _BLOBS_PER_PASS:
            break
        if not (day.isdecimal() and len(day) == 8):
            continue
        if kept is None:  # read only where there is something old, which is once a day
            kept = await _referred_to(documents)
        if blob.name not in kept:
            orphans.append(blob.name)
    gone = 0
    for name in orphans:
        gone += await blobs.delete(name)
    return gone


async def _referred_to(documents: Documents) -> set[str]:
    """Every `bodyRef` of a parked document, beside its envelope or in it."""
    found: set[str] = set()
    cursor: str | None = None
    while True:
        page = await documents.query(PARKED, Query(across=True, limit=PAGE_LIMIT, cursor=cursor))
        for document in page.items:
            envelope = document.data.get("envelope")
            for holder in (document.data, envelope if isinstance(envelope, dict) else {}):
                reference = holder.get("bodyRef")
                if isinstance(reference, str):
                    found.add(reference)
        cursor = page.cursor
        if cursor is None:
            return found
