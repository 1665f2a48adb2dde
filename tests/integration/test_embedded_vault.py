"""The keys of the local vault: what is on the disk, what a wrong or lost key says, rotation. What it shares with other vaults is in
tests/conformance."""

from __future__ import annotations

import asyncio
import base64
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from syncd.adapters.embedded import vault as local
from syncd.adapters.embedded.engine import Engine
from syncd.adapters.embedded.keyring import Keyring
from syncd.adapters.embedded.vault import EmbeddedVault, create_tables
from syncd.domain.errors import StoreUnusable
from syncd.domain.ids import digest
from syncd.domain.secrets import Secret
from syncd.testing.clock import FrozenClock

NAME = digest("tenant-1", "credential", "conn-1")


@asynccontextmanager
async def opened(
    directory: Path, secret_key: str | None = None, previous: tuple[str, ...] = ()
) -> AsyncIterator[EmbeddedVault]:
    """One life of a process on this directory."""
    engine = await Engine.open(directory / "syncd.db", create_tables, durable=False)
    try:
        keyring = Keyring(
            directory,
            secret_key=Secret(secret_key) if secret_key else None,
            previous=[Secret(text) for text in previous],
        )
        vault = EmbeddedVault(engine=engine, keyring=keyring, clock=FrozenClock())
        await vault.open()
        yield vault
    finally:
        await engine.close()


def rows(directory: Path) -> list[tuple[str, str, str, bytes, bytes]]:
    with sqlite3.connect(directory / "syncd.db") as connection:
        found = connection.execute(
            "SELECT name, version, key_id, nonce, ciphertext FROM vault ORDER BY sequence"
        ).fetchall()
    connection.close()
    return found


def execute(directory: Path, sql: str, *values: object) -> None:
    with sqlite3.connect(directory / "syncd.db") as connection:
        connection.execute(sql, values)
    connection.close()


def everything(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


async def test_nothing_on_the_disk_holds_a_secret(tmp_path: Path) -> None:
    async with opened(tmp_path, "a long text for SECRET_KEY") as vault:
        await vault.append(NAME, Secret("canary-0123456789"))
        on_disk = everything(tmp_path)
    on_disk += everything(tmp_path)
    assert NAME.encode() in on_disk
    assert b"canary" not in on_disk
    assert b"a long text" not in on_disk


async def test_the_key_file_is_made_when_first_needed_for_its_owner_only_and_serves_the_next_start(
    tmp_path: Path,
) -> None:
    path = tmp_path / "secret.key"
    async with opened(tmp_path) as vault:
        assert not path.exists()
        version = await vault.append(NAME, Secret("one"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(base64.b64decode(path.read_text())) == 32
    assert [entry.name for entry in tmp_path.iterdir() if "key" in entry.name] == ["secret.key"]
    async with opened(tmp_path) as vault:
        assert (await vault.get(NAME, version)).reveal() == "one"


async def test_a_key_file_that_others_can_read_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as vault:
        await vault.append(NAME, Secret("one"))
    (tmp_path / "secret.key").chmod(0o640)
    with pytest.raises(StoreUnusable, match=f"chmod 600 {tmp_path}/secret.key"):
        async with opened(tmp_path):
            pass


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"\xff\xfe\n", "cannot be read"), (b"bm90IGEga2V5\n", "line 1"), (b"!!!\n", "line 1")],
)
async def test_a_damaged_key_file_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "secret.key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(StoreUnusable, match=said) as caught:
        async with opened(tmp_path):
            pass
    assert path.read_bytes() == content
    assert content.decode("latin-1").strip() not in str(caught.value) or not content


