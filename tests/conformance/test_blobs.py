"""What every backend of the port `Blobs` keeps; at the end, what only files can do wrong."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.adapters.embedded.blobs import open_blobs
from syncd.domain.errors import Invalid, NotFound, Overloaded, StoreUnusable
from syncd.ports.blobs import Blobs

MIB = 1024 * 1024


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def names(blobs: Blobs, prefix: str = "") -> list[str]:
    return [info.name async for info in blobs.list(prefix)]


async def test_what_was_put_is_read_back(blobs: Blobs) -> None:
    assert await blobs.put("webhooks/2026/raw", b"\x00\xff body") == 7
    assert await blobs.get("webhooks/2026/raw") == b"\x00\xff body"


async def test_a_stream_is_stored_whole_and_its_size_returned(blobs: Blobs) -> None:
    assert await blobs.put("s", pieces(b"ab", b"", b"cde", b"f" * 3 * MIB)) == 5 + 3 * MIB
    assert await blobs.get("s") == b"abcde" + b"f" * 3 * MIB


async def test_an_empty_blob_is_a_blob(blobs: Blobs) -> None:
    assert await blobs.put("empty", b"") == 0
    assert await blobs.put("empty-stream", pieces()) == 0
    assert await blobs.get("empty") == b""
    assert await names(blobs) == ["empty", "empty-stream"]


async def test_a_put_replaces(blobs: Blobs) -> None:
    await blobs.put("a", b"long before")
    await blobs.put("a", b"now")
    assert await blobs.get("a") == b"now"
    assert await names(blobs) == ["a"]


async def test_what_is_not_there_is_not_found(blobs: Blobs) -> None:
    with pytest.raises(NotFound, match="nothing/here"):
        await blobs.get("nothing/here")
    with pytest.raises(NotFound):
        async with blobs.open("nothing/here"):
            pass
    assert not await blobs.delete("nothing/here")


async def test_a_blob_larger_than_asked_for_is_refused_instead_of_filling_the_memory(blobs: Blobs) -> None:
    await blobs.put("big", b"x" * 11)
    assert await blobs.get("big", at_most=11) == b"x" * 11
    with pytest.raises(Invalid, match="11 bytes"):
        await blobs.get("big", at_most=10)


async def test_a_blob_is_streamed_in_chunks(blobs: Blobs) -> None:
    data = random.Random(1).randbytes(5 * MIB + 3)
    await blobs.put("big", data)
    async with blobs.open("big", chunk=MIB) as stream:
        chunks = [chunk async for chunk in stream]
    assert b"".join(chunks) == data
    assert len(chunks) == 6


async def test_a_reader_keeps_the_blob_it_opened_while_it_is_replaced_and_deleted(blobs: Blobs) -> None:
    await blobs.put("a", b"1" * 10)
    async with blobs.open("a", chunk=5) as stream:
        first = await anext(stream)
        await blobs.put("a", b"2" * 10)
        await blobs.delete("a")
        rest = b"".join([chunk async for chunk in stream])
    assert first + rest == b"1" * 10


async def test_a_stream_that_fails_leaves_no_blob_and_what_was_there_stays(blobs: Blobs) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError("the sender went away")

    await blobs.put("kept", b"before")
    for name in ("kept", "new"):
        with pytest.raises(ConnectionResetError):
            await blobs.put(name, failing())
    assert await blobs.get("kept") == b"before"
    assert await names(blobs) == ["kept"]


async def test_a_cancelled_put_leaves_no_blob(blobs: Blobs) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * MIB
            begun.set()

    task = asyncio.create_task(blobs.put("never", endless()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names(blobs) == []


async def test_a_deleted_blob_is_gone(blobs: Blobs) -> None:
    await blobs.put("a/b/c", b"1")
    await blobs.put("a/b/d", b"2")
    assert await blobs.delete("a/b/c")
    assert not await blobs.delete("a/b/c")
    assert await names(blobs) == ["a/b/d"]


async def test_a_name_may_continue_another(blobs: Blobs) -> None:
    for name in ("a", "a/b", "a/b/c"):
        await blobs.put(name, name.encode())
    for name in ("a", "a/b", "a/b/c"):
        assert await blobs.get(name) == name.encode()
    assert await blobs.delete("a")
    assert await names(blobs) == ["a/b", "a/b/c"]


LONG = "x" * 200
NAMES = [
    "a",
    "a-b",
    "a.b",
    "a/b",
    "a/b/c",
    "a0",
    "a~",
    "B",
    "_",
    "~",
    "-",
    LONG,
    f"{LONG}-",
    f"{LONG}/a",
    f"{LONG}0",
    "y" * 1024,
]
NAMES += [f"{LONG}{LONG}/{LONG}-z/q", f"{LONG}{LONG}-", "...", "..a", "a..", "/".join("ab" * 200)]


async def test_names_are_listed_in_order_whatever_they_look_like(blobs: Blobs) -> None:
    for name in random.Random(3).sample(NAMES, len(NAMES)):
        await blobs.put(name, name[:7].encode())
    expected = sorted(NAMES)
    listed = [info async for info in blobs.list()]
    assert [info.name for info in listed] == expected
    assert [info.size for info in listed] == [min(7, len(name)) for name in expected]
    assert all(info.modified_at > 1_600_000_000 for info in listed)


@pytest.mark.parametrize(
    "prefix", ["a", "a/", "a/b", "a/b/", LONG, f"{LONG}x", f"{LONG}/", "zzz", "a/b/c/d", "../", "/"]
)
async def test_a_prefix_selects_the_names_that_begin_with_it(blobs: Blobs, prefix: str) -> None:
    for name in NAMES:
        await blobs.put(name, b"")
    assert await names(blobs, prefix) == sorted(name for name in NAMES if name.startswith(prefix))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "../a",
        "a/./b",
        "a b",
        "a\\b",
        "a\x00",
        "é",
        "a=",
        "a+",
        "%incoming/x",
        "x" * 1025,
    ],
)
async def test_a_name_that_is_none_is_refused_by_every_method(blobs: Blobs, name: str) -> None:
    with pytest.raises(Invalid):
        await blobs.put(name, b"")
    with pytest.raises(Invalid):
        await blobs.get(name)
    with pytest.raises(Invalid):
        await blobs.delete(name)
    with pytest.raises(Invalid):
        async with blobs.open(name):
            pass


async def test_many_at_once_do_not_disturb_each_other(blobs: Blobs) -> None:
    async def life(n: int) -> None:
        name = f"d{n % 3}/e/{n}"
        for turn in range(5):
            await blobs.put(name, pieces(b"%d" % n, b"-%d" % turn))
            assert await blobs.get(name) == b"%d-%d" % (n, turn)
            assert await blobs.delete(name)

    await asyncio.gather(*[life(n) for n in range(40)])
    assert await names(blobs) == []


# -- embedded: files ------------------------------------------------------------------------------------------------------


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
