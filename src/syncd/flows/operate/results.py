"""Results: what each run of a sync task did, kept for 90 days."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import RESULTS
from syncd.domain.errors import NotFound
from syncd.domain.tasks import result_partition
from syncd.flows.operate.paging import FIRST_PAGE, Listing, Paging, listing, tenant_conditions
from syncd.ports.documents import Condition

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.ports.documents import Document, Documents


class ResultsFlow:
    def __init__(self, *, documents: Documents) -> None:
        self._documents = documents

    async def list(
        self,
        principal: Principal,
        *,
        tenant_id: str | None = None,
        task_id: str | None = None,
        paging: Paging = FIRST_PAGE,
    ) -> Listing:
        """Newest first, of all that the principal sees or of one tenant or task."""
        where = tenant_conditions(principal, tenant_id)
        if where is None:
            return Listing(items=[])
        if task_id is not None:
            where.append(Condition("taskId", "eq", task_id))
        return await listing(
            self._documents, RESULTS, paging=paging, show=shown, where=where, order="createdAt", descending=True
        )

    async def get(self, principal: Principal, identifier: str) -> JsonObject:
        found = await self._documents.get(RESULTS, result_partition(identifier), identifier)
        if found is None:
            raise NotFound(f"there is no result {identifier[:100]!r}")
        principal.must_see(found.data.get("tenantId"), f"result {identifier[:100]!r}")
        return shown(found)


def shown(document: Document) -> JsonObject:
    return {"id": document.id, **RESULTS.upgraded(document.data)}
