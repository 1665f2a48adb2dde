"""The product's own client towards a double: real sockets, real limits, a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from syncd.adapters.embedded.limiter import EmbeddedLimiter
from syncd.adapters.http.api import HttpApis
from syncd.adapters.http.client import open_session
from syncd.adapters.http.limits import Limits
from syncd.adapters.http.ssrf import OutgoingPolicy
from syncd.domain.jsontypes import JsonObject
from syncd.domain.secrets import Secret
from syncd.ports.api import Account, Api
from syncd.ports.credentials import Usable
from syncd.ports.provider import Provider
from syncd.testing.clock import FrozenClock
from tests.doubles.contract import ProviderDouble

#: What connections to doubles authenticate with.
TOKEN = "a-token-of-the-double"


class _OneToken:
    """Implements the port `Credentials`."""

    async def usable(self, tenant_id: str, credential_id: str) -> Usable:
        return Usable(kind="bearer", secrets={"token": Secret(TOKEN)}, version="1")

    async def refused(self, tenant_id: str, credential_id: str, version: str) -> bool:
        return False


@asynccontextmanager
async def api_to(url: str, provider: Provider, settings: JsonObject, *, timeout: float = 10.0) -> AsyncIterator[Api]:
    """For `settings`, of a server at `url`. No limit is met: they are their own suite's."""
    clock, policy = FrozenClock(), OutgoingPolicy(loopback=True)
    account = Account(
        connection_id="conn-1",
        tenant_id="tenant-1",
        integration_id=provider.name,
        settings=settings,
        credential_id="credential-1",
    )
    async with open_session(policy=policy) as session:
        apis = HttpApis(
            session=session,
            policy=policy,
            credentials=_OneToken(),
            limits=Limits(tenant=10**6, integration=10**6),
            limiter=EmbeddedLimiter(clock=clock),
            clock=clock,
            observe=lambda event, **facts: None,
            user_agent="syncd-tests",
            timeout=timeout,
        )
        assert provider.records is not None
        yield apis.of(account, provider.records.base_url(settings) or url)


@asynccontextmanager
async def connected(provider: Provider, double: ProviderDouble) -> AsyncIterator[Api]:
    async with double.serving() as url, api_to(url, provider, double.settings()) as api:
        yield api
