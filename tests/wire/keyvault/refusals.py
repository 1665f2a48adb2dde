"""What Key Vault refuses, as this double does. Each has its test in tests/integration/azure/test_keyvault_double.py.

| name | status | source |
|---|---|---|
| unauthorized | 401 + challenge | learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses; text as in terraform-provider-azurerm#19749 |
| rbac | 403 ForbiddenByRbac | piyushsachdeva/Terraform_AKS#2 |
| firewall | 403 ForbiddenByFirewall | learn.microsoft.com/azure/key-vault/general/common-error-codes |
| disabled | 403 SecretDisabled | azure-sdk-for-js#24756; also of a single version |
| purge_protected | 403 | microsoft/AzureTRE#1951 |
| not_found | 404 SecretNotFound | azure-sdk-for-python, KV tests' recordings |
| deleted | 409 ObjectIsDeletedButRecoverable | external-secrets#3519 |
| being_deleted | 409 ObjectIsBeingDeleted | azure-sdk-for-net#26027: for some seconds after a deletion and after a purge |
| being_recovered | 409 ObjectIsBeingRecovered | azure-sdk-for-net#31581 |
| bad_parameter | 400 BadParameter | names: REST reference `^[0-9a-zA-Z-]+$`; values: 25k, learn.microsoft.com/azure/key-vault/secrets/about-secrets |
| throttled | 429 Throttled | learn.microsoft.com/azure/key-vault/general/service-limits: 4,000 in 10 s, per vault |
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    status: int
    code: str
    message: str
    inner: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, object]:
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.inner:
            error["innererror"] = {"code": self.inner}
        return {"error": error}


def unauthorized(tenant: str, audience: str, said: str) -> Refusal:
    challenge = f'Bearer authorization="https://login.microsoftonline.com/{tenant}", resource="{audience}"'
    return Refusal(401, "Unauthorized", said, headers={"WWW-Authenticate": challenge})


def rbac(action: str) -> Refusal:
    said = (
        "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions were "
        f"changed recently, please observe propagation time.\r\nAction: 'Microsoft.KeyVault/vaults/secrets/{action}/action'\r\n"
        "Assignment: (not found)\r\nDecisionReason: 'DeniedWithNoValidRBAC'"
    )
    return Refusal(403, "Forbidden", said, "ForbiddenByRbac")


def firewall() -> Refusal:
    said = "Client address is not authorized and caller is not a trusted service.\r\nClient address: 203.0.113.7"
    return Refusal(403, "Forbidden", said, "ForbiddenByFirewall")


def disabled() -> Refusal:
    return Refusal(403, "Forbidden", "Operation get is not allowed on a disabled secret.", "SecretDisabled")


def purge_protected() -> Refusal:
    said = (
        'Operation "purge" is not allowed because purge protection is enabled for this vault. Key Vault service will automatically '
        "purge it after the retention period has passed."
    )
    return Refusal(403, "Forbidden", said)


def not_found(name: str, version: str = "") -> Refusal:
    where = f"{name}/{version}" if version else name
    said = f"A secret with (name/id) {where} was not found in this key vault. If you recently deleted this secret you may be able to recover it."
    return Refusal(404, "SecretNotFound", said)


def deleted(name: str) -> Refusal:
    said = f"Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the secret can only be recovered or purged."
    return Refusal(409, "Conflict", said, "ObjectIsDeletedButRecoverable")


def being_deleted(name: str) -> Refusal:
    said = f"Secret {name} is currently being deleted and cannot be re-created; retry later."
    return Refusal(409, "Conflict", said, "ObjectIsBeingDeleted")


def being_recovered(name: str) -> Refusal:
    said = f"Secret {name} is currently being recovered and cannot be re-created; retry later."
    return Refusal(409, "Conflict", said, "ObjectIsBeingRecovered")


def bad_parameter(said: str) -> Refusal:
    return Refusal(400, "BadParameter", said)


def throttled(seconds: int) -> Refusal:
    said = "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached"
    return Refusal(429, "Throttled", said, headers={"Retry-After": str(seconds)})
