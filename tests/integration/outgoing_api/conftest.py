from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.integration.outgoing_api.world import Providers


@pytest.fixture
async def world() -> AsyncIterator[Providers]:
    async with AsyncExitStack() as stack:
        yield Providers(stack)
