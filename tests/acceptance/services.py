"""The services behind the daemons of a test: none, or doubles of Azure's, a set of their own for each data directory.

A test asks for nothing: `make test` runs it on the embedded backend, and on Azure too where it is marked `both`; with
`--backend azure` all run there but those marked `embedded`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.wire.azurite import Unavailable, installed

_shared: dict[Path, Path] = {}
_running: dict[Path, tuple[subprocess.Popen[str], dict[str, str]]] = {}
_backend = "embedded"
#: How many times longer a test may take where each step of it is several requests between four processes.
LONGER_ON_SERVICES = 3.0


#: Of a daemon that has a disk that lasts, but is the only one: it spools, and limits need no service.
ALONE = {
    "SYNCD_DAEMON__DATA_DIR_DURABLE": "true",
    "SYNCD_DAEMON__LAME_DUCK": "0s",
    "SYNCD_LIMITS__MAX_REPLICAS": "1",
}


def patience() -> float:
    """By which the time is multiplied that a test gives a daemon."""
    return 1.0 if _backend == "embedded" else LONGER_ON_SERVICES


def share(first: Path, *others: Path) -> None:
    """Daemons on these data directories are replicas of one deployment."""
    _shared.update(dict.fromkeys(others, first))


def services_of(data_dir: Path, *, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment that leads a daemon to them; they are started for the first one that asks, with `environment` (a shim's: a
    clock that is set forward is theirs, too)."""
    if _backend == "embedded":
        return {}
    data_dir = _shared.get(data_dir, data_dir)
    if data_dir not in _running:
        try:
            installed()
        except Unavailable as error:
            pytest.skip(f"no Blob Storage here: {error}")
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.wire", "stack", "--json"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")},
                **(environment or {}),
            },
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the doubles did not start"
        _running[data_dir] = process, json.loads(line)
    # No load balancer has to notice that a daemon stops.
    return {**_running[data_dir][1], "SYNCD_DAEMON__LAME_DUCK": "0"}


@contextmanager
def on(backend: str) -> Iterator[None]:
    """Daemons that are made meanwhile run on `backend`."""
    global _backend
    _backend = backend
    try:
        yield
    finally:
        _backend = "embedded"


@contextmanager
def ending() -> Iterator[None]:
    """The services that are started meanwhile end with it."""
    before = set(_running)
    try:
        yield
    finally:
        ended = [_running.pop(data_dir) for data_dir in set(_running) - before]
        for process, _ in ended:
            process.terminate()
        for process, _ in ended:
            process.communicate(timeout=60)
        if not _running:
            _shared.clear()
