"""What every backend of the port `Vault` keeps."""

from __future__ import annotations

import asyncio

import pytest

from syncd.domain.errors import Invalid, NotFound
from syncd.domain.ids import digest
from syncd.domain.secrets import Secret
from syncd.ports.vault import Vault

NAME = digest("tenant-1", "credential", "conn-1")


async def test_a_secret_is_read_back_by_name_and_version(vault: Vault) -> None:
    first = await vault.append(NAME, Secret("one"))
    second = await vault.append(NAME, Secret("zwei – ⚙ \n\x00"))
    assert (await vault.get(NAME, first)).reveal() == "one"
    assert (await vault.get(NAME, second)).reveal() == "zwei – ⚙ \n\x00"


async def test_versions_are_listed_oldest_first_also_within_one_moment(vault: Vault) -> None:
    appended = [await vault.append(NAME, Secret(str(n))) for n in range(20)]
    assert await vault.versions(NAME) == appended
    assert len(set(appended)) == 20
    assert await vault.versions("another") == []


async def test_many_appended_at_once_are_all_kept(vault: Vault) -> None:
    appended = await asyncio.gather(*[vault.append(NAME, Secret(f"value {n}")) for n in range(50)])
    assert sorted(await vault.versions(NAME)) == sorted(appended)
    for n, version in enumerate(appended):
        assert (await vault.get(NAME, version)).reveal() == f"value {n}"


async def test_what_is_not_there_is_not_found(vault: Vault) -> None:
    version = await vault.append(NAME, Secret("one"))
    with pytest.raises(NotFound):
        await vault.get("another", version)
    with pytest.raises(NotFound):
        await vault.get(NAME, "another")


async def test_purging_removes_all_versions_but_the_one_to_keep(vault: Vault) -> None:
    versions = [await vault.append(NAME, Secret(str(n))) for n in range(4)]
    await vault.append("another", Secret("stays"))
    assert await vault.purge(NAME, keep=versions[2]) == 3
    assert await vault.versions(NAME) == [versions[2]]
    assert (await vault.get(NAME, versions[2])).reveal() == "2"
    with pytest.raises(NotFound):
        await vault.get(NAME, versions[0])
    assert await vault.purge(NAME) == 1
    assert await vault.purge(NAME) == 0
    assert await vault.versions(NAME) == []
    assert len(await vault.versions("another")) == 1


async def test_a_version_is_never_used_again(vault: Vault) -> None:
    before = [await vault.append(NAME, Secret("x")) for _ in range(3)]
    await vault.purge(NAME)
    assert await vault.append(NAME, Secret("y")) not in before


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a_b", "é", "x" * 128, "a\n"])
async def test_a_name_that_is_none_is_refused_by_every_method(vault: Vault, name: str) -> None:
    with pytest.raises(Invalid):
        await vault.append(name, Secret("x"))
    with pytest.raises(Invalid):
        await vault.get(name, "v")
    with pytest.raises(Invalid):
        await vault.versions(name)
    with pytest.raises(Invalid):
        await vault.purge(name)


async def test_after_a_rotation_everything_is_readable_and_nothing_else_changed(vault: Vault) -> None:
    versions = [await vault.append(NAME, Secret(f"value {n}")) for n in range(5)]
    await vault.rotate_key()
    assert await vault.versions(NAME) == versions
    assert [(await vault.get(NAME, version)).reveal() for version in versions] == [f"value {n}" for n in range(5)]
    await vault.append(NAME, Secret("later"))
