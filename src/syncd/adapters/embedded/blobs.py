"""Blobs as files under one directory.

    <root>/webhooks/2026/raw=     the blob `webhooks/2026/raw`: a file's name ends in `=`, which no blob's name holds, so that
                                  `a` and `a/b` may both exist
    <root>/aaa…aaa+/aaa=          a segment longer than 200 characters goes on in a directory whose name ends in `+`
    <root>/%incoming/<random>     what is being written; removed at start, since its writer is gone then

A blob appears by rename after its bytes are on the disk, and the directory entry is on the disk before `put` returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from syncd.adapters.embedded.faults import DISK_RETRY
from syncd.domain.errors import Failure, Invalid, NotFound, Overloaded, StoreUnusable, Unavailable
from syncd.domain.storednames import blob_name
from syncd.ports.blobs import BlobInfo

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

#: Characters of a segment in one file name; file systems take 255 bytes.
_PIECE = 200
#: Bytes to which a stream is gathered before they are written: a change of threads costs nothing beside so many.
_WRITE = 1024 * 1024
_INCOMING = "%incoming"


@asynccontextmanager
async def open_blobs(root: Path) -> AsyncIterator[EmbeddedBlobs]:
    """Create the directory, remove what a killed process left half-written. Raises StoreUnusable."""
    blobs = EmbeddedBlobs(root)
    try:
        await blobs.prepare()
        yield blobs
    finally:
        await blobs.close()


class EmbeddedBlobs:
    """Implements the port `Blobs`. Files are touched on a few threads of its own, so that a slow disk holds up nothing else."""

    def __init__(self, root: Path, *, threads: int = 4) -> None:
        self._root = root
        self._incoming = root / _INCOMING
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="blobs")
        # Held between making a directory for a file and renaming into it, so that it is not pruned as empty meanwhile.
        self._tree = threading.Lock()

    async def prepare(self) -> None:
        try:
            await self._run(_empty, self._incoming)
        except Failure as error:
            raise StoreUnusable(f"the blob directory {self._root} cannot be used: {error.__cause__}") from error

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)

    async def put(self, name: str, data: bytes | AsyncIterable[bytes]) -> int:
        path = self._path(name)
        incoming = self._incoming / secrets.token_hex(16)
        try:
            if isinstance(data, bytes):
                await self._run(self._write, incoming, path, data)
                return len(data)
            return await self._stream(incoming, path, data)
        except BaseException:
            self._later(
                partial(incoming.unlink, missing_ok=True)
            )  # not awaited: a cancelled put leaves nothing behind either
            raise

    async def get(self, name: str, *, at_most: int = 64 * 1024 * 1024) -> bytes:
        return await self._run(_read, self._path(name), name, at_most)

    def open(self, name: str, *, chunk: int = 1024 * 1024) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._opened(name, chunk)

    async def delete(self, name: str) -> bool:
        return await self._run(self._remove, self._path(name))

    async def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        pending = [_Entry(self._root, "")]
        while pending:
            entry = pending.pop()
            if entry.info is not None:
                yield entry.info
            else:
                pending += await self._run(_entries, entry.path, entry.key, prefix)

    def _path(self, name: str) -> Path:
        path = self._root
        for segment in blob_name(name).split("/"):
            while len(segment) > _PIECE:
                path, segment = path / f"{segment[:_PIECE]}+", segment[_PIECE:]
            path /= segment
        return path.with_name(path.name + "=")

    async def _run(
        self, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        call = partial(function, *args, **kwargs)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except OSError as error:
            disk = f"the disk that holds {self._root}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                # Refused for now, not failed, as the store says it: work that meets it waits without burning an attempt.
                raise Overloaded(f"{disk} is full: free space on it", retry_after=DISK_RETRY) from error
            raise Unavailable(f"{disk} answers with errors ({error})", retry_after=DISK_RETRY) from error

    def _later(self, function: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # closed: the next start tidies up
            self._threads.submit(function)

    async def _stream(self, incoming: Path, path: Path, data: AsyncIterable[bytes]) -> int:
        file = await self._run(_create, incoming)
        try:
            size = 0
            gathered = bytearray()
            async for piece in data:
                size += len(piece)
                gathered += piece
                if len(gathered) >= _WRITE:
                    await self._run(file.write, bytes(gathered))
                    gathered.clear()
            await self._run(file.write, bytes(gathered))
            await self._run(self._place, file, incoming, path)
            return size
        finally:
            self._later(file.close)

    def _write(self, incoming: Path, path: Path, data: bytes) -> None:
        with _create(incoming) as file:
            file.write(data)
            self._place(file, incoming, path)

    def _place(self, file: BinaryIO, incoming: Path, path: Path) -> None:
        """Make the bytes durable, then the name."""
        file.flush()
        os.fsync(file.fileno())
        with self._tree:
            _make(path.parent)
            incoming.replace(path)
        with contextlib.suppress(FileNotFoundError):  # deleted and pruned meanwhile
            _sync(path.parent)

    def _remove(self, path: Path) -> bool:
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        directory = path.parent
        with self._tree, contextlib.suppress(OSError):  # until one is not empty
            while directory != self._root:
                directory.rmdir()
                directory = directory.parent
        with contextlib.suppress(FileNotFoundError):  # pruned by another delete, which then syncs what is left
            _sync(directory)
        return True

    @asynccontextmanager
    async def _opened(self, name: str, chunk: int) -> AsyncIterator[AsyncIterator[bytes]]:
        file = await self._run(_open, self._path(name), name)
        try:
            yield self._chunks(file, chunk)
        finally:
            self._later(file.close)

    async def _chunks(self, file: BinaryIO, chunk: int) -> AsyncIterator[bytes]:
        while piece := await self._run(file.read, chunk):
            yield piece


class _Entry:
    """A blob, or a directory of them whose names all begin with `key`. Entries of one directory sort as their blobs do."""

    __slots__ = ("info", "key", "path")

    def __init__(self, path: Path, key: str, info: BlobInfo | None = None) -> None:
        self.path, self.key, self.info = path, key, info


def _entries(directory: Path, base: str, prefix: str) -> list[_Entry]:
    """What a directory holds, last name first, without what cannot begin with `prefix`."""
    found = _unsorted(directory, base, prefix)
    found.sort(key=lambda entry: entry.key, reverse=True)
    return found


def _unsorted(directory: Path, base: str, prefix: str) -> list[_Entry]:
    found: list[_Entry] = []
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:  # pruned meanwhile
        for entry in entries:
            path, key = directory / entry.name, base + entry.name
            if entry.name.endswith("="):
                name = key[:-1]
                if name.startswith(prefix):
                    with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                        facts = entry.stat(follow_symlinks=False)
                        found.append(_Entry(path, name, BlobInfo(name, facts.st_size, facts.st_mtime)))
            elif entry.name.endswith("+"):
                found += _unsorted(path, key[:-1], prefix)
            elif entry.name != _INCOMING and (key.startswith(prefix) or prefix.startswith(key)):
                found.append(_Entry(path, f"{key}/"))
    return found


def _empty(incoming: Path) -> None:
    _make(incoming)
    for leftover in incoming.iterdir():
        leftover.unlink()


def _create(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _open(path: Path, name: str) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NotFound(f"there is no blob {name!r}") from None


def _read(path: Path, name: str, at_most: int) -> bytes:
    with _open(path, name) as file:
        size = os.fstat(file.fileno()).st_size
        if size > at_most:
            raise Invalid(f"the blob {name!r} has {size} bytes, more than the {at_most} asked for: stream it")
        return file.read()


def _make(directory: Path) -> None:
    """Make a directory and its parents durably, before anybody can rely on them."""
    if not directory.is_dir():
        _make(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)
        _sync(directory.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
