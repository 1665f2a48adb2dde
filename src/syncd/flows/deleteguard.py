"""Deletes cannot storm (G10): more than a share of a connection's live entities and more than a few, in one run or one hour, stops
and asks.

One document `deletes~<type>` per connection in the collection of cursors, changed by compare-and-set:

    {tenantId, hour, inHour, latelyInHour, run, inRun, latelyInRun, allowed?, letThrough?}

A deletion is counted before it is stored, and again when whoever counted it has died between the two: entities that were counted lately
are kept by name, and count once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import CURSORS, ENTITIES
from syncd.domain.errors import Conflict, Held, Overloaded
from syncd.domain.records import entity_partition
from syncd.domain.times import iso
from syncd.ports.documents import Condition, Create, Replace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from syncd.domain.jsontypes import JsonObject
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents

_ATTEMPTS = 12
#: Characters of an ISO time that say the hour.
_HOUR = 13
#: Entities kept by name: more than are deleted at once by the webhooks of one connection, and those of a page, up to so many. Beyond
#: that, what is deleted once more after a crash counts once more.
_AT_ONCE = 64
_PAGE = 1000


class DeleteGuard:
    """`share` of the live entities, and `records`: both must be exceeded."""

    def __init__(self, *, documents: Documents, clock: Clock, share: float = 0.10, records: int = 20) -> None:
        self._documents = documents
        self._clock = clock
        self._share = share
        self._records = records

    async def admit(
        self, tenant_id: str, connection_id: str, entity_type: str, gone: Sequence[str], *, run: str | None = None
    ) -> None:
        """Count the deletions of these entities, once each. Raises Held where they are too many, and counts nothing then."""
        hour = iso(self._clock.now())[:_HOUR]

        async def counted(data: JsonObject) -> JsonObject:
            changed = _counted(data, "hour", hour, gone)
            if run is not None:
                changed = _counted(changed, "run", run, gone)
            if changed == data:
                return data
            most = max(changed["inHour"], changed["inRun"] if run is not None else 0)
            if most <= self._records or await self._few(tenant_id, connection_id, entity_type, most, data, run, hour):
                return changed
            passage = run or hour
            if data.get("letThrough") == passage:
                return changed
            if data.get("allowed"):
                return {**changed, "allowed": False, "letThrough": passage}
            raise Held(
                f"{most} deletions of {entity_type} would be more than {self._share:.0%} of what the connection has: if they are "
                f"meant, `syncd connections allow-deletes {connection_id}` lets one run through"
            )

        await self._change(tenant_id, connection_id, entity_type, counted)

    async def allow(self, tenant_id: str, connection_id: str, entity_type: str) -> None:
        """Let the next run (or the next hour of webhooks) that would be held go through."""

        async def allowed(data: JsonObject) -> JsonObject:
            return {**data, "allowed": True}

        await self._change(tenant_id, connection_id, entity_type, allowed)

    async def _few(
        self,
        tenant_id: str,
        connection_id: str,
        entity_type: str,
        most: int,
        data: JsonObject,
        run: str | None,
        hour: str,
    ) -> bool:
        """Is it at most the share? Those deleted already in this run or hour were live when it began."""
        gone = max(
            data.get("inHour", 0) if data.get("hour") == hour else 0,
            data.get("inRun", 0) if run is not None and data.get("run") == run else 0,
        )
        needed = int(most / self._share) + 1 if self._share else 1 << 60
        live = await self._documents.count(
            ENTITIES,
            entity_partition(tenant_id, entity_type),
            (Condition("connectionId", "eq", connection_id),),
            at_most=min(needed, 10_000_000),
        )
        return most <= self._share * (live + gone)

    async def _change(
        self,
        tenant_id: str,
        connection_id: str,
        entity_type: str,
        change: Callable[[JsonObject], Awaitable[JsonObject]],
    ) -> None:
        name = f"deletes~{entity_type}"
        for _ in range(_ATTEMPTS):
            found: Document | None = await self._documents.get(CURSORS, connection_id, name)
            blank: JsonObject = {"tenantId": tenant_id, "connectionId": connection_id, "kind": "deletes"}
            data = await change(blank if found is None else found.data)
            if found is not None and data == found.data:
                return
            write = Create(name, data) if found is None else Replace(name, data, found.etag)
            try:
                await self._documents.write(CURSORS, connection_id, [write])
            except Conflict:
                continue
            return
        raise Overloaded("too many count deletions of one connection at once", retry_after=1.0)


def _counted(data: JsonObject, period: str, this: str, gone: Sequence[str]) -> JsonObject:
    """With these entities counted in this hour, or run; the same data where all of them are already."""
    count, lately = f"in{period.title()}", f"latelyIn{period.title()}"
    before = data if data.get(period) == this else {}
    known = before.get(lately, [])
    fresh = set(gone).difference(known)
    if not fresh:
        return data
    names = [*(one for one in known if one not in gone), *gone]
    names = names[-max(_AT_ONCE, min(len(gone), _PAGE)) :]
    return {**data, period: this, count: before.get(count, 0) + len(fresh), lately: names}
