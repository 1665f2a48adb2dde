"""How the tests of the Service Bus double make their clients."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
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
    )


class _Hurried:
    """asyncio for the SDK's own modules, with pauses of a hundredth."""

    def __getattr__(self, name: str) -> Any:  # Any: whatever asyncio has
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 100)  # the SDK's own pause, made short


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening and closing a link takes the SDK a second of pauses between its looks: nothing else is changed by making them short."""
    for module in ("_pyamqp.aio._client_async", "aio._servicebus_receiver_async", "aio._servicebus_sender_async"):
        monkeypatch.setattr(f"azure.servicebus.{module}.asyncio", _Hurried())
