"""Fixtures for the small ports, one parameter per backend. Documents and queues have theirs beside their tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.adapters.embedded.blobs import open_blobs
from syncd.adapters.embedded.engine import Engine
from syncd.adapters.embedded.keyring import Keyring
from syncd.adapters.embedded.limiter import EmbeddedLimiter
from syncd.adapters.embedded.vault import EmbeddedVault, create_tables
from syncd.ports.blobs import Blobs
from syncd.ports.limiter import Limiter
from syncd.ports.vault import Vault
from syncd.testing.clock import FrozenClock
from tests.conformance.providers import Bench, opened


@pytest.fixture
def frozen() -> FrozenClock:
    return FrozenClock()


@pytest.fixture(params=["embedded"])
def limiter(request: pytest.FixtureRequest, frozen: FrozenClock) -> Limiter:
    assert request.param == "embedded"
    return EmbeddedLimiter(clock=frozen)


@pytest.fixture(params=["embedded"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    assert request.param == "embedded"
    async with open_blobs(tmp_path / "blobs") as blobs:
        yield blobs


@pytest.fixture(params=["embedded"])
async def vault(request: pytest.FixtureRequest, tmp_path: Path, frozen: FrozenClock) -> AsyncIterator[Vault]:
    assert request.param == "embedded"
    engine = await Engine.open(tmp_path / "syncd.db", create_tables, durable=False)
    vault = EmbeddedVault(engine=engine, keyring=Keyring(tmp_path), clock=frozen)
    await vault.open()
    yield vault
    await engine.close()


@pytest.fixture
async def bench(name: str, variant: str, kind: str) -> AsyncIterator[Bench]:
    """Of the parameters of `each_kind`."""
    async with opened(name, variant, kind) as bench:
        yield bench
