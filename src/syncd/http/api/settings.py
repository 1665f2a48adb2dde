"""/api/v1/settings: what is in force, and the stored overlay that deployment pipelines change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.http.models import SettingsChange
from syncd.http.routes import Reply, Route

if TYPE_CHECKING:
    from syncd.http.routes import Ask


async def show(ask: Ask) -> Reply:
    return Reply(await ask.services.operate.settings.show(ask.principal))


async def change(ask: Ask) -> Reply:
    values = ask.model(SettingsChange).model_dump()
    return Reply(await ask.services.operate.settings.change(ask.principal, values))


async def take_back(ask: Ask) -> Reply:
    return Reply(await ask.services.operate.settings.take_back(ask.principal, ask.path["key"]))


ROUTES = (
    Route(
        method="GET",
        path="/settings",
        role="read",
        handler=show,
        summary="Show the effective settings with where each value came from",
        answers="settings, secrets redacted, and the overlay with its version",
    ),
    Route(
        method="PATCH",
        path="/settings",
        role="operate",
        handler=change,
        summary="Add keys to the stored overlay; in force when this returns; null takes a key back",
        answers="the new overlay and the difference of the reload",
        model=SettingsChange,
    ),
    Route(
        method="DELETE",
        path="/settings/{key}",
        role="operate",
        handler=take_back,
        summary="Take one key out of the overlay",
        answers="the new overlay and the difference of the reload",
    ),
)
