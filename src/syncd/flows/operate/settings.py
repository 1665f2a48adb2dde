"""The effective settings, and changes to the stored overlay that are in force when the call returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.errors import Conflict, Invalid, NotFound
from syncd.flows.operate.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.domain.principal import Principal
    from syncd.flows.operate.audit import AuditTrail
    from syncd.flows.overlay import Overlaid, Overlay
    from syncd.ports.control import Control

    #: Raises Invalid with every error, by key, where these overlay values would not make valid settings. May read files.
    CheckOverlay = Callable[[Mapping[str, Json]], None]


def flattened(values: Mapping[str, Json], prefix: str = "") -> dict[str, Json]:
    """`{"sync": {"batch_size": 50}}` and `{"sync.batch_size": 50}` are the same. An empty object adds nothing."""
    flat: dict[str, Json] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


class SettingsFlow:
    def __init__(self, *, overlay: Overlay, control: Control, audit: AuditTrail, check: CheckOverlay) -> None:
        self._overlay = overlay
        self._control = control
        self._audit = audit
        self._check = check

    async def show(self, principal: Principal) -> JsonObject:
        """Every key with its value (secrets redacted) and where it came from, and the overlay with its version."""
        principal.must_be_everywhere("settings")
        overlaid = await self._overlay.current()
        return {"settings": self._control.effective_settings(), "overlay": _shown(overlaid)}

    async def change(self, principal: Principal, values: Mapping[str, Json]) -> JsonObject:
        """Add `values` to the overlay; null takes a key back. Raises Invalid with every error; nothing changed then."""
        principal.may_operate()
        principal.must_be_everywhere("settings")
        wanted = flattened(values)
        if not wanted:
            raise Invalid('nothing to change; send keys and values, as {"sync": {"batch_size": 50}}')
        base = await self._overlay.current()
        merged = {key: value for key, value in {**base.values, **wanted}.items() if value is not None}
        return await self._apply(principal, "settings.change", ", ".join(sorted(wanted)), base, merged)

    async def take_back(self, principal: Principal, key: str) -> JsonObject:
        """Remove one key from the overlay: file, environment or default is in force again. Raises NotFound."""
        principal.may_operate()
        principal.must_be_everywhere("settings")
        base = await self._overlay.current()
        rest = {name: value for name, value in base.values.items() if name != key}
        if len(rest) == len(base.values):
            raise NotFound(f"the overlay holds no {key!r}")
        return await self._apply(principal, "settings.take_back", key, base, rest)

    async def _apply(
        self, principal: Principal, action: str, subject: str, base: Overlaid, values: Mapping[str, Json]
    ) -> JsonObject:
        self._check(values)
        async with self._audit.change(principal, action, subject, before=dict(base.values), after=dict(values)):
            written = await self._overlay.write(values, base=base, actor=principal.name)
            try:
                diff = await self._control.reload()
            except Invalid:
                await self._undo(base, written, principal)
                raise
        return {"overlay": _shown(written), "reload": diff}

    async def _undo(self, base: Overlaid, written: Overlaid, principal: Principal) -> None:
        """The next generation could not be built (a file changed meanwhile): what was in force stays so, here too."""
        try:
            await self._overlay.write(base.values, base=written, actor=principal.name)
        except Conflict:
            # Somebody has written a newer overlay already; its own reload decides about it.
            return


def _shown(overlaid: Overlaid) -> JsonObject:
    return {
        "version": overlaid.version,
        "values": redacted(dict(overlaid.values)),
        "updatedAt": overlaid.updated_at,
        "updatedBy": overlaid.updated_by,
    }
