"""The client of a storage account, from what an operator may have: a connection string, a key, or our identity."""

from __future__ import annotations

import re
from typing import Any

from azure.storage.blob.aio import BlobServiceClient, ExponentialRetry

from syncd.adapters.azure.identity import Credential
from syncd.domain.errors import Invalid
from syncd.domain.secrets import Secret

#: Bytes of one request upwards. What aiohttp writes at once without holding up the loop, by its own judgement; times the service's
#: 50,000 blocks it is the most that a blob may have, 48 GiB.
BLOCK = 1024 * 1024
#: Bytes of one request downwards: a round trip is little beside it, and some fit into memory.
RANGE = 4 * 1024 * 1024
#: https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
_CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")


def check_container(name: str) -> None:
    """Raises Invalid."""
    if not _CONTAINER.fullmatch(name):
        raise Invalid(
            f"{name!r} is no name of a container: 3 to 63 lower-case letters, digits and single '-' between them"
        )


def account_client(
    connection_string: Secret | None,
    account_url: str | None,
    account_key: Secret | None,
    credential: Credential | None,
    ca_file: str | None,
    timeout: float,
) -> BlobServiceClient:
    """Raises Invalid for what can be no account, without showing it."""
    # Its own class of retries: one repetition at once, for a connection that was closed while idle; statuses go to the caller.
    retries = ExponentialRetry(
        initial_backoff=0, increment_base=0, random_jitter_range=0, retry_total=1, retry_status=0
    )
    options: dict[str, Any] = {  # mixed types, by the SDK
        "retry_policy": retries,
        "connection_timeout": 5.0,
        "read_timeout": timeout,
        "connection_verify": ca_file or True,
        "max_single_get_size": RANGE,
        "max_chunk_get_size": RANGE,
        "max_single_put_size": BLOCK,
    }
    try:
        if connection_string is not None:
            return BlobServiceClient.from_connection_string(connection_string.reveal(), **options)
        if account_url is None:
            raise Invalid("Blob Storage needs a connection string or an account")
        if account_key is not None:
            return BlobServiceClient(account_url, credential=account_key.reveal(), **options)
        if credential is None:
            raise Invalid(f"Blob Storage {account_url} needs an account key or an identity")
        if not account_url.lower().startswith("https://"):
            raise Invalid(f"Blob Storage {account_url} needs https:// where our identity is to be shown")
        return BlobServiceClient(account_url, credential=credential, **options)
    except ValueError:
        raise Invalid(
            "the connection string of Blob Storage or its account's address cannot be read: a connection string looks like "
            "DefaultEndpointsProtocol=https;AccountName=...;AccountKey=...;EndpointSuffix=core.windows.net"
        ) from None  # the original would show the key
