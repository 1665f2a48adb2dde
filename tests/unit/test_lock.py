"""The data directory belongs to one process."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.domain.errors import StoreUnusable
from syncd.runtime import lock
from syncd.runtime.lock import DataDirectory, InUse

NOW = 1_700_000_000.5

#: Holds the directory named by its argument and says so, until its standard input ends.
HOLD = """
import sys
from pathlib import Path
from syncd.runtime.lock import DataDirectory
with DataDirectory(Path(sys.argv[1]), boot="boot-of-the-first", now=lambda: 1_700_000_000.0):
    print("held", flush=True)
    sys.stdin.read()
"""


def directory(path: Path) -> DataDirectory:
    return DataDirectory(path, boot="boot-1", now=lambda: NOW)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "data")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def closed_path() -> Iterator[Path]:
    """A directory that we may enter and not write: root becomes nobody for the length of the test, as root may write anywhere."""
    with tempfile.TemporaryDirectory() as made:
        path = Path(made)
        path.chmod(0o555)
        before = os.geteuid()
        os.seteuid(before or 65534)
        yield path
        if before == 0:
            os.seteuid(0)
        path.chmod(0o755)


def test_a_command_that_is_about_to_end_is_waited_for(tmp_path: Path) -> None:
    code = HOLD.replace("lambda: 1_700_000_000.0", "lambda: 1_700_000_000.0, brief=True")
    arguments = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "held\n"
        with pytest.raises(InUse):  # without patience, or when it is over, it counts like any other
            directory(tmp_path).acquire()
        with pytest.raises(InUse):
            DataDirectory(tmp_path, boot="b", now=lambda: NOW, patience=0.01).acquire()
        refused = threading.Event()

        def let_go() -> None:
            refused.wait()
            assert command.stdin is not None
            command.stdin.close()

        class Waiting(DataDirectory):
            def _lock(self) -> int:
                try:
                    return super()._lock()
                except InUse:
                    refused.set()  # only now is it let go: it was waited for
                    raise

        thread = threading.Thread(target=let_go)
        thread.start()
        with Waiting(tmp_path, boot="b", now=lambda: NOW, patience=60.0):
            assert refused.is_set()
        thread.join()


def test_a_daemon_is_never_waited_for(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    began = time.monotonic()
    with pytest.raises(InUse, match=f"process {holder.pid}"):
        DataDirectory(tmp_path / "data", boot="b", now=lambda: NOW, patience=60.0).acquire()
    assert time.monotonic() - began < 30


def test_the_directory_is_made_for_its_owner_alone_and_names_the_process(tmp_path: Path) -> None:
    path = tmp_path / "var" / "lib" / "syncd"
    with directory(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE((path / "syncd.lock").stat().st_mode) == 0o600
        assert (path / "syncd.pid").read_text() == f"{os.getpid()}\n"
        assert stat.S_IMODE((path / "syncd.pid").stat().st_mode) == 0o600
        described = json.loads((path / "syncd.lock").read_text())
        assert described["pid"] == os.getpid()
        assert described["boot"] == "boot-1"
        assert described["since"] == "2023-11-14T22:13:20.500Z"
        assert Path(described["command"].split()[0]).name.startswith(("python", "pytest"))


def test_release_removes_the_pid_file_and_lets_the_next_one_in(tmp_path: Path) -> None:
    first = directory(tmp_path)
    first.acquire()
    first.release()
    first.release()
    assert not (tmp_path / "syncd.pid").exists()
    with directory(tmp_path):
        pass


def test_a_second_process_is_refused_and_told_who_has_it(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    before = {entry.name: entry.read_bytes() for entry in (tmp_path / "data").iterdir()}
    with pytest.raises(InUse) as refused:
        directory(tmp_path / "data").acquire()
    assert f"process {holder.pid} since 2023-11-14T22:13:20.000Z" in str(refused.value)
    assert "-c" in str(refused.value), "the command line"
    assert refused.value.holder is not None
    assert refused.value.holder.boot == "boot-of-the-first"
    assert {entry.name: entry.read_bytes() for entry in (tmp_path / "data").iterdir()} == before


def test_what_a_killed_process_leaves_behind_is_harmless(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    path = tmp_path / "data"
    assert (path / "syncd.pid").read_text() == f"{holder.pid}\n"
    with directory(path):
        assert (path / "syncd.pid").read_text() == f"{os.getpid()}\n"


def test_two_in_one_process_are_refused_too(tmp_path: Path) -> None:
    with directory(tmp_path), pytest.raises(InUse, match=f"process {os.getpid()} "):
        directory(tmp_path).acquire()


def test_the_address_is_told_to_whoever_finds_the_directory_in_use(tmp_path: Path) -> None:
    with directory(tmp_path) as first:
        first.announce("http://127.0.0.1:8080")
        with pytest.raises(InUse) as refused:
            directory(tmp_path).acquire()
    assert refused.value.holder is not None
    assert refused.value.holder.address == "http://127.0.0.1:8080"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"surprise": true}'])
def test_an_unreadable_description_still_refuses(tmp_path: Path, text: str) -> None:
    with directory(tmp_path):
        (tmp_path / "syncd.lock").write_text(text)
        with pytest.raises(InUse, match="only just started") as refused:
            directory(tmp_path).acquire()
    assert refused.value.holder is None


def test_a_lock_on_a_removed_file_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fcntl.flock
    removed = []

    def remove_first(descriptor: int, operation: int) -> None:
        if not removed:
            removed.append((tmp_path / "syncd.lock").unlink())
        real(descriptor, operation)

    monkeypatch.setattr(lock.fcntl, "flock", remove_first)
    with directory(tmp_path), pytest.raises(InUse):
        directory(tmp_path).acquire()


def test_another_process_id_in_the_pid_file_is_left_alone(tmp_path: Path) -> None:
    with directory(tmp_path):
        (tmp_path / "syncd.pid").write_text("1\n")
    assert (tmp_path / "syncd.pid").read_text() == "1\n"


@pytest.mark.parametrize("inside", ["", "deeper/still"])
def test_a_file_in_the_way_is_named(tmp_path: Path, inside: str) -> None:
    (tmp_path / "data").write_text("mine")
    with pytest.raises(StoreUnusable, match=f"{tmp_path}/data is not a directory: move it away"):
        directory(tmp_path / "data" / inside).acquire()
    assert (tmp_path / "data").read_text() == "mine"


def test_a_directory_that_we_may_not_make_comes_with_the_command(closed_path: Path) -> None:
    with pytest.raises(StoreUnusable, match=r"install -d -m 0700 -o \S+ .*/data`.*SYNCD_DAEMON__DATA_DIR"):
        directory(closed_path / "data").acquire()


def test_a_directory_that_we_may_not_write_comes_with_the_command(closed_path: Path) -> None:
    with pytest.raises(StoreUnusable, match=r"may not write it: as root, run `install -d"):
        directory(closed_path).acquire()
    assert list(closed_path.iterdir()) == []


def test_a_planted_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("keep me")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "syncd.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(StoreUnusable, match="is a symbolic link: remove it"):
        directory(tmp_path / "data").acquire()
    assert (tmp_path / "precious").read_text() == "keep me"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOLCK, "keeps no locks .*use a local disk"),
        (errno.EOPNOTSUPP, "keeps no locks .*use a local disk"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_file_system_without_locks_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: str
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with pytest.raises(StoreUnusable, match=expected):
        directory(tmp_path).acquire()
    assert not (tmp_path / "syncd.pid").exists()


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.EROFS, "read-only file system: mount"), (errno.ENOSPC, "the disk is full")]
)
def test_a_disk_that_takes_nothing_is_refused_and_not_left_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: str
) -> None:
    def refuse(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(lock.os, "pwrite", refuse)
        with pytest.raises(StoreUnusable, match=expected):
            directory(tmp_path).acquire()
    with directory(tmp_path):
        pass


def test_a_user_without_a_name_is_named_by_number(closed_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become a user without a name")
    os.seteuid(0)
    os.seteuid(54321)
    with pytest.raises(StoreUnusable, match="uid 54321 may not write it"):
        directory(closed_path / "data").acquire()
