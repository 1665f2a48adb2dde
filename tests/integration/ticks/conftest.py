"""A frozen clock, a real store, and a job that notes its runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.adapters.embedded.store import Store, open_store
from syncd.testing.clock import FrozenClock
from tests.integration.ticks.ticking import START, Observed, Runs


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(START)


@pytest.fixture
async def store(tmp_path: Path, clock: FrozenClock) -> AsyncIterator[Store]:
    async with open_store(tmp_path, clock=clock, durable=False) as store:
        yield store


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def observed() -> Observed:
    return Observed()
