"""An account at a provider that the test scripts, over real sockets."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from syncd.adapters.embedded.limiter import EmbeddedLimiter
from syncd.adapters.http.api import HttpApis
from syncd.adapters.http.limits import Limits
from syncd.adapters.http.ssrf import OutgoingPolicy
from syncd.domain.errors import (
    SyncdError,
)
from syncd.domain.secrets import Secret
from syncd.ports.api import Account, Api, Apis
from syncd.ports.credentials import CredentialKind, Usable
from syncd.testing.clock import FrozenClock
from tests.integration.outgoing import Handler, World
from tests.integration.webhooks import Seen

KEY = "s3cr3t/key+with=signs"


class Keys:
    """Credentials in memory: version n shows token n, and a refused one has a successor while there are any left."""

    def __init__(self, kind: CredentialKind = "bearer", *, successors: int = 0, **secrets: str) -> None:
        self.kind = kind
        self.secrets = secrets or {"token": KEY}
        self.version = 1
        self.successors = successors
        self.refusals: list[str] = []

    async def usable(self, tenant_id: str, credential_id: str) -> Usable:
        assert (tenant_id, credential_id) == ("t1", "cred")
        secrets = {name: Secret(value) for name, value in self.secrets.items()}
        if self.version > 1:
            secrets["token"] = Secret(f"token-{self.version}")
        return Usable(kind=self.kind, secrets=secrets, version=str(self.version))

    async def refused(self, tenant_id: str, credential_id: str, version: str) -> bool:
        self.refusals.append(version)
        if not self.successors:
            return False
        self.successors -= 1
        self.version += 1
        return True


class Providers(World):
    """Servers, and the API of an account at one of them."""

    def __init__(self, stack: AsyncExitStack) -> None:
        super().__init__(stack)
        self.clock = FrozenClock()
        self.limiter = EmbeddedLimiter(clock=self.clock)
        self.seen = Seen()
        self.requests: list[web.Request] = []

    async def api(
        self,
        handler: Handler | web.StreamResponse | int,
        *,
        base: str = "/v1",
        keys: Keys | None = None,
        reservation: str | None = None,
        **options: Any,
    ) -> Api:
        return await self.at(await self.serve(self._handler(handler)), base, keys, reservation, **options)

    async def at(
        self, port: int, base: str = "/v1", keys: Keys | None = None, reservation: str | None = None, **options: Any
    ) -> Api:
        apis = await self.apis(**{"credentials": keys or Keys(), **options})
        account = Account(
            connection_id="c1",
            tenant_id="t1",
            integration_id="crm",
            settings={},
            credential_id=None if keys is None else "cred",
        )
        return apis.of(account, f"http://127.0.0.1:{port}{base}", reservation=reservation)

    async def apis(self, policy: OutgoingPolicy | None = None, **options: Any) -> Apis:
        policy = policy or OutgoingPolicy.of(loopback=True)
        return HttpApis(
            **{
                "session": await self.session(policy),
                "policy": policy,
                "credentials": Keys(),
                "limits": Limits(),
                "limiter": self.limiter,
                "clock": self.clock,
                "observe": self.seen,
                "user_agent": "syncd/test",
                **options,
            }
        )

    def _handler(self, answer: Handler | web.StreamResponse | int) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            await request.read()
            self.requests.append(request)
            if isinstance(answer, int):
                return web.Response(status=answer)
            if isinstance(answer, web.Response):
                headers = {name: value for name, value in answer.headers.items() if name != "Content-Length"}
                return web.Response(status=answer.status, body=answer.body, headers=headers)
            assert callable(answer)
            return await answer(request)

        return handle


async def failed(api: Api, method: str = "GET", path: str = "/items", operation: Any = "fetch") -> SyncdError:
    with pytest.raises(SyncdError) as caught:
        await api.request(method, path, operation=operation)
    return caught.value
