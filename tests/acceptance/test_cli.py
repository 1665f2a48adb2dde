"""The command line as processes beside the real daemon: what an operator does in a day, and at 3 a.m."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.process import Daemon, eventually

pytestmark = pytest.mark.slow


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "data") as daemon:
        yield daemon


async def cli(daemon: Daemon, *arguments: str) -> str:
    """Standard output of a command that must succeed."""
    code, out, err = await daemon.cli(*arguments)
    assert code == 0, err
    return out


async def found(daemon: Daemon, *arguments: str) -> Any:
    return json.loads(await cli(daemon, *arguments, "--output", "json"))


async def parked(daemon: Daemon, count: int) -> list[Any]:
    """That many authentic events that say nothing we can read."""
    registration = await daemon.register_github()
    for number in range(count):
        (await daemon.post_webhook(registration, {"nonsense": number})).ok()

    async def all_of_them() -> bool:
        return len(await found(daemon, "queues", "parked", "sync-outbound", "--limit", "0")) == count

    await eventually(all_of_them, what=f"{count} parked messages")
    items: list[Any] = await found(daemon, "queues", "parked", "sync-outbound", "--limit", "0")
    return items


async def test_the_daemon_is_asked_while_it_runs_and_the_store_is_opened_when_it_was_killed(daemon: Daemon) -> None:
    code, out, err = await daemon.cli("status")
    assert (code, "ready" in out) == (0, True), err
    assert err == f"speaking to the daemon at {daemon.url} (process {daemon.pid})\n"
    secret = (await found(daemon, "webhooks", "register", "reg-1", "--tenant", "t", "--integration", "github"))[
        "secret"
    ]
    await daemon.kill9()
    code, out, err = await daemon.cli("webhooks", "list", "--output", "json")
    assert code == 0, err
    assert err == f"no daemon runs: opened {daemon.data_dir} myself\n"
    assert [one["id"] for one in json.loads(out)] == ["reg-1"]
    await cli(daemon, "connections", "add", "conn-1", "--tenant", "t", "--integration", "github")
    assert (await daemon.cli("status"))[0] == 1
    await daemon.start()
    assert [one["id"] for one in await found(daemon, "connections", "list")] == ["conn-1"]
    assert secret not in daemon.log


async def test_commands_at_once_without_a_daemon_wait_for_each_other(daemon: Daemon) -> None:
    await daemon.terminate()
    add = ("connections", "add", "--tenant", "t", "--integration", "github")
    answers = await asyncio.gather(*(daemon.cli(*add, f"conn-{number}") for number in range(4)))
    assert [code for code, _, _ in answers] == [0] * 4, answers
    assert len(await found(daemon, "connections", "list")) == 4


async def test_the_token_that_the_daemon_made_for_itself_is_found(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "data")
    del daemon.environment["SYNCD_HTTP__ADMIN_TOKEN"]
    async with daemon:
        await cli(daemon, "jobs", "list")


async def test_what_was_parked_is_mended_replayed_and_dropped(daemon: Daemon) -> None:
    items = await parked(daemon, 5)
    assert {one["bin"] for one in items} == {"not_understood"}
    first, second = items[0]["id"], items[1]["id"]
    mended = daemon.data_dir.with_name("mended.json")
    issue = {"id": 6, "number": 8, "title": "mended", "updated_at": "2026-01-01T00:00:00Z"}
    mended.write_text(json.dumps({"action": "opened", "issue": issue, "repository": {"id": 99, "full_name": "o/r"}}))
    await cli(daemon, "queues", "edit", first, "--body", str(mended))
    assert await cli(daemon, "queues", "replay", "sync-outbound", first) == "1 replayed\n"
    await daemon.drained("sync-outbound")
    [entity] = await found(daemon, "entities", "list", "issue", "--tenant", "tenant-1")
    assert entity["externalIds"] == {"conn-github": "99#8"}
    await cli(daemon, "queues", "drop", second, "--yes")
    assert await cli(daemon, "queues", "replay", "sync-outbound", "--all") == "3 replayed\n"
    await daemon.drained("sync-outbound")
    left = await found(daemon, "queues", "parked", "sync-outbound")
    assert len(left) == 3
    assert not {one["id"] for one in left} & {one["id"] for one in items}


async def test_a_bulk_replay_shows_a_bar_at_a_terminal(daemon: Daemon) -> None:
    await parked(daemon, 4)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "syncd", "queues", "replay", "sync-outbound", "--all", "--rate", "2"]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, **daemon.environment, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    out, _ = await asyncio.wait_for(process.communicate(), 100)
    shown = (await asyncio.to_thread(_read_all, ours)).decode()
    assert out == b"4 replayed\n", shown
    assert "replaying sync-outbound" in shown
    assert "/4" in shown


def _read_all(descriptor: int) -> bytes:
    pieces = []
    try:
        while piece := os.read(descriptor, 65_536):
            pieces.append(piece)
    except OSError:  # EIO: the other side of a terminal is closed
        pass
    finally:
        os.close(descriptor)
    return b"".join(pieces)


@pytest.mark.embedded
async def test_a_backup_of_the_running_daemon_starts_as_a_daemon_of_its_own(daemon: Daemon, tmp_path: Path) -> None:
    registration = await daemon.register_github()
    await cli(daemon, "backup", str(tmp_path / "copy"))
    async with Daemon(tmp_path / "copy") as restored:
        answer = await restored.post_webhook(registration, {"zen": "."}, event="ping")
        assert answer.status == 200  # the secret was read with the key that is in the copy


async def test_a_run_is_asked_for_and_waited_for(daemon: Daemon) -> None:
    ended = await found(daemon, "jobs", "run", "maintenance", "--wait")
    assert (ended["job"], ended["status"], ended["trigger"]) == ("maintenance", "succeeded", "manual")
    assert ended["id"] in {one["id"] for one in await found(daemon, "executions", "list")}
    code, _, err = await daemon.cli("jobs", "run", "nosuch")
    assert code == 1
    assert "there is no job 'nosuch'" in err
