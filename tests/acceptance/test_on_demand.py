"""What an operator asks of a connection now, through the command line of a real daemon, towards a system of its own."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.process import Daemon, free_port
from tests.acceptance.syncing import TENANT, TYPE, System, config, connect, ended, entities, in_step, task
from tests.doubles.contract import Fault


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "data", environment=config(tmp_path)) as daemon:
        yield daemon


@pytest.fixture
async def crm() -> AsyncIterator[System]:
    async with System().at_work() as system:
        yield system


async def start(daemon: Daemon, *args: str, stderr: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "syncd", *args),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, **daemon.environment, "TERM": "xterm", "COLUMNS": "120"},
    )


async def test_a_new_connection_is_tried_looked_at_pulled_and_told_everything(daemon: Daemon, crm: System) -> None:
    mine = {"tenantId": TENANT, "data": {"name": "Mine", "mail": "mine@example.com"}}
    (await daemon.api("POST", f"/entities/{TYPE}", mine)).ok()
    before = await entities(daemon)
    crm.fill(3)
    await connect(daemon, "crm", crm)
    code, out, _ = await daemon.cli("connections", "test", "crm", "--output", "json")
    assert (code, json.loads(out)["status"]) == (0, "ok")

    code, out, _ = await daemon.cli("connections", "pull", "crm", "--dry-run", "--output", "json")
    [looked] = json.loads(out)["types"]
    assert (code, looked["counts"], len(looked["records"])) == (0, {"created": 3}, 3)
    assert (await entities(daemon), (await daemon.api("GET", "/tasks")).ok()["items"]) == (before, [])

    code, out, err = await daemon.cli("connections", "pull", "crm", "--output", "json")
    result = json.loads(out)
    assert (code, result["status"], result["counts"]["created"]) == (0, "succeeded", 3), err
    assert (len(await entities(daemon)), crm.writes()) == (4, [])

    code, out, err = await daemon.cli("connections", "backfill", "crm", "--output", "json")
    counts = json.loads(out)["counts"]
    assert (code, counts["unchanged"], counts["updated"]) == (0, 3 + 3, 1), err
    await in_step(daemon)
    assert sorted(crm.contents()) == ["Ana 0", "Ana 1", "Ana 2", "Mine"]
    assert len(crm.writes()) == 1


@pytest.mark.both
async def test_an_edit_is_looked_at_then_made_and_then_pushed(daemon: Daemon, crm: System) -> None:
    crm.fill(1)
    await connect(daemon, "crm", crm)
    await daemon.cli("connections", "pull", "crm")
    [entity] = await entities(daemon)
    edit = ("entities", "edit", entity["id"], "--set", "name=Edited")
    code, out, err = await daemon.cli(*edit, "--dry-run")
    assert (code, "Ana 0" in out, "Edited" in out, "update" in out) == (0, True, True, True), err
    assert (await entities(daemon), crm.writes()) == ([entity], [])
    await daemon.cli(*edit)
    await in_step(daemon)
    assert list(crm.contents()) == ["Edited"]
    _, shown, _ = await daemon.cli("entities", "show", entity["id"])
    [row] = [line.split() for line in shown.splitlines() if line.split()[:1] == ["crm"]]
    [now] = await entities(daemon)
    assert row[1:4] == ["1", str(now["version"]), "-"], "its id there, the version it has, and nothing owed"


async def test_failures_are_told_with_whose_matter_they_are_and_exit_1(daemon: Daemon, crm: System) -> None:
    crm.fill(1)
    await connect(daemon, "crm", crm)
    crm.faults.extend([Fault(status=401)] * 2)
    for arguments in (("test", "crm"), ("pull", "crm", "--dry-run")):
        code, _, err = await daemon.cli("connections", *arguments)
        assert (code, "the credential of crm is refused" in err) == (1, True), err
    crm.faults.append(Fault(status=401))
    code, _, err = await daemon.cli("connections", "pull", "crm")
    assert (code, "parked: " in err, "`syncd queues parked`" in err) == (1, True, True), err
    settings = {**crm.settings(), "baseUrl": f"http://127.0.0.1:{free_port()}"}
    await daemon.api("PATCH", "/connections/crm", {"settings": settings})
    code, _, err = await daemon.cli("connections", "test", "crm")
    assert (code, "crm cannot be reached" in err, "try again in" in err) == (1, True, True), err


async def test_a_pull_that_is_not_watched_any_more_goes_on(daemon: Daemon, crm: System) -> None:
    crm.fill(2)
    await connect(daemon, "crm", crm)
    async with asyncio.timeout(100):
        gate = crm.gate(lambda request: request.method == "GET")
        process = await start(daemon, "connections", "pull", "crm", stderr=asyncio.subprocess.PIPE)
        async with gate:
            assert process.stderr is not None
            lines = [(await process.stderr.readline()).decode() for _ in range(2)]
            process.send_signal(signal.SIGINT)
            rest = (await process.stderr.read()).decode()
            assert await process.wait() == 1
    identifier = lines[1].removeprefix("task ").strip()
    assert "the task goes on in the daemon" in rest
    assert f"syncd tasks show {identifier}" in rest
    assert "Traceback" not in rest
    assert (await ended(daemon, identifier))["status"] == "succeeded"
    assert len(await entities(daemon)) == 2


async def test_at_a_terminal_it_is_seen_how_far_a_pull_is(daemon: Daemon, crm: System) -> None:
    crm.fill(250)
    await connect(daemon, "crm", crm)
    ours, theirs = pty.openpty()
    seen = bytearray()
    shown = asyncio.Event()

    def read() -> None:
        with suppress(OSError):  # the other side is closed
            seen.extend(os.read(ours, 65536))
        if b"00 created" in seen:
            shown.set()

    loop = asyncio.get_running_loop()
    loop.add_reader(ours, read)
    try:
        gate = crm.gate_page(3)
        process = await start(daemon, "connections", "pull", "crm", stderr=theirs)
        async with asyncio.timeout(100):
            async with gate:
                await shown.wait()
                [running] = (await daemon.api("GET", "/tasks")).ok()["items"]
                progress = (await task(daemon, running["id"]))["progress"]
            out, _ = await process.communicate()
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)
    assert (process.returncode, b"250" in out, progress["created"] in (100, 200)) == (0, True, True)
    assert b"pull crm: running" in seen
