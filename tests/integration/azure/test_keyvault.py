"""The vault on Key Vault, beyond what every vault keeps: what is asked of the service, and what purging can and cannot do."""

from __future__ import annotations

import asyncio

import pytest

from syncd.domain.errors import Invalid, NotFound, Overloaded, TooLarge, Unavailable
from syncd.domain.secrets import Secret
from tests.integration.azure.vaults import World
from tests.wire.keyvault.double import OFFICER

NAME = "0123456789abcdef0123456789abcdef"


async def test_latest_is_never_read(keyvault: World) -> None:
    vault = keyvault.vault
    versions = [await vault.append(NAME, Secret(str(n))) for n in range(3)]
    async with keyvault.another() as other:
        await other.get(NAME, versions[0])
        await other.versions(NAME)
        await other.purge(NAME, keep=versions[0])
    assert not [one for one in keyvault.double.faults.log if one in (f"GET /secrets/{NAME}/", f"GET /secrets/{NAME}")]


@pytest.mark.parametrize("version", ["", "latest", "../x", "0" * 31, "0" * 33, "g" * 32])
async def test_what_is_no_version_is_not_found_without_asking(keyvault: World, version: str) -> None:
    with pytest.raises(NotFound):
        await keyvault.vault.get(NAME, version)
    assert keyvault.double.faults.log == []


async def test_a_value_is_read_once_for_all_who_ask_and_again_when_its_time_is_over(keyvault: World) -> None:
    version = await keyvault.vault.append(NAME, Secret("x"))
    before = keyvault.calls("GET")
    async with keyvault.another(cache_seconds=60.0) as other:
        values = await asyncio.gather(*[other.get(NAME, version) for _ in range(100)])
        assert {value.reveal() for value in values} == {"x"}
        await other.get(NAME, version)
        assert keyvault.calls("GET") - before == 1
        await keyvault.clock.advance(61)
        await other.get(NAME, version)
        assert keyvault.calls("GET") - before == 2
    assert await keyvault.vault.get(NAME, version) == Secret("x")
    assert keyvault.calls("GET") - before == 2, "what was written here is known here"


async def test_no_more_values_are_kept_than_was_said(keyvault: World) -> None:
    versions = [await keyvault.vault.append(NAME, Secret(str(n))) for n in range(4)]
    async with keyvault.another(cache_size=2) as other:
        for version in versions:
            await other.get(NAME, version)
        before = keyvault.calls("GET")
        for version in (versions[3], versions[2], versions[3]):
            await other.get(NAME, version)
        assert keyvault.calls("GET") == before
        await other.get(NAME, versions[0])
        assert keyvault.calls("GET") == before + 1


async def test_a_caller_that_gives_up_takes_nothing_from_the_others(keyvault: World) -> None:
    version = await keyvault.vault.append(NAME, Secret("x"))
    async with keyvault.another() as other, keyvault.double.faults.silent() as asked:
        first = asyncio.create_task(other.get(NAME, version))
        await asked.wait()
        second = asyncio.create_task(other.get(NAME, version))
        await asyncio.sleep(0)  # one turn, so that it waits too
        first.cancel()
        await asyncio.wait([first])
        keyvault.double.faults.release()
        assert (await second).reveal() == "x"


async def test_a_read_that_failed_is_not_remembered(keyvault: World) -> None:
    version = await keyvault.vault.append(NAME, Secret("x"))
    async with keyvault.another() as other:
        keyvault.double.rights = OFFICER - {"get"}
        with pytest.raises(Unavailable):
            await other.get(NAME, version)
        keyvault.double.rights = OFFICER
        assert (await other.get(NAME, version)).reveal() == "x"


async def test_what_is_too_long_for_key_vault_is_said_before_it_is_sent(keyvault: World) -> None:
    assert await keyvault.vault.append(NAME, Secret("x" * 25 * 1024))
    asked = len(keyvault.double.faults.log)
    with pytest.raises(TooLarge, match="25601 bytes"):
        await keyvault.vault.append(NAME, Secret("x" * (25 * 1024 + 1)))
    assert len(keyvault.double.faults.log) == asked


@pytest.mark.parametrize("url", ["http://kv.vault.azure.net", "kv.vault.azure.net", ""])
async def test_an_address_without_tls_is_refused(keyvault: World, url: str) -> None:
    with pytest.raises(Invalid, match="begins with https"):
        async with keyvault.another(url=url or " "):
            pass


# -- purging ---------------------------------------------------------------------------------------------------------------


