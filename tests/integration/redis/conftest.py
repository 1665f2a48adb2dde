from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.redis.server import RedisServer, redis_server


@pytest.fixture(scope="session")
def shared() -> Iterator[RedisServer]:
    """For tests that leave the server alone; each has a namespace of its own."""
    with redis_server() as server:
        yield server


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """To be killed, paused and flushed."""
    with redis_server() as server:
        yield server
