"""Removing a tenant, as operators ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.ids import check_user_id
from syncd.flows.purge import BUDGET

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.flows.operate.audit import AuditTrail
    from syncd.flows.purge import Purge
    from syncd.flows.purgesurvey import Survey, Waiting


class TenantsFlow:
    def __init__(self, *, purge: Purge, survey: Survey, audit: AuditTrail) -> None:
        self._purge = purge
        self._survey = survey
        self._audit = audit

    async def purge(self, principal: Principal, tenant_id: str, *, dry_run: bool = False) -> JsonObject:
        """Remove everything of the tenant but the audit trail, for a few seconds: ask again until `done`.

        `removed` counts what this call removed; `counts` of a dry run what there is, and with `whole` false at least that.
        `queued` messages, `leased` of them being worked on, are left to end by themselves, without a trace. Raises Forbidden
        for a token that may not operate in this tenant, Invalid where no tenant can have such an id.
        """
        check_user_id("tenantId", tenant_id)
        principal.may_operate_in(tenant_id)
        if dry_run:
            found = await self._survey.counts(tenant_id, budget=BUDGET)
            waiting = await self._survey.waiting(tenant_id)
            return {
                "tenantId": tenant_id,
                "dryRun": True,
                "counts": found.counts,
                "whole": found.whole,
                **_shown(waiting),
            }
        async with self._audit.change(principal, "tenant.purge", tenant_id, tenant_id=tenant_id) as change:
            progress = await self._purge.run(tenant_id)
            answer: JsonObject = {"done": progress.done, "removed": progress.removed}
            change.after = answer
        return {"tenantId": tenant_id, "dryRun": False, **answer, **_shown(progress.waiting)}


def _shown(waiting: Waiting) -> JsonObject:
    return {"queued": waiting.queued, "leased": waiting.leased, "queuesWhole": waiting.whole}
