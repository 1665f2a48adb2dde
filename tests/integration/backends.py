"""Where the flows' worlds keep what they keep: the embedded store, or the services of Azure, each as a double on its wire.

A directory stands for one place of state. Whoever opens it again finds what was kept, as a process does that starts again; the
doubles of a directory go by the clock of the world that opened it first.
"""

from __future__ import annotations

import asyncio
import copy
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from syncd.adapters.azure.blob import open_blob_storage
from syncd.adapters.azure.cosmos import Options, check_cosmos, open_cosmos
from syncd.adapters.azure.identity import open_credential
from syncd.adapters.azure.keyvault import open_key_vault
from syncd.adapters.azure.servicebus.connection import Patience
from syncd.adapters.azure.servicebus.opening import open_service_bus
from syncd.adapters.embedded.blobs import open_blobs
from syncd.adapters.embedded.keyring import Keyring
from syncd.adapters.embedded.store import open_store
from syncd.adapters.embedded.vault import EmbeddedVault
from syncd.domain.errors import Unavailable
from syncd.domain.secrets import Secret
from syncd.ports.blobs import Blobs
from syncd.ports.documents import Documents
from syncd.ports.observe import ignore
from syncd.ports.queue import Delivery, Queue
from syncd.ports.vault import Vault
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import CrashAt, When, at_every_call
from tests.integration.crash_points import CRASH_POINTS
from tests.wire.azurite import Azurite
from tests.wire.cosmos import KEY, CosmosDouble
from tests.wire.identity import IdentityDouble
from tests.wire.keyvault import KeyVaultDouble
from tests.wire.servicebus import QueueSpec, ServiceBusDouble, service_bus

QUEUES = ("sync-inbound", "sync-outbound", "pushes")
#: Worlds move their clock on by more than this when one has died. Seconds.
LOCK = 60.0
PATIENCE = Patience(quick=0.15, quick_gap=0.05)
OPTIONS = Options(enable_endpoint_discovery=False)

