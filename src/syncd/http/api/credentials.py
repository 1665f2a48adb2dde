"""/api/v1/credentials: what is done with all of them. One credential belongs to its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.http.routes import Reply, Route

if TYPE_CHECKING:
    from syncd.http.routes import Ask


async def rotate_key(ask: Ask) -> Reply:
    return Reply(await ask.services.operate.vault_key.rotate(ask.principal))


ROUTES = (
    Route(
        method="POST",
        path="/credentials/rotate-key",
        role="operate",
        handler=rotate_key,
        summary="Encrypt all stored secrets under a new key; interrupted, it goes on when asked again",
        answers="how many versions were rewritten",
    ),
)
