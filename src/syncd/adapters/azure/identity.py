"""Who syncd is to Azure: one credential, named by configuration, shared by every client.

Tokens are cached by azure-identity until five minutes before they end. What is added here:

- one request at a time for a token, so that a start with fifty callers asks once;
- a token that a service refuses with 401 is forgotten: its cache believes the clock of this machine, and a clock that is wrong, or
  an identity that was made anew, would otherwise keep every replica out until the token ends by that clock;
- every way of failing says "no token" and which identity was asked, with an end: the SDK alone retries for minutes.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import AzureError
from azure.identity import CredentialUnavailableError
from azure.identity import aio as entra

from syncd.adapters.azure.errors import mapped
from syncd.ports.observe import Observe

Kind = Literal["default", "managed", "workload", "environment", "cli"]

#: What each kind needs, told where it gives no token.
NEEDS: dict[Kind, str] = {
    "default": "an identity that azure-identity's chain finds; name the kind, so that it does not have to search",
    "managed": "a managed identity assigned to this machine or container (AZURE_CLIENT_ID where it has several)",
    "workload": "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE, as the workload identity webhook sets them",
    "environment": "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH",
    "cli": "somebody logged in: az login",
}
#: Seconds for one token, all attempts; managed identity endpoints answer in milliseconds, Entra ID in one second.
TOKEN_TIMEOUT = 20.0
#: Seconds in which a refused token is forgotten once, so that a service that refuses everything does not make us ask all the time.
FORGET_EVERY = 5.0
_QUICK: dict[str, Any] = {  # keywords of each class of azure-identity, whose types differ
    "retry_total": 2,
    "retry_backoff_factor": 0.2,
    "retry_backoff_max": 2,
    "connection_timeout": 5,
    "read_timeout": 10,
}


class Source(Protocol):
    """A credential of azure-identity, as far as it is used."""

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo: ...

    async def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class _Living:
    """One credential of azure-identity, with its cache. Closed when it is retired and nobody uses it."""

    source: Source
    one: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    retired: bool = False


class Credential:
    """What the clients of Azure's SDKs take as their credential (AsyncTokenCredential and AsyncSupportsTokenInfo). Of the event loop
    that uses it first, and of no other."""

    def __init__(self, *, kind: Kind, make: Callable[[], Source], observe: Observe, timeout: float) -> None:
        self.kind = kind
        self._timeout = timeout
        self._make = make
        self._observe = observe
        self._living: _Living | None = None
        self._forgotten = float("-inf")
        self._closing: set[asyncio.Task[None]] = set()

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """Raises CredentialUnavailableError, which the SDKs pass on without retrying, and `errors.mapped` makes Unavailable."""
        began = time.monotonic()
        outcome = "failed"
        try:
            async with self._used() as living, asyncio.timeout(self._timeout), living.one:
                token = await living.source.get_token_info(*scopes, options=options)
            outcome = "ok"
            return token
        except (AzureError, OSError, ValueError) as error:  # a timeout is an OSError, a missing variable a ValueError
            what = f"no token for {' '.join(scopes)} from the identity {self.kind!r}, which needs {NEEDS[self.kind]}"
            raise CredentialUnavailableError(message=str(mapped(error, what=what))) from error
        finally:
            self._observe("azure_token", identity=self.kind, outcome=outcome, duration=time.monotonic() - began)

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **_: Any,  # whatever a later SDK asks for; none of today's does
    ) -> AccessToken:
        options: TokenRequestOptions = {"enable_cae": enable_cae}
        if claims:
            options["claims"] = claims
        if tenant_id:
            options["tenant_id"] = tenant_id
        token = await self.get_token_info(*scopes, options=options)
        return AccessToken(token.token, token.expires_on)

    def forget(self) -> None:
        """A service refused a token: ask for new ones. At most once in a few seconds."""
        now = time.monotonic()
        if now - self._forgotten < FORGET_EVERY:
            return
        self._forgotten = now
        living, self._living = self._living, None
        if living is not None:
            living.retired = True
            if not living.users:
                closing = asyncio.ensure_future(living.source.close())
                self._closing.add(closing)  # the loop itself holds tasks weakly
                closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """By whoever opened it, and last: the clients of all services use its connections."""
        living, self._living = self._living, None
        if living is not None:
            await living.source.close()
        await asyncio.gather(*self._closing)

    async def __aenter__(self) -> Credential:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing: a client that is closed must not take the others' credential with it (azure-sdk-for-python#32309)."""

    @asynccontextmanager
    async def _used(self) -> AsyncIterator[_Living]:
        if self._living is None:
            self._living = _Living(self._make())
        living = self._living
        living.users += 1
        try:
            yield living
        finally:
            living.users -= 1
            if living.retired and not living.users:
                await living.source.close()


@asynccontextmanager
async def open_credential(
    *, kind: Kind, observe: Observe, client_id: str | None = None, timeout: float = TOKEN_TIMEOUT
) -> AsyncIterator[Credential]:
    """No token is asked for yet, so that a start during an outage goes on. `client_id` picks one of several managed identities;
    left out, AZURE_CLIENT_ID does, where it is set. `timeout`: seconds for one token, all attempts."""

    def make() -> Source:
        if kind == "managed":
            # Unlike the chain, it does not read the variable itself.
            return entra.ManagedIdentityCredential(client_id=client_id or os.environ.get("AZURE_CLIENT_ID"), **_QUICK)
        if kind == "workload":
            return entra.WorkloadIdentityCredential(client_id=client_id, **_QUICK)
        if kind == "environment":
            return entra.EnvironmentCredential(**_QUICK)
        if kind == "cli":
            return entra.AzureCliCredential(process_timeout=10)
        return entra.DefaultAzureCredential(managed_identity_client_id=client_id, process_timeout=10, **_QUICK)

    credential = Credential(kind=kind, make=make, observe=observe, timeout=timeout)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(credential.close)
        yield credential


async def check_credential(credential: Credential, scope: str = "https://management.azure.com/.default") -> None:
    """For `syncd check`: raises Unavailable with what the identity needs."""
    try:
        await credential.get_token_info(scope)
    except CredentialUnavailableError as error:
        raise mapped(error, what="identity") from error
