"""Opens the adapters that the settings chose, and closes them in reverse."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from syncd import __version__
from syncd.adapters.http.api import HttpApis
from syncd.adapters.http.caller import HttpCaller
from syncd.adapters.http.client import open_session
from syncd.adapters.http.limits import Limits
from syncd.adapters.http.ssrf import OutgoingPolicy
from syncd.bootstrap.backend import Look, open_backend
from syncd.bootstrap.secrets import Learn, LearningVault
from syncd.bootstrap.spooling import open_spooling
from syncd.domain.adaptive import Adaptive
from syncd.domain.secrets import Secret
from syncd.flows.refresh import RefreshingCredentials
from syncd.flows.spooling import Spooling
from syncd.ports.api import Apis
from syncd.ports.blobs import Blobs
from syncd.ports.caller import Caller
from syncd.ports.clock import Clock
from syncd.ports.deadletters import DeadLetters
from syncd.ports.documents import Documents
from syncd.ports.limiter import Limiter
from syncd.ports.observe import Observe
from syncd.ports.provider import Providers
from syncd.ports.queue import Queue
from syncd.ports.vault import Vault
from syncd.runtime.claimcheck import ClaimCheckedQueue
from syncd.runtime.shaped import ShapedDocuments
from syncd.settings import Settings

USER_AGENT = f"syncd/{__version__}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    documents: Documents
    queue: Queue
    vault: Vault
    limiter: Limiter
    blobs: Blobs
    caller: Caller
    apis: Callable[[Settings, Providers], Apis]
    """The client of providers' APIs under the limits of a generation. What it has learnt (paces, tokens) outlives generations."""
    clock: Clock
    observe: Observe
    owner: str
    """`<replica>/<boot>`, in leases."""
    sole: bool
    """This process alone uses the documents, so that leases of an earlier boot are void."""
    skew: Callable[[], float] = lambda: 0.0
    """Seconds by which the clock is ahead of the documents', as far as they show it; below 0 behind."""
    looks: tuple[Look, ...]
    """How each part of the backend is, for the probes."""
    dead_letters: DeadLetters | None = None
    """The broker's own, where it has any."""
    spooling: Spooling | None = None
    """What keeps webhook events while the queue is away; None where it cannot be away."""


def replica_of(settings: Settings) -> str:
    return settings.daemon.replica or os.uname().nodename


def _forget(_secret: Secret | str) -> None:
    """Where nothing is logged."""


@asynccontextmanager
async def open_ports(
    settings: Settings,
    *,
    clock: Clock,
    observe: Observe,
    boot: str,
    learn: Learn = _forget,
    durable: bool = True,
) -> AsyncIterator[Ports]:
    """`learn` hears of every secret before anybody else has it. Raises StoreUnusable. The data directory must be held by this process."""
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(open_backend(settings, clock=clock, observe=observe, durable=durable))
        vault = LearningVault(backend.vault, learn=learn)
        # The embedded default is one machine: loopback is where its other systems are.
        policy = OutgoingPolicy.of(settings.http.outgoing_allow, loopback=backend.sole)
        session = await stack.enter_async_context(open_session(policy=policy))
        caller = HttpCaller(session=session, policy=policy, clock=clock, observe=observe, user_agent=USER_AGENT)
        owner = f"{replica_of(settings)}/{boot}"
        credentials = RefreshingCredentials(
            documents=backend.documents,
            vault=vault,
            caller=caller,
            clock=clock,
            observe=observe,
            owner=owner,
            refresh=settings.tokens.refresher != "off",
            ahead=settings.tokens.expiry_threshold,
        )
        stack.push_async_callback(credentials.close)
        adaptive = Adaptive()

        def apis(current: Settings, providers: Providers) -> Apis:
            given = current.limits
            return HttpApis(
                session=session,
                policy=policy,
                credentials=credentials,
                limits=Limits(
                    tenant=given.tenant,
                    tenants=given.tenants,
                    integration=given.integration,
                    integrations=given.integrations,
                    operations=given.operations,
                    declared={provider.name: provider.limits for provider in providers.values()},
                    by_system=frozenset(one.name for one in providers.values() if one.many_systems),
                ),
                limiter=backend.limiter,
                clock=clock,
                observe=observe,
                user_agent=USER_AGENT,
                timeout=current.http.outgoing_timeout,
                inline_wait=given.inline_wait,
                adaptive=adaptive,
            )

        queue = ClaimCheckedQueue(backend.queue, backend.blobs, inline_bytes=settings.queue.inline_bytes, clock=clock)
        spooling = await stack.enter_async_context(
            open_spooling(settings, queue=queue, blobs=backend.blobs, clock=clock, observe=observe, durable=durable)
        )
        yield Ports(
            documents=ShapedDocuments(backend.documents, write_flat=settings.entities.shape == "flat"),
            queue=queue,
            vault=vault,
            limiter=backend.limiter,
            blobs=backend.blobs,
            caller=caller,
            apis=apis,
            clock=clock,
            observe=observe,
            owner=owner,
            sole=backend.sole,
            skew=backend.skew,
            looks=backend.looks,
            dead_letters=backend.dead_letters,
            spooling=spooling,
        )
        await asyncio.sleep(0)  # answers that are on their way reach their callers before the adapters close
