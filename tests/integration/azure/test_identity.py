"""The shared credential against a managed identity endpoint, through azure-identity itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession
from azure.core.credentials_async import AsyncSupportsTokenInfo, AsyncTokenCredential
from azure.identity import CredentialUnavailableError

from syncd.adapters.azure.errors import mapped
from syncd.adapters.azure.identity import Credential, Kind, check_credential, open_credential
from syncd.domain.errors import Unavailable
from tests.wire.identity import IdentityDouble, Refused

SCOPE = "https://vault.azure.net/.default"


@pytest.fixture
async def identity(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[IdentityDouble]:
    async with IdentityDouble(client_ids=frozenset({"assigned"})).serving() as double:
        for name, value in double.environment.items():
            monkeypatch.setenv(name, value)
        yield double


class Seen:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def __call__(self, event: str, /, **facts: object) -> None:
        self.events.append((event, facts))


@asynccontextmanager
async def opened(kind: Kind = "managed", client_id: str | None = None) -> AsyncIterator[tuple[Credential, Seen]]:
    seen = Seen()
    async with open_credential(kind=kind, client_id=client_id, observe=seen) as credential:
        yield credential, seen


async def test_a_token_is_good_at_the_service_it_was_asked_for_and_nowhere_else(identity: IdentityDouble) -> None:
    async with opened() as (credential, seen):
        token = await credential.get_token(SCOPE)
    identity.check(f"Bearer {token.token}", "https://vault.azure.net")
    with pytest.raises(Refused, match="audience"):
        identity.check(f"Bearer {token.token}", "https://management.azure.com")
    [(event, facts)] = seen.events
    assert (event, facts["identity"], facts["outcome"]) == ("azure_token", "managed", "ok")


async def test_the_credential_is_what_the_sdks_ask_for(identity: IdentityDouble) -> None:
    async with opened() as (credential, _):
        assert isinstance(credential, AsyncSupportsTokenInfo)
        given: AsyncTokenCredential = credential
        assert (await given.get_token(SCOPE, enable_cae=True, tenant_id="t")).token


async def test_fifty_callers_at_once_ask_once_and_later_ones_not_at_all(identity: IdentityDouble) -> None:
    async with opened() as (credential, _):
        tokens = await asyncio.gather(*[credential.get_token_info(SCOPE) for _ in range(50)])
        assert len({token.token for token in tokens}) == 1
        await credential.get_token(SCOPE)
    assert identity.issued == 1
    assert len(identity.faults.log) == 1


async def test_a_client_that_closes_its_credential_does_not_take_it_from_the_others(identity: IdentityDouble) -> None:
    async with opened() as (credential, _):
        async with credential:
            await credential.get_token(SCOPE)
        await credential.get_token("https://storage.azure.com/.default")
    assert identity.issued == 2


async def test_a_token_that_has_ended_is_not_used_again(identity: IdentityDouble) -> None:
    identity.lifetime = 0.0
    async with opened() as (credential, _):
        first = await credential.get_token(SCOPE)
        second = await credential.get_token(SCOPE)
    assert first.token != second.token


async def test_a_token_that_a_service_refuses_is_forgotten_at_most_once_in_a_while(identity: IdentityDouble) -> None:
    async with opened() as (credential, _):
        first = await credential.get_token(SCOPE)
        identity.revoke()
        credential.forget()
        second = await credential.get_token(SCOPE)
        assert second.token != first.token
        identity.check(f"Bearer {second.token}", "https://vault.azure.net")
        credential.forget()
        assert await credential.get_token(SCOPE) == second
    assert identity.issued == 2


async def test_forgetting_while_tokens_are_being_asked_for_fails_none_of_them(identity: IdentityDouble) -> None:
    async with opened() as (credential, _), identity.faults.silent() as asked:
        waiting = asyncio.create_task(credential.get_token(SCOPE))
        await asked.wait()
        credential.forget()
        other = asyncio.create_task(credential.get_token(SCOPE))
        identity.faults.release()
        assert (await waiting).token
        assert (await other).token


@pytest.mark.parametrize(("client_id", "named"), [("assigned", None), (None, "assigned")])
async def test_one_of_several_identities_is_chosen_by_argument_or_by_variable(
    identity: IdentityDouble, monkeypatch: pytest.MonkeyPatch, client_id: str | None, named: str | None
) -> None:
    if named:
        monkeypatch.setenv("AZURE_CLIENT_ID", named)
    async with opened(client_id=client_id) as (credential, _):
        assert (await credential.get_token(SCOPE)).token


async def test_an_identity_that_is_not_assigned_is_said_with_what_is_needed(identity: IdentityDouble) -> None:
    async with opened(client_id="another") as (credential, seen):
        with pytest.raises(Unavailable, match=r"needs a managed identity assigned.*No User Assigned or Delegated"):
            await check_credential(credential)
    assert seen.events[0][1]["outcome"] == "failed"


async def test_a_wrong_header_is_refused(identity: IdentityDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    async with opened() as (credential, _):
        with pytest.raises(CredentialUnavailableError, match="401"):
            await credential.get_token(SCOPE)


@pytest.mark.parametrize("query", ["", "?api-version=2017-09-01&resource=x", "?api-version=2019-08-01"])
async def test_the_double_refuses_what_the_endpoint_refuses(identity: IdentityDouble, query: str) -> None:
    async with ClientSession() as session:
        address = identity.environment["IDENTITY_ENDPOINT"] + query
        header = {"X-IDENTITY-HEADER": identity.environment["IDENTITY_HEADER"]}
        async with session.get(address, headers=header) as answer:
            assert answer.status == 400


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_endpoint_that_fails_for_a_while_is_asked_again_and_then_given_up_quickly(
    identity: IdentityDouble, status: int
) -> None:
    async with opened() as (credential, _):
        identity.faults.answer(status)
        assert (await credential.get_token(SCOPE)).token
        credential.forget()
        identity.faults.always(status)
        with pytest.raises(CredentialUnavailableError, match="no token for"):
            await credential.get_token(SCOPE)
        assert len(identity.faults.log) <= 6
        identity.faults.clear()
        assert (await credential.get_token(SCOPE)).token


async def test_an_endpoint_that_is_not_there_yet_is_no_obstacle_to_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    double = IdentityDouble()
    async with double.serving():
        for name, value in double.environment.items():
            monkeypatch.setenv(name, value)
    port = int(double.environment["IDENTITY_ENDPOINT"].rpartition(":")[2].partition("/")[0])
    async with opened() as (credential, _):
        with pytest.raises(CredentialUnavailableError) as caught:
            await credential.get_token(SCOPE)
        assert isinstance(mapped(caught.value, what="x"), Unavailable)
        async with double.serving(port):
            assert (await credential.get_token(SCOPE)).token


async def test_an_endpoint_that_says_nothing_is_given_up_in_time_by_all_who_wait(identity: IdentityDouble) -> None:
    async with open_credential(kind="managed", observe=Seen(), timeout=0.3) as credential:
        async with identity.faults.silent():
            ended = await asyncio.gather(*[credential.get_token(SCOPE) for _ in range(5)], return_exceptions=True)
        assert {type(one) for one in ended} == {CredentialUnavailableError}
        assert "no answer in time" in str(ended[0])
    async with opened() as (patient, _):
        assert (await patient.get_token(SCOPE)).token


async def test_the_chain_finds_the_identity_too(identity: IdentityDouble) -> None:
    async with opened("default") as (credential, _):
        token = await credential.get_token(SCOPE)
    identity.check(f"Bearer {token.token}", "https://vault.azure.net")


async def test_the_variables_that_a_kind_needs_are_said(tmp_path: Path) -> None:
    for kind, said in (("workload", "AZURE_FEDERATED_TOKEN_FILE"), ("environment", "AZURE_CLIENT_SECRET")):
        async with opened(kind) as (credential, _):  # type: ignore[arg-type]  # a loop over literals
            with pytest.raises(Unavailable, match=said):
                await check_credential(credential)
