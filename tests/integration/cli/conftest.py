"""The fixtures `world` and `syncd`: see kit.py."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.cli.main import main
from syncd.runtime.lock import DataDirectory
from tests.integration.cli.kit import Result, Syncd
from tests.integration.http.world import ADMIN, World, opened


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The daemon's side: its data directory is locked, and the lock says where it answers."""
    directory = DataDirectory(tmp_path, boot="test", now=lambda: 1_700_000_000.0)
    await asyncio.to_thread(directory.acquire)
    async with opened(tmp_path) as world:
        await asyncio.to_thread(directory.announce, world.address)
        yield world
    await asyncio.to_thread(directory.release)


@pytest.fixture
def syncd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Syncd:
    """The command line on a thread of this process, while the server goes on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNCD_DAEMON__DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SYNCD_HTTP__ADMIN_TOKEN", ADMIN)

    async def call(*arguments: str, stdin: str = "") -> Result:
        capsys.readouterr()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = await asyncio.to_thread(main, arguments)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call
