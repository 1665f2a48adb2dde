"""The SDK's client as it is used here, and what an account must be.

Its retries are off: those of connections would repeat a write whose answer was lost and take its success for a lost
compare-and-set; those of throttling pile up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NotRequired, TypedDict
from urllib.request import getproxies

from syncd.domain.errors import StoreUnusable
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe

if TYPE_CHECKING:
    from azure.cosmos.aio import CosmosClient
    from azure.cosmos.documents import DatabaseAccount

    from syncd.adapters.azure.identity import Credential


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Times in seconds. Defaults are for an account in the same region."""

    timeout: float = 10.0
    """Of one request, from sending it to the whole answer. The service itself gives up a request after 5 s (concepts-limits)."""
    connect_timeout: float = 5.0
    patience: float = 1.0
    """How long a request waits in place while the service throttles, its turn included, before it fails as Throttled and its work
    is put off."""
    most_in_flight: int = 64
    most_waiting: int = 2_000
    reconnect_pause: float = 1.0
    """Between attempts to reach an account that could not be reached."""
    enable_endpoint_discovery: bool = True
    """False pins the endpoint: for emulators and tunnels, whose account names addresses that are not theirs."""
    connection_verify: bool = True
    """False for a certificate that nobody signed. A CA of one's own is named by SSL_CERT_FILE: the SDK loses a CA file given here
    (4.17.1, `_build_connection_policy`), and verifies nothing on localhost and 127.0.0.1."""
    preferred_locations: tuple[str, ...] = ()


class Place(TypedDict):
    """Which account, and who asks it."""

    endpoint: str
    credential: str | Credential
    """The account's key, or a credential for Entra ID, which stays its owner's."""
    database: str
    containers: NotRequired[Mapping[str, str]]
    """Names of containers that are not called as their collection."""
    options: NotRequired[Options]
    clock: Clock
    observe: NotRequired[Observe]


def new_client(endpoint: str, credential: str | Credential, options: Options) -> CosmosClient:
    """Not connected yet. Blocks: for the import of the SDK, and for a subprocess by which it learns the system's name."""
    from azure.core.pipeline.transport import AioHttpTransport
    from azure.cosmos.aio import CosmosClient
    from azure.cosmos.documents import ConnectionPolicy

    policy = ConnectionPolicy()
    # `retry_throttle_total=0` is taken for "not given": 0 has to stand in the policy.
    policy.RetryOptions = type(policy.RetryOptions)(max_retry_attempt_count=0, max_wait_time_in_seconds=0)
    return CosmosClient(
        endpoint,
        credential,
        connection_policy=policy,
        # Where no proxy is named at the start none is looked for: aiohttp would read .netrc in a thread for each request.
        transport=AioHttpTransport(use_env_settings=bool(getproxies())),
        connection_timeout=options.connect_timeout,
        read_timeout=options.timeout,
        connection_verify=options.connection_verify,
        retry_total=0,
        retry_connect=0,
        retry_read=0,
        retry_status=0,
        enable_endpoint_discovery=options.enable_endpoint_discovery,
        preferred_locations=list(options.preferred_locations),
        # Text as UTF-8, not as \uXXXX, which would take a batch of 2 MB beyond the 2 MB of a request.
        enable_compact_utf8_item_writes=True,
    )


def check_promises(what: str, account: DatabaseAccount) -> None:
    """Raises StoreUnusable, with what mends it, for an account that breaks a promise of the port."""
    change = "`az cosmosdb update --name ACCOUNT --resource-group GROUP"
    # The SDK keeps this one under a private name alone.
    if getattr(account, "_EnableMultipleWritableLocations", False):
        raise StoreUnusable(
            f"{what} takes writes in several regions, where two compare-and-sets of one document can both win:"
            f" {change} --enable-multiple-write-locations false`"
        )
    level = (account.ConsistencyPolicy or {}).get("defaultConsistencyLevel")
    if level in ("Eventual", "ConsistentPrefix"):
        raise StoreUnusable(
            f"{what} has the consistency {level}: a process may not read what it has just written:"
            f" {change} --default-consistency-level Session`"
        )
