"""Telling a connection everything that it does not have: the push of a task, and the first content of a new connection.

Every entity of the type in which the connection differs from us, or is owed a push, gets its debt written down and a hint: those that
it does not know, those that changed and those that were deleted while nobody told it. What it holds already is left alone. Resumed from a cursor document `push~<type>` after a crash; a page done twice owes nothing twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncd.domain.collections import CURSORS, ENTITIES
from syncd.domain.errors import Conflict, LeaseLost
from syncd.domain.pushing import reminded, sending
from syncd.domain.records import entity_partition, owe, owes
from syncd.flows.intake import entity_writes
from syncd.ports.documents import BATCH_LIMIT, Condition, Create, Query, Replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncd.domain.jsontypes import JsonObject
    from syncd.flows.hints import PushHints
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents, Write
    from syncd.ports.provider import Kind

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
        kind: Kind,
        *,
        run_id: str,
        told: Callable[[JsonObject], Awaitable[bool]],
    ) -> Told:
        """Work until all are told or `told`, which hears of the counts after every page, says to stop."""
        entity_type = kind.name
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
                    where=(Condition("deleted", "in", [False, True]),),  # every entity, and what stands beside them not
                    limit=BATCH_LIMIT,
                    cursor=run["cursor"],
                ),
            )
            owed = await self._owed(connection.id, kind, page.items)
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

    async def _owed(self, connection_id: str, kind: Kind, documents: Sequence[Document]) -> int:
        """Write down what each owes the connection, and hint at it. How many owe something."""
        owing = 0
        told: list[tuple[str, JsonObject, str]] = []
        for document in documents:
            found: Document | None = document
            while found is not None:
                link = found.data["links"].get(connection_id, {})
                if "held" in link:
                    owing += 1  # and waits for a person
                    break
                entity = self._owing(found.data, connection_id, kind)
                if entity is None:
                    break
                try:
                    await self._documents.write(ENTITIES, found.partition, entity_writes(found.id, found, entity))
                except Conflict:
                    found = await self._documents.get(ENTITIES, found.partition, found.id)
                    continue
                told.append((found.id, entity, connection_id))
                break
        await self._hints.again(told)
        return owing + len(told)

    def _owing(self, entity: JsonObject, connection_id: str, kind: Kind) -> JsonObject | None:
        """The entity with its debt, however old, as told now; None where there is none."""
        now = self._clock.now()
        if not owes(entity["links"].get(connection_id, {})):
            wanted = sending(entity, connection_id, kind.fields)
            if wanted is None or not kind.can(wanted.operation):
                return None
            entity = {**entity, "links": dict(entity["links"])}
            owe(entity, (connection_id,), now)
            if not owes(entity["links"][connection_id]):
                return None  # told of this version before: it makes something else of it, or a person gave that up
        return reminded(entity, connection_id, now)
