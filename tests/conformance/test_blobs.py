"""What every backend of the port `Blobs` keeps."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from syncd.domain.errors import Conflict, Invalid, NotFound
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


@pytest.mark.parametrize("fate", ["replaced", "deleted"])
async def test_a_long_read_is_of_one_content_or_ends_with_an_error(blobs: Blobs, fate: str) -> None:
    await blobs.put("a", b"1" * 9 * MIB)
    async with blobs.open("a") as stream:
        read = await anext(stream)
        if fate == "replaced":
            await blobs.put("a", b"2" * 9 * MIB)
        else:
            await blobs.delete("a")
        try:
            async for chunk in stream:
                read += chunk
        except (Conflict, NotFound):
            assert len(read) < 9 * MIB
        else:
            assert len(read) == 9 * MIB
    assert set(read) == {ord("1")}


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