async def test_a_key_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch(mode=0o600)
    (tmp_path / "secret.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnusable, match="cannot be read"):
        async with opened(tmp_path):
            pass


async def test_a_wrong_secret_key_is_said_at_start_with_the_id_of_the_right_one(tmp_path: Path) -> None:
    async with opened(tmp_path, "the right one") as vault:
        version = await vault.append(NAME, Secret("one"))
    before = rows(tmp_path)
    key_id = before[0][2]
    assert key_id.startswith("secret-key-")
    for wrong in ("another one", None):
        with pytest.raises(StoreUnusable, match=f"{key_id}, which came from the text SECRET_KEY"):
            async with opened(tmp_path, wrong):
                pass
    assert rows(tmp_path) == before
    assert not (tmp_path / "secret.key").exists()
    async with opened(tmp_path, "the right one") as vault:
        assert (await vault.get(NAME, version)).reveal() == "one"


async def test_a_lost_key_file_is_said_at_start_and_no_new_one_is_made(tmp_path: Path) -> None:
    async with opened(tmp_path) as vault:
        await vault.append(NAME, Secret("one"))
    (tmp_path / "secret.key").rename(tmp_path / "aside")
    with pytest.raises(StoreUnusable, match=r"came from the file .*secret\.key; the keys here are: none"):
        async with opened(tmp_path):
            pass
    assert not (tmp_path / "secret.key").exists()


@pytest.mark.parametrize("what", ["ciphertext", "nonce", "name", "version", "key"])
async def test_what_was_altered_does_not_decrypt(tmp_path: Path, what: str) -> None:
    async with opened(tmp_path) as vault:
        version = await vault.append(NAME, Secret("one"))
        other = await vault.append(NAME, Secret("other"))
    [one, two] = rows(tmp_path)
    if what == "ciphertext":
        for position in range(len(one[4])):
            flipped = bytearray(one[4])
            flipped[position] ^= 1
            execute(tmp_path, "UPDATE vault SET ciphertext = ? WHERE version = ?", bytes(flipped), version)
            async with opened(tmp_path) as vault:
                with pytest.raises(StoreUnusable, match="was altered"):
                    await vault.get(NAME, version)
        return
    if what == "nonce":
        execute(tmp_path, "UPDATE vault SET nonce = ? WHERE version = ?", two[3], version)
    elif what == "name":
        execute(tmp_path, "UPDATE vault SET name = 'another' WHERE version = ?", version)
    elif what == "version":  # the ciphertext of one version put in the place of another
        execute(tmp_path, "UPDATE vault SET nonce = ?, ciphertext = ? WHERE version = ?", two[3], two[4], version)
    else:
        execute(tmp_path, "UPDATE vault SET ciphertext = x'' WHERE version = ?", version)
    async with opened(tmp_path) as vault:
        with pytest.raises(StoreUnusable, match=f"version {version} of the secret .* was altered"):
            await vault.get("another" if what == "name" else NAME, version)
        assert (await vault.get(NAME, other)).reveal() == "other"


async def test_secret_key_becomes_the_current_key_and_the_file_goes_on_reading(tmp_path: Path) -> None:
    async with opened(tmp_path) as vault:
        old = await vault.append(NAME, Secret("old"))
    async with opened(tmp_path, "text") as vault:
        new = await vault.append(NAME, Secret("new"))
        assert (await vault.get(NAME, old)).reveal() == "old"
    assert [row[2].rpartition("-")[0] for row in rows(tmp_path)] == ["file", "secret-key"]
    async with opened(tmp_path, "text") as vault:
        assert await vault.rotate_key() == 1
        assert await vault.rotate_key() == 0
    assert {row[2].rpartition("-")[0] for row in rows(tmp_path)} == {"secret-key"}
    assert not (tmp_path / "secret.key").exists()
    async with opened(tmp_path, "text") as vault:
        assert [(await vault.get(NAME, version)).reveal() for version in (old, new)] == ["old", "new"]


async def test_a_former_secret_key_goes_on_reading_until_it_is_rotated_away(tmp_path: Path) -> None:
    async with opened(tmp_path, "former") as vault:
        version = await vault.append(NAME, Secret("one"))
    async with opened(tmp_path, "present", previous=("former",)) as vault:
        assert (await vault.get(NAME, version)).reveal() == "one"
        assert await vault.rotate_key() == 1
    async with opened(tmp_path, "present") as vault:
        assert (await vault.get(NAME, version)).reveal() == "one"


async def test_a_rotation_replaces_the_key_in_the_file_and_every_ciphertext(tmp_path: Path) -> None:
    async with opened(tmp_path) as vault:
        versions = [await vault.append(NAME, Secret(f"{n}")) for n in range(450)]
        before, key_before = rows(tmp_path), (tmp_path / "secret.key").read_text()
        assert await vault.rotate_key() == 450
        after, key_after = rows(tmp_path), (tmp_path / "secret.key").read_text()
        assert len(key_after.splitlines()) == 1
        assert key_after != key_before
        assert not {row[4] for row in before} & {row[4] for row in after}
        assert len({row[2] for row in after}) == 1
        assert (await vault.get(NAME, versions[-1])).reveal() == "449"
    async with opened(tmp_path) as vault:
        assert [(await vault.get(NAME, version)).reveal() for version in versions[:3]] == ["0", "1", "2"]


class Killed(BaseException):
    """The process ends here."""


async def test_a_rotation_killed_at_any_step_loses_nothing_and_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call that a rotation makes to the disk or the store is one place to die, before and after it happened."""
    monkeypatch.setattr(local, "BATCH", 2)
    steps = 0
    step_limit = 40
    for kill_at in range(step_limit):
        directory = tmp_path / str(kill_at)
        directory.mkdir()
        async with opened(directory) as vault:
            versions = [await vault.append(NAME, Secret(f"{n}")) for n in range(5)]
        done = 0
        with monkeypatch.context() as patched:

            def dying(original: object, kill_at: int = kill_at) -> object:
                async def call(*args: object) -> object:
                    nonlocal done
                    done += 2
                    if done - 2 == kill_at:
                        raise Killed
                    result = await original(*args)  # type: ignore[operator]  # taken off the object under test
                    if done - 1 == kill_at:
                        raise Killed
                    return result

                return call

            async with opened(directory) as vault:
                patched.setattr(vault._engine, "read", dying(vault._engine.read))
                patched.setattr(vault._engine, "write", dying(vault._engine.write))
                patched.setattr(asyncio, "to_thread", dying(asyncio.to_thread))
                try:
                    await vault.rotate_key()
                    finished = True
                except Killed:
                    finished = False
                patched.undo()
        async with opened(directory) as vault:
            assert [(await vault.get(NAME, version)).reveal() for version in versions] == [f"{n}" for n in range(5)]
            keys = {row[2] for row in rows(directory)}
            if not finished and len(keys) == 2:
                current = vault._keyring.current().id
                await vault.rotate_key()
                assert {row[2] for row in rows(directory)} == {current}
                assert len((directory / "secret.key").read_text().splitlines()) == 1
            assert [(await vault.get(NAME, version)).reveal() for version in versions] == [f"{n}" for n in range(5)]
        if finished:
            steps = kill_at
            break
    assert 10 < steps < step_limit


async def test_what_is_appended_while_the_key_is_rotated_stays_readable(tmp_path: Path) -> None:
    async with opened(tmp_path) as vault:
        await vault.append(NAME, Secret("first"))
        appending = [asyncio.create_task(vault.append(NAME, Secret(f"{n}"))) for n in range(100)]
        await asyncio.sleep(0)  # they have encrypted, and are on their way to the disk
        for task in appending[::3]:
            task.cancel()
        await vault.rotate_key()
        await asyncio.gather(*appending, return_exceptions=True)
        await vault.rotate_key()
    async with opened(tmp_path) as vault:
        versions = await vault.versions(NAME)
        assert len(versions) >= 60
        assert len({(await vault.get(NAME, version)).reveal() for version in versions}) == len(versions)


async def test_a_directory_without_right_to_write_is_said_when_the_key_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a refusal of the system, since the tests may run as root, to whom nothing is refused."""

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    async with opened(tmp_path) as vault:
        monkeypatch.setattr(os, "link", refused)
        with pytest.raises(StoreUnusable, match="cannot be written"):
            await vault.append(NAME, Secret("one"))
        monkeypatch.undo()
        assert [entry.name for entry in tmp_path.iterdir() if "key" in entry.name] == []
        await vault.append(NAME, Secret("one"))
