from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.testing.clock import FrozenClock
from tests.integration.tasks.world import World, opened


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def world(tmp_path: Path, clock: FrozenClock) -> AsyncIterator[World]:
    async with opened(tmp_path, clock) as world:
        yield world
