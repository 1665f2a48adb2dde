"""A vault on its double, with everything that a test may want to turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from syncd.adapters.azure.identity import Credential, open_credential
from syncd.adapters.azure.keyvault import KeyVault, open_key_vault
from syncd.testing.clock import FrozenClock
from tests.wire.identity import IdentityDouble
from tests.wire.keyvault import KeyVaultDouble


@dataclass(slots=True)
class Seen:
    """An observer that remembers."""

    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def __call__(self, event: str, /, **facts: object) -> None:
        self.events.append((event, facts))

    def of(self, event: str) -> list[dict[str, object]]:
        return [facts for name, facts in self.events if name == event]


@dataclass(slots=True)
class World:
    identity: IdentityDouble
    double: KeyVaultDouble
    credential: Credential
    vault: KeyVault
    seen: Seen
    clock: FrozenClock
    directory: Path

    def calls(self, method: str) -> int:
        """Requests that the double saw, the challenge included."""
        return sum(one.startswith(f"{method} ") for one in self.double.faults.log)

    @asynccontextmanager
    async def another(self, *, url: str | None = None, **more: object) -> AsyncIterator[KeyVault]:
        """A vault of another process: nothing in its memory."""
        options = {"ca_file": self.double.write_ca(self.directory), "verify_challenge": False, **more}
        async with open_key_vault(
            url=url or self.double.url,
            credential=self.credential,
            clock=self.clock,
            observe=self.seen,
            **options,  # type: ignore[arg-type]  # whatever a test changes
        ) as vault:
            yield vault


@asynccontextmanager
async def world(directory: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        identity = await stack.enter_async_context(IdentityDouble().serving())
        double = await stack.enter_async_context(KeyVaultDouble(identity).serving())
        for name, value in identity.environment.items():
            patch.setenv(name, value)
        seen, clock = Seen(), FrozenClock()
        credential = await stack.enter_async_context(open_credential(kind="managed", observe=seen))
        vault = await stack.enter_async_context(
            open_key_vault(
                url=double.url,
                credential=credential,
                clock=clock,
                observe=seen,
                ca_file=double.write_ca(directory),
                verify_challenge=False,
            )
        )
        yield World(identity, double, credential, vault, seen, clock, directory)
