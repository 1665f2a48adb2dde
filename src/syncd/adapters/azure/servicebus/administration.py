"""The client of a namespace's administration API, for `check` and for numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azure.servicebus.aio.management import ServiceBusAdministrationClient

from syncd.domain.errors import Invalid

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential


def administration_client(
    *,
    connection_string: str | None,
    namespace: str | None,
    credential: AsyncTokenCredential | None,
    ca_file: str | None,
    retries: int,
) -> ServiceBusAdministrationClient:
    """Sends nothing. Raises Invalid where it is told too little."""
    options = {"connection_verify": ca_file} if ca_file else {}
    if connection_string is not None:
        return ServiceBusAdministrationClient.from_connection_string(connection_string, retry_total=retries, **options)
    if namespace is not None and credential is not None:
        return ServiceBusAdministrationClient(namespace, credential, retry_total=retries, **options)
    raise Invalid("Service Bus takes a connection string, or a namespace and an identity")
