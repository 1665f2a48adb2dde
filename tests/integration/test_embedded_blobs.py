"""What only files can do wrong as blobs. What they share with other backends is in tests/conformance."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.adapters.embedded.blobs import open_blobs
from syncd.domain.errors import Overloaded, StoreUnusable
from syncd.ports.blobs import Blobs

MIB = 1024 * 1024


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def names(blobs: Blobs, prefix: str = "") -> list[str]:
    return [info.name async for info in blobs.list(prefix)]


NAMES = ["a", "a-b", "a.b", "a/b", "a/b/c", "a0", "a~", "B"]


async def test_nothing_but_the_blobs_is_left_on_the_disk(tmp_path: Path) -> None:
    root = tmp_path / "blobs"
    async with open_blobs(root) as blobs:
        for name in NAMES[:8]:
            await blobs.put(name, b"x")
        for name in NAMES[:8]:
            await blobs.delete(name)
    assert [path.name for path in root.rglob("*")] == ["%incoming"]


async def test_what_a_killed_put_left_is_removed_at_start_and_blobs_stay(tmp_path: Path) -> None:
    async with open_blobs(tmp_path) as blobs:
        await blobs.put("kept", b"1")
    (tmp_path / "%incoming" / "0123").write_bytes(b"half of something")
    async with open_blobs(tmp_path) as blobs:
        assert list((tmp_path / "%incoming").iterdir()) == []
        assert await names(blobs) == ["kept"]


async def test_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    async with open_blobs(tmp_path / "b") as blobs:
        await blobs.put("a/b", b"personal data")
    made = [tmp_path / "b", *(tmp_path / "b").rglob("*")]
    assert len(made) == 4
    assert all(path.stat().st_mode & 0o077 == 0 for path in made)


async def test_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def recording_fsync(descriptor: int) -> None:
        steps.append("fsync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def recording_replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    async with open_blobs(tmp_path) as blobs:
        monkeypatch.setattr("secrets.token_hex", lambda _: "incoming-file")
        monkeypatch.setattr(os, "fsync", recording_fsync)
        monkeypatch.setattr(Path, "replace", recording_replace)
        await blobs.put("new/er/name", pieces(b"x"))
        steps.append("answered")
    assert steps == ["fsync incoming-file", f"fsync {tmp_path.name}", "fsync new", "rename", "fsync er", "answered"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_full_disk_refuses_for_now_and_says_which_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    """/dev/full answers every write with ENOSPC, as a full disk does."""
    opened = os.open

    def on_the_full_disk(path: str | Path, flags: int, mode: int = 0o777) -> int:
        return opened("/dev/full", os.O_WRONLY) if "%incoming" in str(path) else opened(path, flags, mode)

    async with open_blobs(tmp_path) as blobs:
        await blobs.put("before", b"1")
        monkeypatch.setattr(os, "open", on_the_full_disk)
        with pytest.raises(Overloaded, match=f"{tmp_path} is full") as caught:
            await blobs.put("a", pieces(b"x" * 2 * MIB) if streamed else b"x" * 2 * MIB)
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.ENOSPC
        assert caught.value.retry_after
        monkeypatch.undo()
        assert await names(blobs) == ["before"]


async def test_a_directory_that_cannot_be_used_is_said_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnusable, match="cannot be used"):
        async with open_blobs(tmp_path / "file" / "blobs"):
            pass


async def test_a_large_stream_needs_constant_memory(tmp_path: Path) -> None:
    """256 MiB through a process that may grow by less than 32: measured where the kernel keeps it."""
    block = os.urandom(MIB)
    digest = hashlib.sha256()

    async def source() -> AsyncIterator[bytes]:
        for _ in range(256):
            yield block

    async with open_blobs(tmp_path) as blobs:
        await blobs.put("warm", pieces(block * 2))
        before = _resident()
        assert await blobs.put("big", source()) == 256 * MIB
        async with blobs.open("big") as stream:
            async for chunk in stream:
                digest.update(chunk)
        grown = _resident() - before
    expected = hashlib.sha256()
    for _ in range(256):
        expected.update(block)
    assert digest.digest() == expected.digest()
    assert grown < 32 * MIB


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


alphabet = "abAB019._~-"
generated = st.lists(
    st.text(alphabet, min_size=1, max_size=4).filter(lambda s: s not in (".", "..")), min_size=1, max_size=3
)


@given(st.sets(generated.map("/".join), max_size=25), generated.map("/".join))
async def test_any_set_of_names_is_listed_in_order(
    tmp_path_factory: pytest.TempPathFactory, chosen: set[str], prefix: str
) -> None:
    async with open_blobs(tmp_path_factory.mktemp("blobs")) as blobs:
        for name in chosen:
            await blobs.put(name, b"")
        assert await names(blobs) == sorted(chosen)
        assert await names(blobs, prefix[:2]) == sorted(name for name in chosen if name.startswith(prefix[:2]))
