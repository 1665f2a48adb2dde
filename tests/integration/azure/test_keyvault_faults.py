"""Key Vault when it refuses, is slow, is away, or is somebody else: the error that flows see, and the way back without a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from syncd.adapters.azure.identity import open_credential
from syncd.domain.errors import NotFound, ServerFault, SyncdError, Throttled, TimedOut, Unavailable
from syncd.domain.secrets import Secret
from tests.integration.azure.vaults import World
from tests.wire.keyvault import KeyVaultDouble
from tests.wire.keyvault.double import OFFICER

NAME = "0123456789abcdef0123456789abcdef"


async def test_throttling_reaches_the_caller_at_once_with_the_time_that_the_service_names(keyvault: World) -> None:
    await keyvault.vault.append(NAME, Secret("x"))
    keyvault.double.faults.answer(429, headers={"Retry-After": "7"})
    before = len(keyvault.double.faults.log)
    with pytest.raises(Throttled) as caught:
        await keyvault.vault.versions(NAME)
    assert caught.value.retry_after == 7.0
    assert len(keyvault.double.faults.log) == before + 1, "the SDK did not wait and ask again by itself"
    assert keyvault.seen.of("vault_call")[-1]["outcome"] == "throttled"
    assert await keyvault.vault.versions(NAME)


async def test_the_services_own_limit_is_survived_by_whoever_waits_as_told(keyvault: World) -> None:
    keyvault.double.limit = 6
    appended, waits = 0, 0
    while appended < 12:
        try:
            await keyvault.vault.append(NAME, Secret(str(appended)))
            appended += 1
        except Throttled as refused:
            keyvault.double.ahead += refused.retry_after or 0.0
            waits += 1
    assert 1 <= waits <= 4


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_fault_of_the_service_may_have_been_processed(keyvault: World, status: int) -> None:
    keyvault.double.faults.answer(status, method="PUT")
    await keyvault.vault.versions(NAME)
    with pytest.raises(ServerFault):
        await keyvault.vault.append(NAME, Secret("x"))
    assert await keyvault.vault.append(NAME, Secret("x"))


@pytest.mark.parametrize(
    ("right", "said"),
    [("get", "secrets/get"), ("list", "secrets/list"), ("set", "secrets/set")],
)
async def test_a_refusal_names_the_right_that_is_missing_and_ends_when_it_is_given(
    keyvault: World, right: str, said: str
) -> None:
    version = await keyvault.vault.append(NAME, Secret("x"))

    async def use() -> None:
        async with keyvault.another() as vault:
            await vault.versions(NAME)
            await vault.get(NAME, version)
            await vault.append(NAME, Secret("y"))

    keyvault.double.rights = OFFICER - {right}
    with pytest.raises(Unavailable, match=f"403.*Caller is not authorized.*The identity needs the right {said}"):
        await use()
    keyvault.double.rights = OFFICER
    await use()


async def test_a_firewall_is_told_from_a_missing_right(keyvault: World) -> None:
    keyvault.double.firewall = True
    with pytest.raises(Unavailable, match="firewall must admit") as caught:
        await keyvault.vault.versions(NAME)
    assert "identity needs" not in str(caught.value)


async def test_a_token_that_is_refused_in_mid_flight_is_replaced(keyvault: World) -> None:
    await keyvault.vault.append(NAME, Secret("x"))
    issued = keyvault.identity.issued
    keyvault.identity.revoke()
    with pytest.raises(Unavailable, match="401"):
        await keyvault.vault.versions(NAME)
    assert await keyvault.vault.versions(NAME)
    assert keyvault.identity.issued == issued + 1


async def test_a_clock_that_is_an_hour_behind_does_not_keep_ended_tokens(keyvault: World) -> None:
    """Here a token looks good for an hour more when the service says that it has ended."""
    keyvault.identity.lifetime = 3600.0
    await keyvault.vault.append(NAME, Secret("x"))
    keyvault.identity.ahead = 3601.0
    with pytest.raises(Unavailable, match="expired"):
        await keyvault.vault.versions(NAME)
    assert await keyvault.vault.versions(NAME)


async def test_no_token_is_said_as_that_and_the_vault_comes_back_with_the_endpoint(keyvault: World) -> None:
    keyvault.identity.faults.always(500)
    with pytest.raises(Unavailable, match=r"no token for .* from the identity 'managed'"):
        await keyvault.vault.versions(NAME)
    keyvault.identity.faults.clear()
    assert await keyvault.vault.append(NAME, Secret("x"))


async def test_one_broken_connection_is_not_noticed_and_two_are(keyvault: World) -> None:
    version = await keyvault.vault.append(NAME, Secret("x"))
    keyvault.double.faults.drop()
    assert await keyvault.vault.versions(NAME) == [version]
    keyvault.double.faults.always(0)
    with pytest.raises(ServerFault):
        await keyvault.vault.versions(NAME)
    keyvault.double.faults.clear()
    assert await keyvault.vault.versions(NAME) == [version]


async def test_an_append_whose_answer_is_lost_leaves_a_version_that_a_purge_takes(keyvault: World) -> None:
    await keyvault.vault.versions(NAME)
    keyvault.double.faults.drop(after=True, method="PUT")
    version = await keyvault.vault.append(NAME, Secret("x"))
    assert len(await keyvault.vault.versions(NAME)) == 2
    assert await keyvault.vault.purge(NAME, keep=version) == 1
    assert await keyvault.vault.versions(NAME) == [version]


async def test_a_service_that_says_nothing_is_given_up_in_time(keyvault: World) -> None:
    async with keyvault.another(timeout=0.2) as vault, keyvault.double.faults.silent():
        with pytest.raises(TimedOut, match="no answer in time"):
            await vault.versions(NAME)
    assert await keyvault.vault.versions(NAME) == []


async def test_a_start_during_an_outage_goes_on_and_recovers(keyvault: World) -> None:
    later = KeyVaultDouble(keyvault.identity)
    async with later.serving():
        url, port = later.url, int(later.url.rpartition(":")[2])
    async with keyvault.another(url=url, ca_file=later.write_ca(keyvault.directory)) as vault:
        with pytest.raises(Unavailable):
            await vault.versions(NAME)
        [missing] = await vault.check()
        assert url in missing
        async with later.serving(port):
            assert await vault.append(NAME, Secret("x"))
        with pytest.raises(Unavailable):
            await vault.versions(NAME)
        async with later.serving(port):
            assert await vault.versions(NAME), "its connections of before are dead, and that is not noticed"


async def test_a_certificate_that_is_not_to_be_trusted_is_refused_before_a_token_is_sent(
    keyvault: World, tmp_path: Path
) -> None:
    (tmp_path / "another").mkdir()
    wrong = KeyVaultDouble(keyvault.identity).write_ca(tmp_path / "another")
    issued = keyvault.identity.issued
    async with keyvault.another(ca_file=wrong) as vault:
        with pytest.raises(Unavailable, match=r"(?i)certificate"):
            await vault.versions(NAME)
    assert keyvault.double.faults.log == []
    assert keyvault.identity.issued == issued


async def test_a_name_that_does_not_resolve(keyvault: World) -> None:
    async with keyvault.another(url="https://kv-that-is-not.invalid") as vault:
        with pytest.raises(Unavailable, match=r"kv-that-is-not\.invalid"):
            await vault.versions(NAME)


async def test_a_vault_that_names_an_audience_of_somebody_else_gets_no_token(keyvault: World) -> None:
    issued = keyvault.identity.issued
    async with keyvault.another(verify_challenge=True) as vault:
        with pytest.raises(Unavailable, match="does not match the requested domain"):
            await vault.versions(NAME)
    assert keyvault.identity.issued == issued


async def test_every_call_is_observed_with_its_outcome(keyvault: World) -> None:
    version = await keyvault.vault.append(NAME, Secret("x"))
    async with keyvault.another() as other:
        await other.get(NAME, version)
        with pytest.raises(NotFound):
            await other.get(NAME, "0" * 32)
        keyvault.double.faults.always(503)
        with pytest.raises(SyncdError):
            await other.versions(NAME)
    told = [(facts["operation"], facts["outcome"]) for facts in keyvault.seen.of("vault_call")]
    assert told == [("set", "ok"), ("get", "ok"), ("get", "not_found"), ("list", "server_fault")]


async def test_no_value_is_in_any_error_or_observation(keyvault: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await keyvault.vault.versions(NAME)
    said: list[str] = []
    for status in (400, 403, 409, 429, 500):
        keyvault.double.faults.answer(status, method="PUT")
        with pytest.raises(SyncdError) as caught:
            await keyvault.vault.append(NAME, Secret("canary-value"))
        said.append(f"{caught.value!r} {caught.value.__cause__!r}")
    await keyvault.vault.append(NAME, Secret("canary-value"))
    assert "canary" not in f"{said} {keyvault.seen.events} {caplog.text}"


async def test_an_identity_that_nobody_has_is_said(keyvault: World) -> None:
    async with open_credential(kind="workload", observe=keyvault.seen) as nobody:
        keyvault.credential = nobody
        async with keyvault.another() as vault:
            with pytest.raises(Unavailable, match="AZURE_FEDERATED_TOKEN_FILE"):
                await asyncio.gather(vault.versions(NAME))
