"""/api/v1/tenants: what is done with one as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from syncd.http.models import Body
from syncd.http.routes import Reply, Route

if TYPE_CHECKING:
    from syncd.http.routes import Ask


class PurgeTenant(Body):
    dry_run: bool = Field(default=False, description="count only; nothing is removed")


async def purge(ask: Ask) -> Reply:
    dry_run = ask.model(PurgeTenant).dry_run
    return Reply(await ask.services.operate.tenants.purge(ask.principal, ask.path["tenantId"], dry_run=dry_run))


ROUTES = (
    Route(
        method="POST",
        path="/tenants/{tenantId}/purge",
        role="operate",
        handler=purge,
        summary="Remove everything of a tenant but the audit trail, for a few seconds; ask again until it is done",
        answers="done, what this call removed, and the messages that still wait in queues; with dryRun what there is",
        model=PurgeTenant,
    ),
)
