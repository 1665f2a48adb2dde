"""Fixtures for the small ports, one parameter per backend. Documents and queues have theirs beside their tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
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
from tests.conformance import azure
from tests.conformance.providers import Bench, opened
from tests.integration.redis.limiters import opened as scripted
from tests.integration.redis.server import RedisServer, redis_server
from tests.wire.azurite import Azurite, Unavailable


@pytest.fixture
def frozen() -> FrozenClock:
    return FrozenClock()


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(params=["embedded", "redis"])
async def limiter(request: pytest.FixtureRequest, frozen: FrozenClock) -> AsyncIterator[Limiter]:
    if request.param == "embedded":
        yield EmbeddedLimiter(clock=frozen)
        return
    server: RedisServer = request.getfixturevalue("redis")
    # Nothing is left free for replicas that are cut off: the limits of the suite are whole. Redis's clock cannot be stopped, so
    # the script is told the frozen one.
    async with scripted(server.url, clock=frozen, time_source=frozen.monotonic, fallback_share=0.0) as limiter:
        yield limiter


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    try:
        with Azurite.started() as running:
            yield running
    except Unavailable as error:
        pytest.skip(f"Azurite, the emulator of Blob Storage, is not here: {error}")


@pytest.fixture(params=["embedded", "blob"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    if request.param == "blob":
        async with azure.blobs(request.getfixturevalue("azurite")) as storage:
            yield storage
        return
    async with open_blobs(tmp_path / "blobs") as blobs:
        yield blobs


@pytest.fixture(params=["embedded", "keyvault"])
async def vault(
    request: pytest.FixtureRequest, tmp_path: Path, frozen: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Vault]:
    if request.param == "keyvault":
        async with azure.vault(tmp_path, clock=frozen, environ=monkeypatch.setenv) as opened_vault:
            yield opened_vault
        return
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
