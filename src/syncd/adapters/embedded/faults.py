"""What SQLite's errors mean to us: one table, by result code (https://www.sqlite.org/rescode.html)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from syncd.domain.errors import Overloaded, StoreUnusable, SyncdError, Unavailable

#: Seconds after which a full or failing disk is tried again.
DISK_RETRY = 2.0

_PRIMARY_CODE = 0xFF  # extended result codes carry the primary one in their low byte


def mapped(error: sqlite3.Error, path: Path) -> SyncdError:
    """The error to raise instead, chosen by primary result code, with what the operator can do."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
    match code:
        case sqlite3.SQLITE_FULL:
            # Refused for now, not failed: work that meets it waits without burning an attempt.
            return Overloaded(f"the disk that holds {path} is full: free space on it", retry_after=DISK_RETRY)
        case sqlite3.SQLITE_IOERR:
            return Unavailable(f"the disk that holds {path} answers with errors ({error})", retry_after=DISK_RETRY)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Overloaded(f"{path} is locked by another program ({error})", retry_after=DISK_RETRY)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return StoreUnusable(f"{path} cannot be written ({error}): check owner and mode of it and of its directory")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreUnusable(
                f"{path} is damaged or not a SQLite database ({error}). Nothing was changed. "
                "Stop syncd, keep the file aside and put a backup (syncd backup) in its place"
            )
        case _:
            return StoreUnusable(f"{path}: unexpected SQLite error: {type(error).__name__}: {error}")
