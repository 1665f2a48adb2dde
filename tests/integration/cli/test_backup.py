"""`syncd backup`: a whole copy, made beside a store that is being written."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
from pathlib import Path

import pytest

from syncd.adapters.embedded import backup as backups
from syncd.adapters.embedded.backup import back_up
from syncd.adapters.embedded.blobs import open_blobs
from syncd.adapters.embedded.clock import SystemClock
from syncd.adapters.embedded.store import open_store
from syncd.cli.main import main
from syncd.domain.collections import CONNECTIONS
from syncd.domain.errors import Conflict, NotFound, StoreUnusable
from syncd.ports.documents import Create


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with one connection, one blob and a key."""
    directory = tmp_path / "data"
    directory.mkdir()

    async def fill() -> None:
        async with open_store(directory, clock=SystemClock()) as store, open_blobs(directory / "blobs") as blobs:
            await store.documents.write(CONNECTIONS, "c-1", [Create("c-1", {"tenantId": "t"})])
            await blobs.put("raw/a", b"body")

    asyncio.run(fill())
    (directory / "secret.key").write_text("a key\n")
    (directory / "blobs" / "%incoming" / "half").write_text("being written")
    return directory


def run(data: Path, target: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setenv("SYNCD_DAEMON__DATA_DIR", str(data))
    return main(["backup", str(target), *options])


def test_the_copy_opens_as_a_store_with_everything_in_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "deep" / "copy"
    assert run(data, target, monkeypatch) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{target}: the store (")
    assert out.endswith("and 1 blobs\n")
    assert "whoever reads it can read the credentials in it" in err
    assert (target / "secret.key").read_text() == "a key\n"
    assert sorted(path.name for path in target.iterdir()) == ["blobs", "secret.key", "syncd.db"]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (target, *target.iterdir())}
    assert modes == {"copy": 0o700, "blobs": 0o700, "secret.key": 0o600, "syncd.db": 0o600}

    async def read() -> None:
        async with open_store(target, clock=SystemClock()) as store, open_blobs(target / "blobs") as blobs:
            found = await store.documents.get(CONNECTIONS, "c-1", "c-1")
            assert found is not None
            async with blobs.open("raw/a") as stream:
                assert b"".join([piece async for piece in stream]) == b"body"

    asyncio.run(read())


async def test_it_ends_while_the_store_is_written_without_a_pause(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "_PAGES", 64)  # many steps, with commits between them
    async with open_store(data, clock=SystemClock(), durable=False) as store:
        filler = {"tenantId": "t", "filler": "x" * 40_000}
        for number in range(10):
            writes = [Create(f"big-{number}-{one}", filler) for one in range(40)]
            await store.documents.write(CONNECTIONS, f"big-{number}", writes)
        written = 0
        stop = asyncio.Event()

        async def write() -> None:
            nonlocal written
            while not stop.is_set():
                name = f"c-{written + 2}"
                await store.documents.write(CONNECTIONS, name, [Create(name, {"tenantId": "t"})])
                written += 1

        writing = asyncio.create_task(write())
        steps: list[tuple[int, int]] = []
        before = written

        def progress(done: int, total: int) -> None:
            steps.append((done, total))
            assert done == total or len(steps) < 2 * (total // 64 + 2), "it began again and again"

        await asyncio.to_thread(back_up, data, tmp_path / "copy", progress=progress)
        during = written - before
        stop.set()
        await writing
    assert during > 0
    assert steps[-1][0] == steps[-1][1]
    assert [done for done, _ in steps] == sorted(done for done, _ in steps), "it began again"


def test_nothing_is_overwritten_and_nothing_half_done_is_left(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "copy").mkdir()
    assert run(data, tmp_path / "copy", monkeypatch) == 1
    assert "exists already: name a place that does not" in capsys.readouterr().err
    with pytest.raises(Conflict):
        back_up(data, tmp_path / "copy")
    with pytest.raises(NotFound, match="there is no store"):
        back_up(tmp_path, tmp_path / "other")
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusable, match="the backup cannot be written: Not a directory"):
        back_up(data, tmp_path / "file" / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "data", "file"]


def test_no_backup_is_made_of_a_damaged_store(data: Path, tmp_path: Path) -> None:
    store = data / "syncd.db"
    with sqlite3.connect(store) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = bytearray(store.read_bytes())
    content[4096 * 2 : 4096 * 4] = b"\xff" * 4096 * 2
    store.write_bytes(content)
    with pytest.raises(StoreUnusable, match="damaged"):
        back_up(data, tmp_path / "copy")
    assert not list(tmp_path.glob("copy*"))


def test_a_key_that_is_rotated_meanwhile_is_the_one_in_the_copy(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_database = backups._copy_database
    keys = iter(["second\n", "second\n"])

    def rotated_meanwhile(source: Path, target: Path, progress: backups.Progress) -> None:
        copy_database(source, target, progress)
        (data / "secret.key").write_text(next(keys))

    monkeypatch.setattr(backups, "_copy_database", rotated_meanwhile)
    assert run(data, tmp_path / "copy", monkeypatch, "--output", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["path"], answer["blobs"], answer["key"]) == (str(tmp_path / "copy"), 1, True)
    assert (tmp_path / "copy" / "secret.key").read_text() == "second\n"
