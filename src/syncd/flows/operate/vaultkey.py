"""The key under which the vault keeps every tenant's secrets, as operators renew it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.flows.operate.audit import AuditTrail
    from syncd.ports.vault import Vault


class VaultKeyFlow:
    def __init__(self, *, vault: Vault, audit: AuditTrail) -> None:
        self._vault = vault
        self._audit = audit

    async def rotate(self, principal: Principal) -> JsonObject:
        """Bring everything under a new key; interrupted, the next call finishes what this one began. The count of versions that
        were rewritten. Raises Forbidden for a token limited to tenants."""
        principal.may_operate()
        principal.must_be_everywhere("keys of the vault")
        async with self._audit.change(principal, "credentials.rotate-key", "vault") as change:
            answer: JsonObject = {"rewritten": await self._vault.rotate_key()}
            change.after = answer
        return answer
