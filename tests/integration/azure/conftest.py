"""Worlds of the Azure adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.adapters.azure.cosmos import CosmosDocuments
from syncd.testing.clock import FrozenClock
from tests.integration.azure.cosmos_world import account, warm
from tests.integration.azure.servicebus_clients import hurry
from tests.integration.azure.vaults import World, world
from tests.wire.cosmos import CosmosDouble


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def service(clock: FrozenClock) -> AsyncIterator[CosmosDouble]:
    """An account of Cosmos DB with everything made that syncd needs."""
    async with account(clock) as made:
        yield made


@pytest.fixture
async def documents(service: CosmosDouble, clock: FrozenClock) -> AsyncIterator[CosmosDocuments]:
    async with warm(service, clock) as documents:
        yield documents


@pytest.fixture
async def keyvault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with world(tmp_path, monkeypatch) as opened:
        yield opened


@pytest.fixture
def hurried_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
