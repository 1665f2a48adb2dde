"""Fixtures of all integration tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.azure.servicebus_clients import hurry
from tests.integration.backends import Backend, Embedded, azure
from tests.wire.azurite import Azurite, Unavailable


@pytest.fixture(scope="session")
def storage() -> Iterator[Azurite]:
    try:
        with Azurite.started() as running:
            yield running
    except Unavailable as error:
        pytest.skip(f"Azurite, the emulator of Blob Storage, is not here: {error}")


@pytest.fixture(params=["embedded", "azure"])
async def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Backend]:
    if request.param == "embedded":
        yield Embedded()
        return
    storage: Azurite = request.getfixturevalue("storage")
    hurry(monkeypatch)  # each world connects anew
    async with azure(storage, tmp_path_factory.mktemp("azure"), monkeypatch.setenv) as made:
        yield made
