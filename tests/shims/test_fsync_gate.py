"""The shim does what the tests that use it rely on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.shims import FsyncGate

#: Commits one row for each line of standard input and answers with a line.
WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE IF NOT EXISTS t (x)")
print("ready", flush=True)
for line in sys.stdin:
    try:
        connection.execute("INSERT INTO t VALUES (?)", (line,))
        print("stored", flush=True)
    except sqlite3.OperationalError as error:
        print(error, flush=True)
"""


def eventually(check: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not check():
        assert time.monotonic() < deadline, "it did not come to pass within 20 s"
        time.sleep(0.005)  # another process's system call gives us no signal


class Writer:
    def __init__(self, gate: FsyncGate, database: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITER, database],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **gate.environment},
        )
        assert self.answer() == "ready"

    def ask(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("x\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def answered(self) -> bool:
        """Is there an answer to read? Only asked while none was read ahead."""
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        try:
            return os.read(self._process.stdout.fileno(), 1) != b""
        except BlockingIOError:
            return False
        finally:
            os.set_blocking(self._process.stdout.fileno(), True)

    def close(self) -> None:
        with self._process:
            self._process.kill()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    return made


def test_an_answer_waits_for_the_sync_that_is_held_up(tmp_path: Path, root: Path) -> None:
    gate = FsyncGate(tmp_path / "gate", root=root)
    writer = Writer(gate, root / "x.db")
    try:
        before = gate.counts()[".db-wal"]
        with gate.shut():
            writer.ask()
            eventually(gate.waiting)
            assert [step.path.name for step in gate.waiting()] == ["x.db-wal"]
            assert not writer.answered()
            opened = time.monotonic_ns()
        assert writer.answer() == "stored"
        assert gate.counts()[".db-wal"] == before + 1
        assert gate.steps()[-1].step == "end"
        assert opened < gate.steps()[-1].at < time.monotonic_ns()
    finally:
        writer.close()


def test_a_sync_is_not_held_up_for_ever(tmp_path: Path, root: Path) -> None:
    gate = FsyncGate(tmp_path / "gate", root=root, limit=0.05)
    writer = Writer(gate, root / "x.db")
    try:
        with gate.shut():
            writer.ask()
            assert writer.answer() == "stored"
        assert "expired" in [step.step for step in gate.steps()], "and the log tells that the test was too slow"
    finally:
        writer.close()


def test_a_full_disk_refuses_and_room_lets_work_go_on(tmp_path: Path, root: Path) -> None:
    gate = FsyncGate(tmp_path / "gate", root=root)
    writer = Writer(gate, root / "x.db")
    try:
        with gate.full_disk():
            writer.ask()
            assert "full" in writer.answer()
        writer.ask()
        assert writer.answer() == "stored"
    finally:
        writer.close()


def test_files_elsewhere_are_left_alone(tmp_path: Path, root: Path) -> None:
    gate = FsyncGate(tmp_path / "gate", root=root)
    (tmp_path / "data-of-others").mkdir()
    with gate.full_disk(), gate.shut():
        writer = Writer(gate, tmp_path / "data-of-others" / "x.db")
        writer.ask()
        assert writer.answer() == "stored"
        writer.close()
    assert gate.steps() == []


def test_other_syncs_and_writes_are_seen_too(tmp_path: Path, root: Path) -> None:
    gate = FsyncGate(tmp_path / "gate", root=root)
    program = """
import os, sys
root, full = sys.argv[1:]
directory = os.open(root, os.O_RDONLY)
os.fsync(directory)
file = os.open(root + "/file.spool", os.O_RDWR | os.O_CREAT)
os.write(file, b"x")
os.fdatasync(file)
open(full, "w").close()
calls = {
    "write": lambda: os.write(file, b"x"),
    "pwrite": lambda: os.pwrite(file, b"x", 0),
    "writev": lambda: os.writev(file, [b"x"]),
    "pwritev": lambda: os.pwritev(file, [b"x"], 0),
    "posix_fallocate": lambda: os.posix_fallocate(file, 0, 4096),
    "fsync": lambda: os.fsync(file),
    "fdatasync": lambda: os.fdatasync(file),
}
for name, call in calls.items():
    try:
        call()
    except OSError as error:
        print(name, error.errno)
print("said", flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, root, gate.environment["FSYNC_GATE_FULL"]],
        env={**os.environ, **gate.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    refused = [line.split()[0] for line in done.stdout.splitlines() if line.endswith(" 28")]
    assert refused == ["write", "pwrite", "writev", "pwritev", "posix_fallocate", "fsync", "fdatasync"]
    assert done.stdout.endswith("said\n"), "what goes to pipes and terminals is no file below the root"
    assert gate.counts() == {"": 1, ".spool": 1}
    assert [step.step for step in gate.steps()][-4:] == ["begin", "failed", "begin", "failed"]
