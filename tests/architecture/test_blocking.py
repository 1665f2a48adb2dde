"""The detector of blocking calls detects them in syncd's code, and only there."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from blockbuster import BlockingError

from syncd.runtime.lock import DataDirectory


async def test_a_blocking_call_of_our_code_on_the_loop_fails(tmp_path: Path) -> None:
    with pytest.raises(BlockingError):
        DataDirectory(tmp_path / "data", boot="b", now=time.time).acquire()


async def test_the_same_call_in_a_thread_is_right(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data", boot="b", now=time.time)
    await asyncio.to_thread(directory.acquire)
    await asyncio.to_thread(directory.release)


async def test_a_blocking_call_of_a_test_itself_is_its_own_business(tmp_path: Path) -> None:
    assert list(tmp_path.iterdir()) == []


@pytest.mark.may_block
async def test_a_test_about_blocking_may_block(tmp_path: Path) -> None:
    with DataDirectory(tmp_path / "data", boot="b", now=time.time):
        pass