async def test_purging_all_but_one_disables_the_others_whose_values_stay_in_key_vault(keyvault: World) -> None:
    old = await keyvault.vault.append(NAME, Secret("old value"))
    new = await keyvault.vault.append(NAME, Secret("new value"))
    assert await keyvault.vault.purge(NAME, keep=new) == 1
    with pytest.raises(NotFound):
        await keyvault.vault.get(NAME, old)
    assert keyvault.double.store.holds("old value"), "the service has no operation for one version"
    assert not any(one.startswith("DELETE") for one in keyvault.double.faults.log)
    assert await keyvault.vault.purge(NAME, keep=new) == 0


async def test_purging_everything_erases_the_values(keyvault: World) -> None:
    for n in range(3):
        await keyvault.vault.append(NAME, Secret(f"value {n}"))
    assert await keyvault.vault.purge(NAME) == 3
    assert not any(keyvault.double.store.holds(f"value {n}") for n in range(3))


@pytest.mark.parametrize("why", ["protected", "no right"])
async def test_where_purging_is_refused_nothing_is_readable_and_the_operator_is_told(keyvault: World, why: str) -> None:
    if why == "protected":
        keyvault.double.store.purge_protected = True
    else:
        keyvault.double.rights = OFFICER - {"purge"}
    old = await keyvault.vault.append(NAME, Secret("old value"))
    assert await keyvault.vault.purge(NAME) == 1
    assert keyvault.double.store.holds("old value"), "until the retention ends"
    [told] = keyvault.seen.of("vault_purge_refused")
    assert told["name"] == NAME
    assert ("purge protection" in str(told["reason"])) == (why == "protected")
    assert await keyvault.vault.versions(NAME) == []
    again = await keyvault.vault.append(NAME, Secret("new value"))
    assert await keyvault.vault.versions(NAME) == [again], "the name was recovered, with its versions still disabled"
    with pytest.raises(NotFound):
        await keyvault.vault.get(NAME, old)


async def test_a_purge_that_may_not_delete_says_so_and_is_finished_by_the_next(keyvault: World) -> None:
    version = await keyvault.vault.append(NAME, Secret("x"))
    keyvault.double.rights = OFFICER - {"delete"}
    with pytest.raises(Unavailable, match="secrets/delete"):
        await keyvault.vault.purge(NAME)
    with pytest.raises(NotFound):
        await keyvault.vault.get(NAME, version)
    keyvault.double.rights = OFFICER
    assert await keyvault.vault.purge(NAME) == 0
    assert not keyvault.double.store.holds("x")


async def test_what_takes_the_service_some_seconds_is_waited_for_and_the_name_says_when_to_come_back(
    keyvault: World,
) -> None:
    await keyvault.vault.append(NAME, Secret("x"))
    keyvault.double.store.settling = 5.0
    purging = asyncio.create_task(keyvault.vault.purge(NAME))
    await keyvault.double.faults.seen(f"GET /deletedsecrets/{NAME}")
    keyvault.double.ahead += 6
    assert await purging == 1
    with pytest.raises(Overloaded, match="ObjectIsBeingDeleted") as caught:
        await keyvault.vault.append(NAME, Secret("y"))
    assert caught.value.retry_after == 3.0
    keyvault.double.ahead += 6
    assert await keyvault.vault.append(NAME, Secret("y"))


async def test_a_secret_that_an_operator_deleted_is_recovered_by_the_next_append(keyvault: World) -> None:
    first = await keyvault.vault.append(NAME, Secret("one"))
    keyvault.double.store.delete(NAME)
    with pytest.raises(NotFound):
        async with keyvault.another() as other:
            await other.get(NAME, first)
    second = await keyvault.vault.append(NAME, Secret("two"))
    assert await keyvault.vault.versions(NAME) == [first, second]


async def test_two_purges_at_once_end_well(keyvault: World) -> None:
    for n in range(5):
        await keyvault.vault.append(NAME, Secret(str(n)))
    async with keyvault.another() as other:
        ended = await asyncio.gather(keyvault.vault.purge(NAME), other.purge(NAME), return_exceptions=True)
    assert not [one for one in ended if not isinstance(one, int | Overloaded)]
    assert await keyvault.vault.purge(NAME) == 0
    assert await keyvault.vault.versions(NAME) == []


# -- check -----------------------------------------------------------------------------------------------------------------


async def test_check_finds_nothing_missing_and_leaves_nothing_behind(keyvault: World) -> None:
    assert await keyvault.vault.check() == []
    assert keyvault.double.store.versions("syncd-check") == []


@pytest.mark.parametrize("right", ["get", "list", "set", "delete", "recover", "purge"])
async def test_check_names_each_right_that_is_missing(keyvault: World, right: str) -> None:
    keyvault.double.rights = OFFICER - {"update" if right == "set" else right}
    [missing] = await keyvault.vault.check()
    assert f"secrets/{right} (role 'Key Vault Secrets Officer')" in missing or f"secrets/{right} (role" in missing
