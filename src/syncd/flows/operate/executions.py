"""Executions: each run of a job, with how it ended and what it left as evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import EXECUTIONS
from syncd.domain.errors import NotFound
from syncd.domain.ids import partition_of
from syncd.flows.operate.paging import FIRST_PAGE, Listing, Paging, listing

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.ports.documents import Document, Documents


class ExecutionsFlow:
    def __init__(self, *, documents: Documents) -> None:
        self._documents = documents

    async def latest(self, principal: Principal, *, paging: Paging = FIRST_PAGE) -> Listing:
        """Of all jobs, newest first."""
        principal.must_be_everywhere("executions")
        return await listing(self._documents, EXECUTIONS, paging=paging, show=shown, order="startedAt", descending=True)

    async def get(self, principal: Principal, identifier: str) -> JsonObject:
        principal.must_be_everywhere("executions")
        found = await self._documents.get(EXECUTIONS, partition_of(identifier), identifier)
        if found is None:
            raise NotFound(f"there is no execution {identifier[:100]!r}")
        return shown(found)


def shown(document: Document) -> JsonObject:
    return {"id": document.id, **EXECUTIONS.upgraded(document.data)}
