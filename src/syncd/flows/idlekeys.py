"""Keys that are believed no more are cleared away: a duty of maintenance.

A key (flows/keys) is believed where its entity agrees. When the entity is gone, or is another thing by now, its key says nothing any
more; but it stays, and records that come and go, or whose content is their key, would leave more of them every day.

    found idle -> marked with the time (compare-and-set) -> idle still, a round and hours later -> removed (compare-and-set)

A key that is removed was not believed, so that a record which comes to it finds what it would have found: nobody, and claims it. Two
meet over it safely, because whoever stores a record under a marked key writes the key in the same batch, however little there is to
say: either the removal loses its compare-and-set, or the batch does and is made again. Whoever had read the key before it was marked
has come to an end long before that. What connections no longer keep by keys is left alone until its entity is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import CONNECTIONS, ENTITIES
from syncd.domain.dedupe import Identity
from syncd.domain.errors import Conflict, Invalid
from syncd.domain.records import entity_partition
from syncd.domain.times import DAY, HOUR, iso, parse
from syncd.flows.keys import entities_of, is_believed
from syncd.ports.documents import BATCH_LIMIT, PAGE_LIMIT, Condition, Delete, Query, Replace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents

#: Seconds from the beginning of one round to that of the next.
EVERY = DAY
#: Seconds that a key stays marked at least: longer than a message is worked on.
IDLE_FOR = 12 * HOUR
#: Keys looked at in one pass, and what a query costs beside what it finds. A million keys take most of a day.
PER_PASS = 1000
_QUERY = 10
#: Every key's id lies between these (domain/dedupe.key_id).
_KEYS = (Condition("id", "ge", "k~"), Condition("id", "lt", "k~~"))

#: Partition -> connection -> how it tells its records apart there.
Keyings = dict[str, dict[str, Identity]]


class IdleKeys:
    """Goes round all keys, so many in one pass; the next pass goes on behind them."""

    def __init__(self, *, documents: Documents, clock: Clock, per_pass: int = PER_PASS) -> None:
        self._documents = documents
        self._clock = clock
        self._per_pass = per_pass
        self._next = 0.0
        """When a round may begin. Unix seconds."""
        self._at: tuple[str, str | None] | None = None
        """Of the round under way: the partition that it has come to, and the cursor in it."""

    async def clear(self) -> int:
        """How many were marked or removed."""
        if self._at is None:
            now = self._clock.now()
            if now < self._next:
                return 0
            self._next, self._at = now + EVERY, ("", None)
        cleared = seen = 0
        async for partition, keys, identities in self._onwards():
            cleared += await self._clear(partition, keys, identities)
            seen += len(keys) + _QUERY
            if seen >= self._per_pass:
                return cleared
        self._at = None
        return cleared

    async def _onwards(self) -> AsyncIterator[tuple[str, list[Document], Mapping[str, Identity]]]:
        """Page after page from where the round is. What connections say is read anew in each pass."""
        assert self._at is not None
        begun, cursor = self._at
        keyings = await self._keyings()
        for partition in sorted(one for one in keyings if one >= begun):
            after = cursor if partition == begun else None
            while True:
                query = Query(partition=partition, where=_KEYS, limit=min(PAGE_LIMIT, self._per_pass), cursor=after)
                page = await self._documents.query(ENTITIES, query)
                after = page.cursor
                # Behind the last page lies what sorts after the partition.
                self._at = (partition, after) if after is not None else (f"{partition}\0", None)
                yield partition, [one for one in page.items if one.data.get("kind") == "key"], keyings[partition]
                if after is None:
                    break

    async def _keyings(self) -> Keyings:
        found: Keyings = {}
        cursor: str | None = None
        while True:
            page = await self._documents.query(CONNECTIONS, Query(across=True, limit=PAGE_LIMIT, cursor=cursor))
            for connection in page.items:
                for entity_type, rules in connection.data.get("entities", {}).items():
                    try:
                        identity = Identity.of_connection(rules if isinstance(rules, dict) else {})
                    except Invalid:
                        continue
                    if identity.strategy in ("content_hash", "composite_key"):
                        partition = entity_partition(connection.data["tenantId"], entity_type)
                        found.setdefault(partition, {})[connection.id] = identity
            cursor = page.cursor
            if cursor is None:
                return found

    async def _clear(self, partition: str, keys: Sequence[Document], identities: Mapping[str, Identity]) -> int:
        entities = await entities_of(self._documents, partition, [one.data["entityId"] for one in keys])
        now = self._clock.now()
        writes: list[Replace | Delete] = []
        for one in keys:
            entity, identity = entities.get(one.data["entityId"]), identities.get(one.data["heldFor"])
            if entity is not None and (identity is None or is_believed(one, entity, identity)):
                continue
            since = one.data.get("idleSince")
            if since is None:
                writes.append(Replace(one.id, {**one.data, "idleSince": iso(now)}, one.etag))
            elif parse(since) <= now - IDLE_FOR:
                writes.append(Delete(one.id, one.etag))
        done = 0
        for start in range(0, len(writes), BATCH_LIMIT):
            done += await self._write(partition, writes[start : start + BATCH_LIMIT])
        return done

    async def _write(self, partition: str, batch: list[Replace | Delete]) -> int:
        while batch:
            try:
                await self._documents.write(ENTITIES, partition, batch)
            except Conflict as error:
                del batch[error.index]  # somebody claims it
            else:
                break
        return len(batch)
