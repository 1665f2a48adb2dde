"""One daemon per data directory: the lock and the process id file.

The lock is an flock(2) on `syncd.lock`, which the kernel gives back however the process ends; the text inside only says who holds
it, and `syncd.pid` is for scripts. Neither text is ever trusted to decide, so what a crash leaves behind does no harm. The lock
file is never removed: a process that holds the lock of a removed file would not be seen by the next one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pwd
import shlex
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from syncd.domain.errors import StoreUnusable
from syncd.domain.times import iso

LOCK_FILE = "syncd.lock"
PID_FILE = "syncd.pid"
#: What flock(2) answers on file systems without working locks; NFS without its lock service says ENOLCK.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
#: Seconds between two looks at a lock that is about to be given back.
_LOOK = 0.05
#: Bytes of the lock file that are read; our own text is far shorter.
_MOST = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that holds a data directory, as it describes itself."""

    pid: int
    boot: str
    """The boot of that daemon, as in the names of its leases."""
    since: str
    """ISO 8601 UTC."""
    command: str
    address: str | None = None
    """Where its HTTP interface answers, once it does: the command line speaks to it there."""
    brief: bool = False
    """One call of the command line, which gives the directory back when it is answered."""

    def __str__(self) -> str:
        return f"process {self.pid} since {self.since}: {self.command}"


class InUse(StoreUnusable):
    """Another process holds the data directory. `holder` is None in the moment before it has written its name."""

    def __init__(self, path: Path, holder: Holder | None) -> None:
        by = f"by {holder}" if holder else "by a process that has only just started"
        super().__init__(
            f"the data directory {path} is in use {by}. One data directory belongs to one daemon:"
            " stop that one first, or set daemon.data_dir (SYNCD_DAEMON__DATA_DIR) to another directory"
        )
        self.holder = holder


class DataDirectory:
    """Takes `path` for this process until `release`, as a context manager or by hand.

    Blocking (a few system calls): call it before the event loop, or in a thread.
    """

    def __init__(
        self, path: Path, *, boot: str, now: Callable[[], float], brief: bool = False, patience: float = 0.0
    ) -> None:
        """`now`: Unix seconds, only shown to people. `brief`: as in Holder. `patience`: seconds for which `acquire` waits for a
        holder that is brief, or that has not said yet what it is; never for a daemon."""
        self.path = path
        self._boot = boot
        self._now = now
        self._brief = brief
        self._patience = patience
        self._descriptor: int | None = None
        self._holder: Holder | None = None

    def acquire(self) -> None:
        """Create the directory (0700) where it is missing, take the lock, write the process id.

        Raises InUse where another process has it (and, if that one is brief, keeps it beyond `patience`), and StoreUnusable, with what to do about it, where it cannot be used at all.
        Nothing in it is changed then.
        """
        _make(self.path)
        descriptor = self._lock_with_patience()
        try:
            self._descriptor = descriptor
            self._describe(
                Holder(
                    pid=os.getpid(),
                    boot=self._boot,
                    since=iso(self._now()),
                    command=shlex.join(sys.orig_argv),
                    brief=self._brief,
                )
            )
            self._write_pid()
        except OSError as error:
            self._descriptor = None
            os.close(descriptor)
            raise _unusable(self.path, error) from error

    def announce(self, address: str) -> None:
        """Say where the HTTP interface answers. Raises OSError where the disk is full; nothing depends on it."""
        if self._holder is not None:
            self._describe(replace(self._holder, address=address))

    def release(self) -> None:
        """Give it back. Harmless when repeated, or without `acquire`."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor, self._holder = self._descriptor, None, None
        with contextlib.suppress(OSError):
            if self._pid_path.read_text().strip() == str(os.getpid()):
                self._pid_path.unlink()
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
        os.close(descriptor)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def _pid_path(self) -> Path:
        return self.path / PID_FILE

    def _lock_with_patience(self) -> int:
        deadline, never = time.monotonic() + self._patience, threading.Event()
        while True:
            try:
                return self._lock()
            except InUse as error:
                passing = error.holder is None or error.holder.brief
                if not passing or time.monotonic() >= deadline:
                    raise
            # flock(2) tells nobody when a lock is given back, and waiting inside it knows no time limit.
            never.wait(_LOOK)

    def _lock(self) -> int:
        lock = self.path / LOCK_FILE
        while True:
            try:
                descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except OSError as error:
                raise _unusable(self.path, error) from error
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), lock.stat()):
                    return descriptor
                os.close(descriptor)  # somebody removed the file between the two calls: this lock protects nothing
            except BlockingIOError:
                holder = _read_holder(descriptor)
                os.close(descriptor)
                raise InUse(self.path, holder) from None
            except FileNotFoundError:
                os.close(descriptor)
            except OSError as error:
                os.close(descriptor)
                raise _unusable(self.path, error) from error

    def _describe(self, holder: Holder) -> None:
        assert self._descriptor is not None
        text = json.dumps(asdict(holder)).encode() + b"\n"
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)
        self._holder = holder

    def _write_pid(self) -> None:
        new = self.path / f"{PID_FILE}.new"
        new.unlink(missing_ok=True)  # a crash may have left one, with whatever rights
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(f"{os.getpid()}\n")
        new.replace(self._pid_path)


def _read_holder(descriptor: int) -> Holder | None:
    try:
        return Holder(**json.loads(os.pread(descriptor, _MOST, 0)))
    except (ValueError, TypeError):
        return None


def _make(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: OSError) -> StoreUnusable:
    """One sentence on what is wrong, one on the exact fix."""
    user = _user()
    fix = f"or set daemon.data_dir (SYNCD_DAEMON__DATA_DIR) to a directory that {user} may write"
    why = os.strerror(error.errno) if error.errno else str(error)
    match error.errno:
        case errno.ENOTDIR | errno.EEXIST:
            text = f"{_obstacle(path)} is not a directory: move it away, {fix}"
        case errno.EACCES | errno.EPERM:
            command = f"install -d -m 0700 -o {user} {shlex.quote(str(path))}"
            text = f"{user} may not write it: as root, run `{command}` and hand over what is in it (chown -R), {fix}"
        case errno.EROFS:
            text = f"it is on a read-only file system: mount a writable volume there, {fix}"
        case errno.ENOSPC | errno.EDQUOT:
            text = f"the disk is full ({why}): make room, {fix}"
        case errno.ELOOP:
            text = f"{path / LOCK_FILE} is a symbolic link: remove it, {fix}"
        case number if number in _NO_LOCKS:
            text = f"its file system keeps no locks ({why}), as some network file systems: use a local disk, {fix}"
        case _:
            text = f"{why} ({error.filename or path}): repair that, {fix}"
    return StoreUnusable(f"the data directory {path} cannot be used: {text}")


def _obstacle(path: Path) -> Path:
    """The first part of the path that is there and is no directory."""
    for part in (*reversed(path.parents), path):
        if os.path.lexists(part) and not part.is_dir():
            return part
    return path


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user need not have a name
        return f"uid {os.geteuid()}"
