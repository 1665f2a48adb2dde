"""Worlds of the Azure adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.azure.servicebus_clients import hurry
from tests.integration.azure.vaults import World, world


@pytest.fixture
async def keyvault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with world(tmp_path, monkeypatch) as opened:
        yield opened


@pytest.fixture
def hurried_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
