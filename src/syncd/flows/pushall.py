"""Telling a connection everything that it does not have: the push of a task, and the first content of a new connection.

Every entity of the type that the connection does not know, or is owed, gets its debt written down and a hint; what the connection holds
already is left alone. Resumed from a cursor document `push~<type>` after a crash; a page done twice owes nothing twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncd.domain.collections import CURSORS, ENTITIES
from syncd.domain.errors import Conflict, LeaseLost
from syncd.domain.records import entity_partition, owe, owes
from syncd.flows.intake import entity_writes
from syncd.ports.documents import BATCH_LIMIT, Condition, Create, Query, Replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncd.domain.jsontypes import JsonObject
    from syncd.flows.hints import PushHints
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents, Write

COUNTS = ("fetched", "updated", "unchanged")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """`updated`: entities that the connection is owed now."""

    done: bool
    counts: JsonObject


class PushAll:
    def __init__(self, *, documents: Documents, hints: PushHints, clock: Clock) -> None:
        self._documents = documents
        self._hints = hints
        self._clock = clock

    async def slice(
        self,
        connection: Document,
        entity_type: str,
        *,
        run_id: str,
        told: Callable[[JsonObject], Awaitable[bool]],
    ) -> Told:
        """Work until all are told or `told`, which hears of the counts after every page, says to stop."""
        name = f"push~{entity_type}"
        partition = entity_partition(connection.data["tenantId"], entity_type)
        cursor = await self._documents.get(CURSORS, connection.id, name)
        run = None if cursor is None else cursor.data["run"]
        if run is None or run["id"] != run_id:
            run = {"id": run_id, "cursor": None, "counts": dict.fromkeys(COUNTS, 0)}
        while not run.get("finished"):
            page = await self._documents.query(
                ENTITIES,
                Query(
                    partition=partition,
                    where=(Condition("deleted", "eq", False),),
                    limit=BATCH_LIMIT,
                    cursor=run["cursor"],
                ),
            )
            owed = await self._owed(connection.id, page.items)
            counts = run["counts"]
            run = {
                "id": run_id,
                "cursor": page.cursor,
                "finished": page.cursor is None,
                "counts": {
                    "fetched": counts["fetched"] + len(page.items),
                    "updated": counts["updated"] + owed,
                    "unchanged": counts["unchanged"] + len(page.items) - owed,
                },
            }
            data: JsonObject = {"tenantId": connection.data["tenantId"], "connectionId": connection.id, "run": run}
            write: Write = Create(name, data) if cursor is None else Replace(name, data, cursor.etag)
            try:
                [cursor] = await self._documents.write(CURSORS, connection.id, [write])
            except Conflict:
                raise LeaseLost(f"another run pushes {entity_type} to {connection.id}") from None
            if not run["finished"] and await told(run["counts"]):
                return Told(done=False, counts=run["counts"])
        return Told(done=True, counts=run["counts"])

    async def _owed(self, connection_id: str, documents: Sequence[Document]) -> int:
        """Write down what each owes the connection, and hint at it. How many owe something."""
        owing: list[tuple[str, JsonObject]] = []
        for document in documents:
            found: Document | None = document
            while found is not None and not found.data["deleted"]:
                if owes(found.data["links"].get(connection_id, {})):
                    owing.append((found.id, found.data))
                    break
                if connection_id in found.data["externalIds"]:
                    break
                entity = {**found.data, "links": dict(found.data["links"])}
                owe(entity, (connection_id,), self._clock.now())
                try:
                    await self._documents.write(ENTITIES, found.partition, entity_writes(found.id, found, entity))
                except Conflict:
                    found = await self._documents.get(ENTITIES, found.partition, found.id)
                    continue
                owing.append((found.id, entity))
                break
        await self._hints.send(owing)
        return len(owing)
