"""Opens what stands behind each port: the embedded store, services of Azure, Redis, each where the settings say so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

from syncd.adapters.embedded.blobs import open_blobs
from syncd.adapters.embedded.engine import Engine
from syncd.adapters.embedded.keyring import Keyring
from syncd.adapters.embedded.limiter import EmbeddedLimiter
from syncd.adapters.embedded.store import Store, open_store
from syncd.adapters.embedded.vault import EmbeddedVault
from syncd.domain.errors import SyncdError
from syncd.ports.blobs import Blobs
from syncd.ports.clock import Clock
from syncd.ports.control import Component
from syncd.ports.deadletters import DeadLetters
from syncd.ports.documents import Documents
from syncd.ports.limiter import Limiter
from syncd.ports.observe import Observe
from syncd.ports.queue import Queue
from syncd.ports.vault import Vault
from syncd.runtime.parthealth import PartHealth
from syncd.settings import Settings

if TYPE_CHECKING:
    from syncd.bootstrap.services import Services

Look = Callable[[], Component]
Port = TypeVar("Port")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    documents: Documents
    queue: Queue
    dead_letters: DeadLetters | None
    """Those of the queue, where it has its own."""
    vault: Vault
    limiter: Limiter
    blobs: Blobs
    sole: bool
    """This process alone uses the documents, so that leases of an earlier boot are void."""
    skew: Callable[[], float]
    """Seconds by which the clock is ahead of the documents', as far as they show it; below 0 behind."""
    looks: tuple[Look, ...]
    """How each part is, for the probes."""


@asynccontextmanager
async def open_backend(
    settings: Settings, *, clock: Clock, observe: Observe, durable: bool = True
) -> AsyncIterator[Backend]:
    """Raises StoreUnusable. A service that cannot be reached does not: its part is degraded until it can."""
    backend, directory = settings.backend, settings.daemon.data_dir
    looks: list[Look] = []

    def watched(name: str, port: Port) -> Port:
        part = PartHealth(name, clock)
        looks.append(part.look)
        return part.watch(port)

    async def redis_limiter() -> Limiter:
        limiter = await _of(services).limiter()
        looks.append(limiter.health)  # cut off from Redis it answers all the same, from its share
        return limiter

    async with AsyncExitStack() as stack:
        store: Store | None = None
        services: Services | None = None
        if "embedded" in (backend.documents, backend.queue, backend.vault):
            store = await stack.enter_async_context(
                open_store(
                    directory,
                    clock=clock,
                    observe=observe,
                    durable=durable,
                    inbox_operations=settings.queue.inbox_operations,
                    inbox_bytes=settings.queue.inbox_bytes,
                )
            )
            looks.append(partial(_store, store.engine))
        if {backend.documents, backend.queue, backend.vault, backend.limiter, backend.blobs} != {"embedded"}:
            from syncd.bootstrap.services import open_services  # here: what it imports is not needed without services

            services = await stack.enter_async_context(open_services(settings, clock=clock, observe=observe))
        cosmos = None if backend.documents == "embedded" else await _of(services).documents()
        broker = None if backend.queue == "embedded" else watched("queue", await _of(services).queue())
        yield Backend(
            documents=_of(store).documents if cosmos is None else watched("documents", cosmos),
            queue=broker or _of(store).queue,
            dead_letters=broker,
            vault=await _embedded_vault(settings, _of(store).engine, clock)
            if backend.vault == "embedded"
            else watched("vault", await _of(services).vault()),
            limiter=EmbeddedLimiter(clock=clock) if backend.limiter == "embedded" else await redis_limiter(),
            blobs=await stack.enter_async_context(open_blobs(directory / "blobs"))
            if backend.blobs == "embedded"
            else watched("blobs", await _of(services).blobs()),
            sole=backend.documents == "embedded",
            skew=lambda: 0.0 if cosmos is None else cosmos.skew,
            looks=tuple(looks),
        )


def _of(opened: Port | None) -> Port:
    """What the settings said is needed has been opened."""
    assert opened is not None
    return opened


async def _embedded_vault(settings: Settings, engine: Engine, clock: Clock) -> Vault:
    given = settings.backend
    previous = [given.previous_secret_key] if given.previous_secret_key else []
    keyring = Keyring(settings.daemon.data_dir, secret_key=given.secret_key, previous=previous)
    vault = EmbeddedVault(engine=engine, keyring=keyring, clock=clock)
    await vault.open()
    return vault


def _store(engine: Engine) -> Component:
    fault = engine.fault
    if fault is None:
        return Component("store", "ok")
    status: Literal["degraded", "failed"] = (
        "degraded" if isinstance(fault, SyncdError) and fault.retry != "never" else "failed"
    )
    return Component("store", status, str(fault))
