"""Credentials over a real store and vault, and a token endpoint that rotates its refresh tokens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from syncd.domain.collections import CREDENTIALS
from syncd.domain.errors import SyncdError
from syncd.domain.jsontypes import JsonObject
from syncd.domain.times import iso
from syncd.flows.operate.credentials import CredentialStore
from syncd.flows.refresh import RefreshingCredentials
from syncd.ports.caller import Answer, Call, Caller
from syncd.ports.documents import Documents, Replace
from syncd.ports.vault import Vault
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import CrashAt
from tests.integration.backends import Backend, Embedded
from tests.integration.webhooks import Seen

TENANT = "tenant"


class Endpoint:
    """Implements `Caller`. Each refresh token is good for one refresh; with `forgiving`, the one before the newest as well, as at
    providers with a reuse window."""

    def __init__(self, *, forgiving: bool = False, lifetime: int = 3600) -> None:
        self.forgiving = forgiving
        self.lifetime = lifetime
        self.issued = 1
        self.calls = 0
        self.forms: list[dict[str, list[str]]] = []
        self.script: list[Answer | SyncdError] = []
        self.hold: asyncio.Event | None = None
        self.entered = asyncio.Event()

    async def call(self, call: Call) -> Answer:
        self.calls += 1
        self.entered.set()
        assert call.secret_body is not None
        assert "refresh" not in repr(call)
        form = parse_qs(call.secret_body.reveal())
        self.forms.append(form)
        if self.hold is not None:
            await self.hold.wait()
        if self.script:
            said = self.script.pop(0)
            if isinstance(said, SyncdError):
                raise said
            return said
        good = {f"r{self.issued}"} | ({f"r{self.issued - 1}"} if self.forgiving else set())
        if form["refresh_token"][0] not in good:
            return answer(400, {"error": "invalid_grant"})
        self.issued += 1
        token = {"access_token": f"a{self.issued}", "refresh_token": f"r{self.issued}", "expires_in": self.lifetime}
        return answer(200, token)


def answer(status: int, body: Any, **headers: str) -> Answer:
    return Answer(status=status, headers=headers, body=json.dumps(body).encode(), duration=0.0)


@dataclass
class World:
    documents: Documents
    vault: Vault
    caller: Caller
    clock: FrozenClock
    seen: Seen = field(default_factory=Seen)

    def process(self, owner: str = "replica/one", **options: Any) -> RefreshingCredentials:
        return RefreshingCredentials(
            documents=self.documents,
            vault=self.vault,
            caller=self.caller,
            clock=self.clock,
            observe=self.seen,
            owner=owner,
            **options,
        )

    async def add(self, *, ends_in: float | None = 30, **fields: str) -> str:
        """An OAuth credential whose token ends in so many seconds."""
        credential = {
            "kind": "oauth2",
            "accessToken": "a1",
            "refreshToken": "r1",
            "tokenUrl": "https://auth.example/token",
            "clientId": "client",
            "clientSecret": "shh",
            **({} if ends_in is None else {"expiresAt": iso(self.clock.now() + ends_in)}),
            **fields,
        }
        return await self.put({name: value for name, value in credential.items() if value})

    async def put(self, credential: dict[str, str]) -> str:
        store = CredentialStore(documents=self.documents, vault=self.vault, clock=self.clock)
        return await store.put(TENANT, "conn", credential)

    async def document(self, identifier: str) -> JsonObject:
        found = await self.documents.get(CREDENTIALS, TENANT, identifier)
        assert found is not None
        return found.data

    async def edit(self, identifier: str, **fields: Any) -> None:
        found = await self.documents.get(CREDENTIALS, TENANT, identifier)
        assert found is not None
        await self.documents.write(CREDENTIALS, TENANT, [Replace(identifier, {**found.data, **fields}, found.etag)])


async def shown(credentials: RefreshingCredentials, identifier: str) -> str:
    """The access token that a call would send."""
    return (await credentials.usable(TENANT, identifier)).secrets["accessToken"].reveal()


@asynccontextmanager
async def opened(
    directory: Path,
    clock: FrozenClock,
    endpoint: Caller,
    crash: CrashAt | None = None,
    *,
    backend: Backend | None = None,
) -> AsyncIterator[World]:
    """A world on what is kept in `directory`, by the embedded backend unless another is given."""
    crash = crash or CrashAt()
    async with (backend or Embedded()).opened(directory, clock, crash) as kept:
        yield World(documents=kept.documents, vault=kept.vault, caller=crash.wrap("caller", endpoint), clock=clock)
