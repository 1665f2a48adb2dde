"""Credentials as people hand them over: checked, put into the vault, and never seen again.

The document says which version in the vault is current (guarantees, G5); its id is new each time, so that two creators of one
connection never write over each other's secret.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from syncd.domain.collections import CREDENTIALS
from syncd.domain.errors import Invalid
from syncd.domain.ids import digest, located, ulid
from syncd.domain.secrets import Secret
from syncd.domain.times import iso
from syncd.ports.documents import Create, Delete

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncd.domain.jsontypes import JsonObject
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents
    from syncd.ports.vault import Vault

#: Kinds of credential with the fields that each must and may have. All of them go to the vault together.
KINDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "bearer": (frozenset({"token"}), frozenset()),
    "basic": (frozenset({"username", "password"}), frozenset()),
    "api_key": (frozenset({"value"}), frozenset({"header", "parameter"})),
    "oauth2": (
        frozenset({"accessToken"}),
        frozenset({"refreshToken", "expiresAt", "clientId", "clientSecret", "tokenUrl", "scope"}),
    ),
}


def check_credential(credential: Mapping[str, object]) -> dict[str, str]:
    """What is wrong with it, by field path. Values are never repeated: they are secrets."""
    kind = credential.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        return {"credential.kind": f"must be one of {', '.join(sorted(KINDS))}"}
    needed, allowed = KINDS[kind]
    given = {name for name in credential if name != "kind"}
    wrong = {f"credential.{name}": f"needed for the kind {kind}" for name in sorted(needed - given)}
    wrong |= {f"credential.{name}": f"not known for the kind {kind}" for name in sorted(given - needed - allowed)}
    wrong |= {
        f"credential.{name}": "must be text that is not empty"
        for name in sorted(given & (needed | allowed))
        if not isinstance(credential[name], str) or not credential[name]
    }
    return wrong


class CredentialStore:
    def __init__(self, *, documents: Documents, vault: Vault, clock: Clock) -> None:
        self._documents = documents
        self._vault = vault
        self._clock = clock

    async def put(self, tenant_id: str, connection_id: str, credential: Mapping[str, str]) -> str:
        """Store a checked credential and return its id. Raises Invalid where it is none."""
        wrong = check_credential(credential)
        if wrong:
            raise Invalid("the credential cannot be used", errors=wrong)
        now = self._clock.now()
        identifier = located(tenant_id, ulid(now))
        name = self.vault_name(tenant_id, identifier)
        version = await self._vault.append(name, Secret(json.dumps(dict(credential))))
        document: JsonObject = {
            "schema": CREDENTIALS.schema,
            "tenantId": tenant_id,
            "connectionId": connection_id,
            "kind": credential["kind"],
            "vaultName": name,
            "version": version,
            "status": "ok",
            "createdAt": iso(now),
            "updatedAt": iso(now),
        }
        if "expiresAt" in credential:
            document["expiresAt"] = credential["expiresAt"]
        await self._documents.write(CREDENTIALS, tenant_id, [Create(identifier, document)])
        return identifier

    async def remove(self, tenant_id: str, identifier: str | None) -> None:
        """Of one that no connection points at any more. The secret first: killed in between, the document is there for the purge
        of its tenant to find, and nothing of worth is left in the vault."""
        if identifier is None:
            return
        await self._vault.purge(self.vault_name(tenant_id, identifier))
        await self._documents.write(CREDENTIALS, tenant_id, [Delete(identifier)])

    @staticmethod
    def vault_name(tenant_id: str, identifier: str) -> str:
        return digest(tenant_id, "credential", identifier)