Scenario = Callable[[CrashAt], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Each port call of it is counted by the world's CrashAt."""

    documents: Documents
    queue: Queue
    blobs: Blobs
    vault: Vault


class Backend(Protocol):
    def opened(
        self,
        directory: Path,
        clock: FrozenClock,
        crash: CrashAt,
        *,
        line: Callable[[Queue], Queue] = ...,
        dedupes: bool = True,
    ) -> AbstractAsyncContextManager[Kept]:
        """`line`: what stands between the world and its queue. `dedupes`: whether the broker knows what it had already, where that
        is a setting of the broker."""
        ...

    async def copy(self, source: Path, target: Path, clock: FrozenClock, *, dedupes: bool = True) -> None:
        """All that is kept in one directory, in another as well; `dedupes` as in `opened`."""
        ...

    async def at_port_calls(self, scenario: Scenario, *, more_than: int) -> bool:
        """End the scenario's world at its port calls, which have more sides (before, after) than that; whether each call was tried."""
        ...


def direct(queue: Queue) -> Queue:
    return queue


async def lease(queue: Queue, name: str, count: int) -> list[Delivery]:
    """For a minute, as a worker leases: what cannot be had now is asked for again. A message that was under way while a world's
    clock jumped makes Service Bus's clock look wrong once."""
    try:
        return await queue.lease(name, count, duration=60.0)
    except Unavailable:
        return []


class Embedded:
    @asynccontextmanager
    async def opened(
        self,
        directory: Path,
        clock: FrozenClock,
        crash: CrashAt,
        *,
        line: Callable[[Queue], Queue] = direct,
        dedupes: bool = True,
    ) -> AsyncIterator[Kept]:
        async with (
            open_store(directory, clock=clock, durable=False) as store,
            open_blobs(directory / "blobs") as blobs,
        ):
            vault = EmbeddedVault(engine=store.engine, keyring=Keyring(directory), clock=clock)
            await vault.open()
            yield Kept(
                documents=crash.wrap("documents", store.documents),
                queue=crash.wrap("queue", line(store.queue)),
                blobs=crash.wrap("blobs", blobs),
                vault=crash.wrap("vault", vault),
            )

    async def copy(self, source: Path, target: Path, clock: FrozenClock, *, dedupes: bool = True) -> None:
        await asyncio.to_thread(shutil.copytree, source, target)

    async def at_port_calls(self, scenario: Scenario, *, more_than: int) -> bool:
        sides: tuple[When, ...] = ("before", "after") if CRASH_POINTS == "all" else ("after",)
        assert await at_every_call(scenario, sides=sides) > more_than * len(sides) / 2
        return True


class _Beside:
    """The time of a world for a service that is no part of it."""

    def __init__(self, clock: FrozenClock) -> None:
        self._clock = clock

    def now(self) -> float:
        return self._clock.now()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds, beside=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Services:
    cosmos: CosmosDouble
    bus: ServiceBusDouble
    container: str
    """Its blobs are here; in the vault its names begin so."""


class _Named:
    """A vault in which names begin with a prefix."""

    def __init__(self, vault: Vault, prefix: str) -> None:
        self._vault = vault
        self._prefix = prefix

    async def append(self, name: str, value: Secret) -> str:
        return await self._vault.append(self._prefix + name, value)

    async def get(self, name: str, version: str) -> Secret:
        return await self._vault.get(self._prefix + name, version)

    async def versions(self, name: str) -> list[str]:
        return await self._vault.versions(self._prefix + name)

    async def purge(self, name: str, *, keep: str | None = None) -> int:
        return await self._vault.purge(self._prefix + name, keep=keep)

    async def rotate_key(self) -> int:
        return await self._vault.rotate_key()


class Azure:
    """Made by `azure`. Key Vault and the storage account are one for all directories; what is in them is told apart by name."""

    def __init__(self, azurite: Azurite, vault: Vault, double: KeyVaultDouble) -> None:
        self._azurite = azurite
        self._vault = vault
        self._double = double
        self._services: dict[Path, tuple[_Services, AsyncExitStack]] = {}

    @asynccontextmanager
    async def opened(
        self,
        directory: Path,
        clock: FrozenClock,
        crash: CrashAt,
        *,
        line: Callable[[Queue], Queue] = direct,
        dedupes: bool = True,
    ) -> AsyncIterator[Kept]:
        services = await self._of(directory, clock, dedupes=dedupes)
        async with (
            open_cosmos(
                endpoint=services.cosmos.endpoint, credential=KEY, database="syncd", clock=clock, options=OPTIONS
            ) as documents,
            self._blobs(services, clock) as blobs,
            open_service_bus(
                connection_string=services.bus.connection_string,
                queues=QUEUES,
                lanes=False,
                clock=clock,
                patience=PATIENCE,
            ) as queue,
        ):
            try:
                yield Kept(
                    documents=crash.wrap("documents", documents),
                    queue=crash.wrap("queue", line(queue)),
                    blobs=crash.wrap("blobs", blobs),
                    vault=crash.wrap("vault", _Named(self._vault, services.container)),
                )
            finally:
                if crash.dead:
                    services.bus.drop_connections()  # the network of a dead process is gone: it gives nothing back

    async def copy(self, source: Path, target: Path, clock: FrozenClock, *, dedupes: bool = True) -> None:
        staged, _ = self._services[source]
        assert not any(len(staged.bus.queue(name)) for name in QUEUES), "messages are not copied"
        copied = await self._of(target, clock, dedupes=dedupes)
        await asyncio.to_thread(shutil.copytree, source, target)
        copied.cosmos.store.databases = copy.deepcopy(staged.cosmos.store.databases)
        self._double.store.copy(staged.container, copied.container)
        async with self._blobs(staged, clock) as theirs, self._blobs(copied, clock) as ours:
            async for blob in theirs.list():
                await ours.put(blob.name, await theirs.get(blob.name))

    def _blobs(self, services: _Services, clock: FrozenClock) -> AbstractAsyncContextManager[Blobs]:
        return open_blob_storage(
            connection_string=Secret(self._azurite.connection_string),
            container=services.container,
            clock=clock,
            observe=ignore,
        )

    def bury(self, directory: Path, queue: str, *reasons: str) -> None:
        """The broker puts the messages of a queue aside, oldest first, each for its reason."""
        entity = self._services[directory][0].bus.namespace.source(queue)
        for stored, reason in zip([entity.stored[number] for number in sorted(entity.stored)], reasons, strict=True):
            entity.bury(stored, reason, "said")

    def buried(self, directory: Path, queue: str) -> int:
        return len(self._services[directory][0].bus.queue(queue).dead_letters)

    async def at_port_calls(self, scenario: Scenario, *, more_than: int) -> bool:
        before = set(self._services)

        async def tidied(crash: CrashAt) -> None:
            try:
                await scenario(crash)
            finally:
                await self.close(*(self._services.keys() - before))

        if CRASH_POINTS == "all":
            assert await at_every_call(tidied) > more_than
            return True
        whole = CrashAt()
        await tidied(whole)
        points = _spread(whole.calls, int(CRASH_POINTS))
        print(f"sampled on azure, CRASH_POINTS=all takes every one: {points} of {whole.calls} port calls")
        assert 2 * whole.calls > more_than
        for number, n in enumerate(points):
            crash = CrashAt(n, "after" if number % 2 else "before")
            await tidied(crash)
        return False

    async def close(self, *directories: Path) -> None:
        for directory in directories:
            _, stack = self._services.pop(directory)
            await stack.aclose()

    async def close_all(self) -> None:
        await self.close(*list(self._services))

    async def _of(self, directory: Path, clock: FrozenClock, *, dedupes: bool = True) -> _Services:
        if directory not in self._services:
            stack = AsyncExitStack()
            cosmos = await stack.enter_async_context(CosmosDouble(clock=clock))
            place = {"endpoint": cosmos.endpoint, "credential": KEY, "database": "syncd", "clock": clock}
            assert await check_cosmos(**place, options=OPTIONS, create=True) == []
            window = 600.0 if dedupes else None
            specs = [QueueSpec(name=name, lock_duration=LOCK, duplicate_detection=window) for name in QUEUES]
            bus = await stack.enter_async_context(service_bus(queues=specs, clock=_Beside(clock)))
            services = _Services(cosmos=cosmos, bus=bus, container=f"c{uuid4().hex}")
            self._services[directory] = services, stack
        return self._services[directory][0]


def _spread(calls: int, points: int) -> list[int]:
    """So many of 1 to `calls`, each from the middle of its share."""
    return sorted({1 + int((number + 0.5) * calls / points) for number in range(points)})


@asynccontextmanager
async def azure(azurite: Azurite, directory: Path, environ: Callable[[str, str], None]) -> AsyncIterator[Azure]:
    async with IdentityDouble().serving() as identity, KeyVaultDouble(identity).serving() as double:
        for name, value in identity.environment.items():
            environ(name, value)
        async with (
            open_credential(kind="managed", observe=ignore) as credential,
            open_key_vault(
                url=double.url,
                credential=credential,
                clock=FrozenClock(),
                observe=ignore,
                ca_file=double.write_ca(directory),
                verify_challenge=False,
                cache_seconds=0.0,
            ) as vault,
        ):
            made = Azure(azurite, vault, double)
            try:
                yield made
            finally:
                await made.close_all()
