"""Opening the SQLite file safely, and keeping its write-ahead log short."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from syncd.adapters.embedded.faults import mapped
from syncd.domain.errors import StoreUnusable

#: Marks our files, so that nobody's database is taken for one (PRAGMA application_id; "sync").
APPLICATION_ID = 0x73796E63
#: Version of the tables (PRAGMA user_version). Documents have versions of their own.
TABLES_VERSION = 1
#: RETURNING needs 3.35 (2021).
OLDEST_SQLITE = (3, 35, 0)
#: Seconds from a commit to the checkpoint that follows it.
CHECKPOINT_INTERVAL = 1.0
#: Commits between two looks at the size of the log.
LOOK_AT_LOG = 64
#: Pages (4 KiB) in the log after which the writer itself empties it.
RESTART_PAGES = 64_000


def connect(path: Path, prepare: Callable[[sqlite3.Connection], None], *, durable: bool) -> sqlite3.Connection:
    """The writer's connection, with the schema in place. Raises StoreUnusable and changes nothing where the file is not ours,
    damaged, or newer than this release."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreUnusable(f"SQLite {sqlite3.sqlite_version} is too old: syncd needs 3.35 or newer")
    existed = path.exists() and path.stat().st_size > 0
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=512, timeout=5.0
        )
        if existed:
            _refuse_foreign(connection, path)
        _make_private(path)
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("PRAGMA cache_size=-32768")
        connection.execute("BEGIN IMMEDIATE")
        prepare(connection)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={TABLES_VERSION}")
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise mapped(error, path) from error
    except BaseException:
        if connection is not None:
            connection.close()
        raise
    return connection


def _make_private(path: Path) -> None:
    """For its owner alone, before anything is in it. SQLite gives the files beside it (log, shared memory) the rights of this one;
    what a release before left there is put right."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)
    for beside in (path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with contextlib.suppress(FileNotFoundError):
            beside.chmod(0o600)


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        raise StoreUnusable(f"{path} is a SQLite database of another program: choose another daemon.data_dir")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > TABLES_VERSION:
        raise StoreUnusable(
            f"{path} was written by a newer release (tables version {version}, this release knows {TABLES_VERSION}): "
            "run that release, or restore a backup made by this one"
        )


def connect_read_only(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    connection.execute("PRAGMA query_only=ON")
    connection.execute("PRAGMA cache_size=-8192")
    return connection


def quick_check(path: Path) -> str:
    """What SQLite says of the file's structure: `ok`, or the first fault. Raises StoreUnusable, Unavailable."""
    try:
        connection = connect_read_only(path)
        try:
            return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise mapped(error, path) from error


class Checkpointer:
    """Copies the log into the file on its own thread (PASSIVE: never in anybody's way), at most once a second.

    Under constant load a passive checkpoint may never find the end of the log; past RESTART_PAGES the writer lets it start over.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._path = path
        self._durable = durable
        self._log = path.with_name(path.name + "-wal")
        self._wake = threading.Semaphore(0)
        self._closing = threading.Event()
        self._due = False
        self._commits = 0
        self._thread = threading.Thread(target=self._run, name="sqlite-checkpointer", daemon=True)
        self._thread.start()

    def written(self, connection: sqlite3.Connection) -> None:
        """Called by the writer after each commit."""
        if not self._due:
            self._due = True
            self._wake.release()
        self._commits += 1
        if self._commits % LOOK_AT_LOG:
            return
        with contextlib.suppress(FileNotFoundError):
            if self._log.stat().st_size > RESTART_PAGES * 4096:
                with contextlib.suppress(sqlite3.Error):  # a reader in the way: the next commit tries again
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def join(self) -> None:
        self._closing.set()
        self._wake.release()
        self._thread.join()

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=5.0)
        if not self._durable:
            connection.execute("PRAGMA synchronous=OFF")
        while True:
            self._wake.acquire()
            if self._closing.wait(CHECKPOINT_INTERVAL):
                # Everybody else has closed. An orderly stop leaves one file, which may be copied as it is.
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                connection.close()
                return
            self._due = False
            with contextlib.suppress(sqlite3.Error):  # a full disk shows at the writer, where it can be answered
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
