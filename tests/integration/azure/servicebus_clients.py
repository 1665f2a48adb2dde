"""How the tests of the Service Bus double make their clients."""

from __future__ import annotations

from azure.servicebus.aio import ServiceBusClient

from tests.wire.servicebus import ServiceBusDouble


def client_of(
    double: ServiceBusDouble,
    *,
    policy: str = "RootManageSharedAccessKey",
    retry_total: int = 0,
    retry_backoff_factor: float = 0.8,
    try_timeout: float | None = None,
) -> ServiceBusClient:
    """One attempt for each call, and none of the SDK's long waits for a socket."""
    return ServiceBusClient.from_connection_string(
        double.connection_string_for(policy),
        retry_total=retry_total,
        retry_backoff_factor=retry_backoff_factor,
        socket_timeout=0.05,
        try_timeout=try_timeout,
        keep_alive=0,  # a sender's close waits for its keep-alive task, which sleeps for a second at a time
    )
