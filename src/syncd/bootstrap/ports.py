"""Opens the adapters that the settings chose, and closes them in reverse."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from syncd import __version__
from syncd.adapters.embedded.blobs import open_blobs
from syncd.adapters.embedded.engine import Engine
from syncd.adapters.embedded.keyring import Keyring
from syncd.adapters.embedded.limiter import EmbeddedLimiter
from syncd.adapters.embedded.store import open_store
from syncd.adapters.embedded.vault import EmbeddedVault
from syncd.adapters.http.caller import HttpCaller
from syncd.adapters.http.client import open_session
from syncd.adapters.http.ssrf import OutgoingPolicy
from syncd.ports.blobs import Blobs
from syncd.ports.caller import Caller
from syncd.ports.clock import Clock
from syncd.ports.documents import Documents
from syncd.ports.limiter import Limiter
from syncd.ports.observe import Observe
from syncd.ports.queue import Queue
from syncd.ports.vault import Vault
from syncd.runtime.claimcheck import ClaimCheckedQueue
from syncd.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    documents: Documents
    queue: Queue
    vault: Vault
    limiter: Limiter
    blobs: Blobs
    caller: Caller
    clock: Clock
    observe: Observe
    owner: str
    """`<replica>/<boot>`, in leases."""
    engine: Engine
    """The embedded store behind documents and queue."""


def replica_of(settings: Settings) -> str:
    return settings.daemon.replica or os.uname().nodename


@asynccontextmanager
async def open_ports(
    settings: Settings, *, clock: Clock, observe: Observe, boot: str, durable: bool = True
) -> AsyncIterator[Ports]:
    """Raises StoreUnusable. The data directory must be held by this process."""
    directory = settings.daemon.data_dir
    async with AsyncExitStack() as stack:
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
        blobs = await stack.enter_async_context(open_blobs(directory / "blobs"))
        backend = settings.backend
        keyring = Keyring(
            directory,
            secret_key=backend.secret_key,
            previous=[backend.previous_secret_key] if backend.previous_secret_key else [],
        )
        vault = EmbeddedVault(engine=store.engine, keyring=keyring, clock=clock)
        await vault.open()
        # The embedded default is one machine: loopback is where its other systems are.
        policy = OutgoingPolicy.of(settings.http.outgoing_allow, loopback=True)
        session = await stack.enter_async_context(open_session(policy=policy))
        yield Ports(
            documents=store.documents,
            queue=ClaimCheckedQueue(store.queue, blobs, inline_bytes=settings.queue.inline_bytes, clock=clock),
            vault=vault,
            limiter=EmbeddedLimiter(clock=clock),
            blobs=blobs,
            caller=HttpCaller(
                session=session, policy=policy, clock=clock, observe=observe, user_agent=f"syncd/{__version__}"
            ),
            clock=clock,
            observe=observe,
            owner=f"{replica_of(settings)}/{boot}",
            engine=store.engine,
        )
        await asyncio.sleep(0)  # answers that are on their way reach their callers before the adapters close
