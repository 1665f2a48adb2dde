"""Libraries that stand between a process and the kernel; see fsync_gate.c."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("fsync_gate.c")


def built(source: Path, scratch: Path) -> Path:
    """The library made from `source`, in `scratch`. Skips the test where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip(f"no C compiler: the shim {source.name} cannot be built")
    scratch.mkdir(parents=True, exist_ok=True)
    library = scratch / f"{source.stem}.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source, "-ldl", "-lpthread"],
        check=True,
    )
    return library


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one sync. `at` is on the clock of `time.monotonic_ns()`."""

    at: int
    pid: int
    step: str
    """`begin`, then `end`, `failed`, or (held up for too long) `expired` and `end`."""
    call: str
    path: Path


class FsyncGate:
    """Watches, holds up and fails the syncs below `root` of every process started with `environment`."""

    def __init__(self, scratch: Path, *, root: Path, limit: float = 30.0) -> None:
        """`scratch`: a directory of the test, outside of `root`. `limit`: seconds that a sync is held up at most.

        Skips the test where there is no C compiler.
        """
        library = built(SOURCE, scratch)
        self._log = scratch / "fsync.log"
        self._shut = scratch / "fsync.shut"
        self._full = scratch / "disk.full"
        self.environment = {
            "LD_PRELOAD": str(library),
            "FSYNC_GATE_ROOT": str(root.resolve()),
            "FSYNC_GATE_LOG": str(self._log),
            "FSYNC_GATE_SHUT": str(self._shut),
            "FSYNC_GATE_FULL": str(self._full),
            "FSYNC_GATE_LIMIT_MS": str(round(limit * 1000)),
        }

    @contextmanager
    def shut(self) -> Iterator[None]:
        """No sync that begins in here ends before this does."""
        self._shut.touch()
        try:
            yield
        finally:
            self._shut.unlink()

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Every write and every sync in here fails with ENOSPC."""
        self._full.touch()
        try:
            yield
        finally:
            self._full.unlink()

    def steps(self) -> list[Step]:
        """All so far, oldest first. A line that is just being written is left out."""
        text = self._log.read_text() if self._log.exists() else ""
        found = []
        for line in text.splitlines(keepends=True):
            if line.endswith("\n"):
                at, pid, step, call, path = line.rstrip("\n").split(" ", 4)
                found.append(Step(int(at), int(pid), step, call, Path(path)))
        return found

    def counts(self) -> Counter[str]:
        """Finished syncs by the ending of the file's name: `.db-wal` for SQLite's log, "" for a directory."""
        return Counter(step.path.suffix for step in self.steps() if step.step == "end")

    def waiting(self) -> list[Step]:
        """Syncs that have begun and not ended."""
        begun: list[Step] = []
        for step in self.steps():
            if step.step == "begin":
                begun.append(step)
            elif step.step in {"end", "failed"}:
                same = (step.pid, step.call, step.path)
                begun.remove(next(one for one in begun if (one.pid, one.call, one.path) == same))
        return begun
