"""Container Instances on their double."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from syncd.adapters.azure.containers import ContainerInstances, open_containers
from syncd.adapters.azure.identity import Credential, open_credential
from syncd.ports.containers import GroupSpec
from syncd.testing.clock import FrozenClock
from tests.integration.azure.vaults import Seen
from tests.wire.arm import ArmDouble
from tests.wire.identity import IdentityDouble


@dataclass(slots=True)
class Groups:
    identity: IdentityDouble
    arm: ArmDouble
    credential: Credential
    containers: ContainerInstances
    seen: Seen
    directory: Path

    @asynccontextmanager
    async def another(self, **more: object) -> AsyncIterator[ContainerInstances]:
        options: dict[str, object] = {
            "subscription_id": self.arm.subscription,
            "resource_group": self.arm.resource_group,
            "location": "westeurope",
            "base_url": self.arm.url,
            "ca_file": self.arm.write_ca(self.directory),
            **more,
        }
        async with open_containers(
            credential=self.credential,
            clock=FrozenClock(),
            observe=self.seen,
            **options,  # type: ignore[arg-type]  # whatever a test changes
        ) as containers:
            yield containers


@asynccontextmanager
async def opened(directory: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[Groups]:
    async with AsyncExitStack() as stack:
        identity = await stack.enter_async_context(IdentityDouble().serving())
        arm = await stack.enter_async_context(ArmDouble(identity).serving())
        for name, value in identity.environment.items():
            patch.setenv(name, value)
        seen = Seen()
        credential = await stack.enter_async_context(open_credential(kind="managed", observe=seen))
        groups = Groups(identity, arm, credential, None, seen, directory)  # type: ignore[arg-type]  # set below, by itself
        groups.containers = await stack.enter_async_context(groups.another())
        yield groups


def spec(name: str = "job-1", **more: object) -> GroupSpec:
    options: dict[str, object] = {"image": "registry.example/worker:1", "cpu": 1.0, "memory_gb": 1.5, **more}
    return GroupSpec(name=name, **options)  # type: ignore[arg-type]  # whatever a test changes
