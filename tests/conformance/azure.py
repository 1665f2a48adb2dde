"""The small ports on Azure, each on its double or on the real emulator, for the fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from syncd.adapters.azure.blob import open_blob_storage
from syncd.adapters.azure.identity import open_credential
from syncd.adapters.azure.keyvault import open_key_vault
from syncd.domain.secrets import Secret
from syncd.ports.blobs import Blobs
from syncd.ports.clock import Clock
from syncd.ports.observe import ignore
from syncd.ports.vault import Vault
from syncd.testing.clock import FrozenClock
from tests.wire.azurite import Azurite
from tests.wire.identity import IdentityDouble
from tests.wire.keyvault import KeyVaultDouble


@asynccontextmanager
async def vault(directory: Path, *, clock: Clock, environ: Callable[[str, str], None]) -> AsyncIterator[Vault]:
    """Nothing is cached, so that every read is one of the wire."""
    async with IdentityDouble().serving() as identity, KeyVaultDouble(identity).serving() as double:
        for name, value in identity.environment.items():
            environ(name, value)
        async with (
            open_credential(kind="managed", observe=ignore) as credential,
            open_key_vault(
                url=double.url,
                credential=credential,
                clock=clock,
                observe=ignore,
                ca_file=double.write_ca(directory),
                verify_challenge=False,
                cache_seconds=0.0,
            ) as opened,
        ):
            yield opened


@asynccontextmanager
async def blobs(azurite: Azurite) -> AsyncIterator[Blobs]:
    """A container of its own, which the first put makes."""
    async with open_blob_storage(
        connection_string=Secret(azurite.connection_string),
        container=f"c{uuid4().hex}",
        clock=FrozenClock(),
        observe=ignore,
    ) as opened:
        yield opened
