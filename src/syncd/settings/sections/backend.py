"""`[backend]`: which adapter stands behind each port."""

from __future__ import annotations

from typing import Literal

from syncd.settings.sections.section import Section
from syncd.settings.values import SecretText, setting

Preset = Literal["embedded", "azure"]

#: What each preset picks: partners that fit together, and defaults that depend on where the process lives.
PRESETS: dict[str, dict[str, object]] = {
    "embedded": {
        "backend.documents": "embedded",
        "backend.queue": "embedded",
        "backend.vault": "embedded",
        "backend.limiter": "embedded",
        "backend.blobs": "embedded",
        "daemon.data_dir_durable": True,
        "daemon.lame_duck": 0.0,
    },
    "azure": {
        "backend.documents": "cosmos",
        "backend.queue": "servicebus",
        "backend.vault": "keyvault",
        "backend.limiter": "redis",
        "backend.blobs": "blob",
        "daemon.data_dir_durable": False,
        "daemon.lame_duck": 10.0,
    },
}
#: A key whose presence selects an adapter: key -> (port, adapter, what it is called).
SELECTORS: dict[str, tuple[str, str, str]] = {
    "cosmos.endpoint": ("documents", "cosmos", "Cosmos DB"),
    "servicebus.connection_string": ("queue", "servicebus", "Service Bus"),
    "servicebus.namespace": ("queue", "servicebus", "Service Bus"),
    "keyvault.url": ("vault", "keyvault", "Key Vault"),
    "redis.url": ("limiter", "redis", "Redis"),
    "blob.connection_string": ("blobs", "blob", "Blob Storage"),
    "blob.account_name": ("blobs", "blob", "Blob Storage"),
}


class BackendSettings(Section):
    preset: Preset = setting(
        "embedded",
        "Picks coherent partners for all ports. embedded: one SQLite file, no other service; azure: Cosmos DB, Service Bus, Key "
        "Vault, Redis, Blob Storage.",
        early=True,
    )
    documents: Literal["embedded", "cosmos"] = setting("embedded", "Where documents live.", early=True)
    queue: Literal["embedded", "servicebus"] = setting("embedded", "Where messages wait.", early=True)
    vault: Literal["embedded", "keyvault"] = setting("embedded", "Where secrets of connections are kept.", early=True)
    limiter: Literal["embedded", "redis"] = setting("embedded", "Where rate limits are counted.", early=True)
    blobs: Literal["embedded", "blob"] = setting("embedded", "Where large bodies and reports are kept.", early=True)
    identity: Literal["default", "managed", "workload", "environment", "cli"] = setting(
        "default",
        "Who syncd is to Azure where no key or connection string is given. managed: the identity of the machine or container "
        "(AZURE_CLIENT_ID picks one of several); workload: Kubernetes; environment: AZURE_TENANT_ID, AZURE_CLIENT_ID and a secret or "
        "certificate; cli: whoever is logged in with az; default: the first of these that answers, which takes longest to fail.",
        early=True,
    )
    secret_key: SecretText | None = setting(
        None,
        "Text from which the key of the embedded vault is derived. Left out: a random key is made in the data directory with "
        "mode 0600. Keep it as safe as the backups that it opens.",
        early=True,
    )
    previous_secret_key: SecretText | None = setting(
        None,
        "The secret_key used before. Set it beside a new one until `syncd credentials rotate-key` has rewritten the vault.",
        early=True,
    )
