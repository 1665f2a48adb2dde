"""/api/v1/providers"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.http.routes import Reply, Route

if TYPE_CHECKING:
    from syncd.http.routes import Ask


async def list_all(ask: Ask) -> Reply:
    return Reply(ask.services.operate.providers.list(ask.principal).as_json())


ROUTES = (
    Route(
        method="GET",
        path="/providers",
        role="read",
        handler=list_all,
        summary="List the providers that are installed, with their types of objects and what can be done with them",
        answers="all providers; kinds is null where a connection's settings describe them",
    ),
)
