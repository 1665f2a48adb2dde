"""Environment names that deployments set already, and what each of them means here.

The names come from the systems that syncd replaces; they are honoured as they are, so that an existing env file is enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from syncd.domain.jsontypes import Json
from syncd.settings.catalogue import Path
from syncd.settings.values import NotAllowed


def _finops_enabled(value: str) -> bool:
    """Only the word true switches it on; what is meant as off is off; anything else is an error, not a guess."""
    if value.lower() == "true":
        return True
    if value.lower() in {"", "0", "false"}:
        return False
    raise NotAllowed("it is neither true nor false")


def _minutes(value: str) -> str:
    return f"{_plain_number(value, 'minutes')}m"


def _milliseconds(value: str) -> str:
    return f"{_plain_number(value, 'milliseconds')}ms"


def _plain_number(value: str, unit: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?", value.strip()):
        raise NotAllowed(f"it is not a number of {unit}")
    return value.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Honoured:
    name: str
    path: Path
    convert: Callable[[str], Json] | None = None
    allowed: str = ""
    empty_counts: bool = False
    """An empty value means something; everywhere else it is as if the name were not set."""
    alias: bool = False
    """Of an older or newer generation of the same system: honoured, but another name is the usual one."""


def _table() -> tuple[Honoured, ...]:
    minutes, milliseconds = "a number of minutes", "a number of milliseconds"
    usual: list[tuple[str, str]] = [
        ("COSMOS_ENDPOINT", "cosmos.endpoint"),
        ("COSMOS_KEY", "cosmos.key"),
        ("COSMOS_DATABASE", "cosmos.database"),
        ("SERVICE_BUS_CONNECTION_STRING", "servicebus.connection_string"),
        ("SERVICE_BUS_QUEUE", "servicebus.queue_inbound"),
        ("SERVICE_BUS_QUEUE_OUTBOUND", "servicebus.queue_outbound"),
        ("KEY_VAULT_URL", "keyvault.url"),
        ("REDIS_URL", "redis.url"),
        ("AZURE_STORAGE_CONNECTION_STRING", "blob.connection_string"),
        ("AZURE_STORAGE_CONTAINER_NAME", "blob.container"),
        ("SYNC_BATCH_SIZE", "sync.batch_size"),
        ("SYNC_MAX_RETRIES", "sync.max_retries"),
        ("DJANGO_WEBHOOK_URL", "finops.webhook_url"),
        ("SECRET_SYNC_TOKEN", "finops.sync_token"),
        ("AZURE_SUBSCRIPTION_ID", "aci.subscription_id"),
        ("AZURE_RESOURCE_GROUP", "aci.resource_group"),
        ("ACI_IMAGE", "aci.image"),
        ("ACI_NAME_PREFIX", "aci.name_prefix"),
        ("ACI_LOCATION", "aci.location"),
        ("ACI_MAX_INSTANCES", "aci.max_instances"),
        ("ACI_DEFAULT_CPU", "aci.cpu"),
        ("ACI_MEMORY_MULTIPLIER", "aci.memory_multiplier"),
        ("ACI_MIN_MEMORY_GB", "aci.min_memory_gb"),
        ("ACI_MAX_MEMORY_GB", "aci.max_memory_gb"),
        ("ACR_SERVER", "aci.registry_server"),
        ("ACR_USERNAME", "aci.registry_username"),
        ("ACR_PASSWORD", "aci.registry_password"),
        ("INSTANCE_SUBSCRIPTION_ENV_NAME", "aci.subscription_env_name"),
        ("SB_CONNECTION_STR", "scaler.connection_string"),
        ("SB_NAMESPACE", "scaler.namespace"),
        ("SB_TOPIC_NAME", "scaler.topic"),
        ("SKIP_SUBSCRIPTIONS", "scaler.skip_subscriptions"),
        ("PROVISIONING_MAX_WORKERS", "scaler.max_workers"),
        ("SECRET_KEY", "backend.secret_key"),
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", "telemetry.applicationinsights_connection_string"),
    ]
    aliases: list[tuple[str, str]] = [
        ("COSMOS_DB_ENDPOINT", "cosmos.endpoint"),
        ("COSMOS_DB_KEY", "cosmos.key"),
        ("COSMOS_DB_DATABASE", "cosmos.database"),
        ("SYNC_RESULTS_CONTAINER", "cosmos.containers.sync-results"),
        ("CREDENTIALS_CONTAINER", "cosmos.containers.credentials"),
        ("AZURE_STORAGE_ACCOUNT_NAME", "blob.account_name"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "blob.account_key"),
        ("AZURE_STORAGE_CONTAINER", "blob.container"),
        ("SYNC_SCHEDULER_BATCH_SIZE", "sync.batch_size"),
        ("SYNC_WORKER_CONCURRENCY", "queues.sync-inbound.max_receivers"),
        ("SYNC_OUTBOUND_CONCURRENCY", "queues.sync-outbound.max_receivers"),
        ("MAX_REFRESH_RETRIES", "tokens.max_retries"),
        ("WEBHOOK_BASE_URL", "http.public_url"),
    ]
    threshold = ("tokens", "expiry_threshold")
    return (
        *(Honoured(name=name, path=tuple(key.split("."))) for name, key in usual),
        Honoured(name="TOKEN_EXPIRY_THRESHOLD_MINUTES", path=threshold, convert=_minutes, allowed=minutes),
        Honoured(
            name="FINOPS_SYNC_ENABLED",
            path=("finops", "enabled"),
            convert=_finops_enabled,
            allowed="true (in any case) for on; empty, 0 or false for off",
            empty_counts=True,
        ),
        *(Honoured(name=name, path=tuple(key.split(".")), alias=True) for name, key in aliases),
        Honoured(
            name="TOKEN_REFRESH_EXPIRATION_THRESHOLD_MS",
            path=threshold,
            convert=_milliseconds,
            allowed=milliseconds,
            alias=True,
        ),
    )


HONOURED: tuple[Honoured, ...] = _table()
BY_NAME: dict[str, Honoured] = {honoured.name: honoured for honoured in HONOURED}
#: Handed to each container group with the prefix taken off.
INSTANCE_PREFIX = "INSTANCE_"
#: Names that begin with SYNCD_ and are not keys.
OWN_NAMES = {
    "SYNCD_CONFIG": "path of the TOML file, where --config is not given",
    "SYNCD_URL": "for the command line: address of the daemon to speak to, instead of the one of this configuration",
    "SYNCD_TOKEN": "for the command line: its bearer token for the admin API",
}

#: Kubernetes sets these for a Service named syncd or syncd-*. SYNCD_..._PORT is one only where it holds tcp://: otherwise somebody
#: meant a key.
_SERVICE_LINK = re.compile(r"SYNCD_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)")
_SERVICE_PORT = re.compile(r"SYNCD_(\w+_)?PORT")

#: What replaced systems and platforms set and syncd has no use for: pattern -> why.
_NOT_NEEDED: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), why)
    for pattern, why in (
        (r"FUNCTIONS_\w+|AzureWebJobs[\w.:]*|AZURE_FUNCTIONS_\w+", "of the Functions host; syncd is its own host"),
        (r"WEBSITE_\w+|SCM_\w+|ENABLE_ORYX_BUILD|XDG_CACHE_HOME", "of App Service; syncd is its own host"),
        (r"CELERY_\w+|FLOWER_\w+", "of Celery; syncd has its own queues"),
        (r"DJANGO_SETTINGS_MODULE|DJANGO_DEBUG|ALLOWED_HOSTS", "of Django"),
        (r"PROVISIONING_(PEEK_MAX|CONFIRM_MESSAGE|DELETE_ORPHANS|ORPHAN_\w+)", "a ledger replaces repeated peeking"),
        (r"SYNC_SCHEDULER_INTERVAL_MS|TOKEN_REFRESH_INTERVAL_MS", "schedules are jobs.<name>.schedule"),
        (r"APPINSIGHTS_INSTRUMENTATIONKEY", "APPLICATIONINSIGHTS_CONNECTION_STRING replaces it"),
    )
)
#: Read by libraries themselves, under their standard names.
STANDARD = re.compile(
    r"OTEL_\w+|AZURE_(CLIENT_(ID|SECRET|CERTIFICATE_PATH|CERTIFICATE_PASSWORD)|TENANT_ID|AUTHORITY_HOST|FEDERATED_TOKEN_FILE|"
    r"USERNAME|PASSWORD|TOKEN_CREDENTIALS)|IDENTITY_ENDPOINT|IDENTITY_HEADER|MSI_ENDPOINT|MSI_SECRET"
)
#: Functions of the replaced systems, by the job that does their work.
FUNCTIONS = {
    "SyncSchedulerTimer": "sync-scheduler",
    "TokenRefresherTimer": "token-refresher",
    "finops_daily_sync": "finops-daily-sync",
    "daily_cost_sync": "finops-daily-sync",
}
#: One name that meant three containers in four functions: honouring it would be wrong for two of them.
IGNORED = {
    "COSMOS_CONTAINER": "it meant another container in each function that read it, so it is ignored; "
    "containers have their own names, and cosmos.containers changes one",
}


def not_needed(name: str, value: str = "") -> str | None:
    """Why syncd has no use for a name that it recognises; None for a name that it does not recognise."""
    if name in IGNORED:
        return None
    linked = _SERVICE_PORT.fullmatch(name) and value.startswith(("tcp://", "udp://"))
    if (linked or _SERVICE_LINK.fullmatch(name)) and "__" not in name:
        return "a Kubernetes service link"
    return next((why for pattern, why in _NOT_NEEDED if pattern.fullmatch(name)), None)


def job_of_switch(name: str) -> str | None:
    """`AzureWebJobs.<Function>.Disabled` -> the job that does the work of that function."""
    if not (name.startswith("AzureWebJobs.") and name.endswith(".Disabled")):
        return None
    return FUNCTIONS.get(name.removeprefix("AzureWebJobs.").removesuffix(".Disabled"))


def instance_variable(name: str) -> Path | None:
    """`INSTANCE_FOO` -> `aci.environment.FOO`."""
    if name in BY_NAME or not name.startswith(INSTANCE_PREFIX) or name == INSTANCE_PREFIX:
        return None
    return ("aci", "environment", name.removeprefix(INSTANCE_PREFIX))
