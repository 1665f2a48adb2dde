"""A copy of a whole data directory while a daemon works in it, made from outside by another process.

The copy has the same layout, so that restoring is moving it into place: `syncd.db`, `blobs/` and, where there is one, `secret.key`.

- The database is read in one transaction. Without it SQLite begins again at every commit of the daemon, and under load never ends.
- A blob is written before the document that names it and removed after; so blobs are copied before the database and once more after.
- A key leaves the key file when nothing is encrypted with it any more. Where the file changed meanwhile, the database is copied again.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from syncd.adapters.embedded.faults import mapped
from syncd.adapters.embedded.files import connect_read_only
from syncd.adapters.embedded.keyring import FILE_NAME as KEY_FILE
from syncd.adapters.embedded.store import FILE_NAME as STORE_FILE
from syncd.domain.errors import Conflict, NotFound, StoreUnusable

BLOBS = "blobs"
_PAGES = 4096
#: Times that the database is copied anew because the keys were rotated meanwhile.
_TRIES = 3
Progress = Callable[[int, int], None]
"""Pages done, pages in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What was copied. Sizes in bytes."""

    store_bytes: int
    blobs: int
    key: bool
    """Whether the key file is in it: then whoever holds the copy can read the secrets in it."""


def back_up(directory: Path, target: Path, *, progress: Progress = lambda done, total: None) -> Backup:
    """Copy `directory` to `target`, which appears only when it is complete and durable.

    Raises NotFound where there is no store, Conflict where `target` exists, StoreUnusable where the store is damaged or either
    place cannot be used.
    """
    if not (directory / STORE_FILE).is_file():
        raise NotFound(f"there is no store in {directory}")
    if target.exists():
        raise Conflict(f"{target} exists already: name a place that does not")
    partial = target.with_name(f"{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700, parents=True)
        blobs = _copy_new(directory / BLOBS, partial / BLOBS)
        key = _copy_store(directory, partial, progress)
        blobs += _copy_new(directory / BLOBS, partial / BLOBS)
        size = (partial / STORE_FILE).stat().st_size
        for path in (*partial.rglob("*"), partial):
            _sync(path)
        partial.replace(target)
        _sync(target.parent)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise StoreUnusable(f"the backup cannot be written: {error.strerror} ({error.filename or target})") from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Backup(store_bytes=size, blobs=blobs, key=key)


def _copy_store(directory: Path, target: Path, progress: Progress) -> bool:
    for _ in range(_TRIES):
        before = _keys(directory)
        _copy_database(directory / STORE_FILE, target / STORE_FILE, progress)
        if _keys(directory) == before:
            break
    else:
        raise StoreUnusable(f"the keys in {directory} are being rotated: make the backup when that is done")
    if before is None:
        return False
    descriptor = os.open(target / KEY_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(before)
    return True


def _keys(directory: Path) -> bytes | None:
    try:
        return (directory / KEY_FILE).read_bytes()
    except FileNotFoundError:
        return None


def _copy_database(source: Path, target: Path, progress: Progress) -> None:
    target.unlink(missing_ok=True)
    reader: sqlite3.Connection | None = None
    writer: sqlite3.Connection | None = None
    try:
        reader = connect_read_only(source)
        writer = sqlite3.connect(target)
        reader.execute("BEGIN")
        reader.execute("SELECT 1 FROM sqlite_master").fetchone()  # only a read makes the transaction begin
        reader.backup(writer, pages=_PAGES, progress=lambda _, left, total: progress(total - left, total))
        verdict = writer.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise mapped(error, source) from error
    finally:
        for connection in (reader, writer):
            if connection is not None:
                connection.close()
    if verdict != "ok":
        raise StoreUnusable(f"{source} is damaged ({verdict}); nothing was changed, and no backup was made of it")
    target.chmod(0o600)


def _copy_new(source: Path, target: Path) -> int:
    """Copy the files that `target` has not; how many. One that goes meanwhile is no longer needed by anything."""
    copied = 0
    for folder, folders, files in os.walk(source):
        folders[:] = [name for name in folders if not name.startswith("%")]  # what is still being written
        inside = target / Path(folder).relative_to(source)
        inside.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in files:
            if (inside / name).exists():
                continue
            try:
                shutil.copyfile(Path(folder) / name, inside / name)
            except FileNotFoundError:
                (inside / name).unlink(missing_ok=True)
                continue
            (inside / name).chmod(0o600)
            copied += 1
    return copied


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
