"""Cosmos DB over TLS, asked with the shared identity in place of the account's key."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator

import pytest
import trustme
from azure.core.credentials import AccessTokenInfo

from syncd.adapters.azure.cosmos import Options, check_cosmos, open_cosmos
from syncd.adapters.azure.identity import Credential
from syncd.domain.collections import ENTITIES
from syncd.domain.errors import Unavailable
from syncd.ports.documents import Create
from syncd.ports.observe import ignore
from syncd.testing.clock import FrozenClock
from tests.wire.cosmos import KEY, CosmosDouble

OPTIONS = Options(enable_endpoint_discovery=False)


class Tokens:
    """A source of tokens; each is another one."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def get_token_info(self, *scopes: str, **_: object) -> AccessTokenInfo:
        self.asked.append(scopes[0])
        return AccessTokenInfo(f"token-{len(self.asked)}", int(time.time()) + 3600)

    async def close(self) -> None:
        pass


def certificate(host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(host).configure_cert(context)
    return context


@pytest.fixture
async def service(clock: FrozenClock) -> AsyncIterator[CosmosDouble]:
    double = CosmosDouble(clock=clock)
    await double.start(ssl=certificate("127.0.0.1"))
    yield double
    await double.stop()


async def test_an_identity_is_enough_and_its_token_names_the_account(service: CosmosDouble, clock: FrozenClock) -> None:
    tokens = Tokens()
    credential = Credential(kind="managed", make=lambda: tokens, observe=ignore, timeout=5.0)
    service.tokens = {"token-1", "token-2"}
    place = {"endpoint": service.endpoint, "database": "syncd", "clock": clock, "options": OPTIONS}
    assert await check_cosmos(**place, credential=credential, create=True) == []
    async with open_cosmos(**place, credential=credential) as documents:
        await documents.write(ENTITIES, "t:x", [Create("a", {"n": 1})])
    assert tokens.asked == ["https://127.0.0.1/.default"] * 2


async def test_a_token_that_is_refused_is_forgotten_and_the_next_one_is_taken(
    service: CosmosDouble, clock: FrozenClock
) -> None:
    tokens = Tokens()
    credential = Credential(kind="managed", make=lambda: tokens, observe=ignore, timeout=5.0)
    service.tokens = {"token-1", "token-2"}
    place = {"endpoint": service.endpoint, "database": "syncd", "clock": clock, "options": OPTIONS}
    assert await check_cosmos(**place, credential=KEY, create=True) == []
    async with open_cosmos(**place, credential=credential) as documents:
        await documents.write(ENTITIES, "t:x", [Create("a", {"n": 1})])
        service.tokens = {"token-2"}
        with pytest.raises(Unavailable, match=r"401.*Built-in Data Contributor"):
            await documents.get(ENTITIES, "t:x", "a")
        assert await documents.get(ENTITIES, "t:x", "a") is not None


async def test_a_certificate_that_nobody_trusts_is_refused_and_told(clock: FrozenClock) -> None:
    double = CosmosDouble(clock=clock)
    await double.start(host="127.0.0.2", ssl=certificate("127.0.0.2"))  # the SDK verifies nothing on 127.0.0.1
    try:
        place = {"endpoint": double.endpoint, "database": "syncd", "clock": clock, "options": OPTIONS}
        async with open_cosmos(**place, credential=KEY) as documents:
            with pytest.raises(Unavailable, match="certificate"):
                await documents.get(ENTITIES, "t:x", "a")
    finally:
        await double.stop()
    assert not double.calls
