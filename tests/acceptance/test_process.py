"""The harness itself, on a small stand-in for the daemon: what the acceptance tests rely on."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.acceptance.process import TOKEN, Daemon, DaemonDied, Registration, eventually

# No daemon of ours is started.
pytestmark = pytest.mark.embedded

#: Becomes ready at its second `/readyz`, echoes requests, counts SIGHUPs, has a child of its own.
STAND_IN = """
import asyncio, os, signal, subprocess, sys
from aiohttp import web
print("starting", *sys.argv[1:], flush=True)
subprocess.Popen(["sleep", "1000"])
asked = []
async def readyz(request):
    asked.append(1)
    return web.Response(status=200 if len(asked) > 1 else 503)
async def echo(request):
    body = await request.read()
    return web.json_response({"path": request.path, "headers": dict(request.headers), "body": body.decode()})
async def main():
    app = web.Application()
    app.router.add_get("/readyz", readyz)
    app.router.add_route("*", "/{rest:.*}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, os.environ["SYNCD_HTTP__HOST"], int(os.environ["SYNCD_HTTP__PORT"])).start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: print("reloaded", flush=True))
    await stop.wait()
    await runner.cleanup()
asyncio.run(main())
"""


def stand_in(tmp_path: Path, program: str = STAND_IN) -> Daemon:
    return Daemon(tmp_path / "data", command=(sys.executable, "-c", program), args=["--role", "webhooks"])


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


async def test_it_is_ready_when_entered_and_gone_with_all_its_children_when_left(tmp_path: Path) -> None:
    async with stand_in(tmp_path) as daemon:
        assert (await daemon.request("GET", "/readyz")).status == 200
        group = daemon.pid
        assert "starting --role webhooks" in daemon.log
    assert not daemon.running

    async def gone() -> bool:
        return not alive(group)

    await eventually(gone, what="the end of the process group")


async def test_a_process_that_ends_early_fails_at_once_and_shows_its_log(tmp_path: Path) -> None:
    program = "import sys; print('the disk is full'); sys.exit(78)"
    with pytest.raises(DaemonDied, match=r"ended with 78[^$]*the disk is full"):
        async with stand_in(tmp_path, program):
            pytest.fail("it was never ready")
    assert await stand_in(tmp_path, program).run_to_end() == 78


async def test_a_process_that_is_never_ready_is_given_up_and_not_left_behind(tmp_path: Path) -> None:
    daemon = stand_in(tmp_path, "import signal; print('asleep', flush=True); signal.pause()")
    with pytest.raises(DaemonDied, match="not ready within"):
        await daemon.start(within=0.5)
    group = daemon.pid
    await daemon.close()
    assert not alive(group)


async def test_it_is_killed_restarted_on_the_same_port_reloaded_and_terminated(tmp_path: Path) -> None:
    async with stand_in(tmp_path) as daemon:
        port = daemon.port
        await daemon.kill9()
        assert await daemon.wait() == -signal.SIGKILL
        await daemon.start()
        assert daemon.port == port
        daemon.hup()

        async def reloaded() -> bool:
            return "reloaded" in daemon.log

        await eventually(reloaded)
        assert await daemon.terminate() == 0


async def test_requests_carry_the_token_or_the_signature(tmp_path: Path) -> None:
    async with stand_in(tmp_path) as daemon:
        asked = (await daemon.api("POST", "/tasks", {"a": 1})).ok()
        assert asked["path"] == "/api/v1/tasks"
        assert asked["headers"]["Authorization"] == f"Bearer {TOKEN}"  # type: ignore[index, call-overload]  # the stand-in's own shape
        assert json.loads(str(asked["body"])) == {"a": 1}
        # The example of https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
        registration = Registration("reg-1", "It's a Secret to Everybody", "c", "t")
        sent = (await daemon.post_webhook(registration, b"Hello, World!", headers={"X-GitHub-Event": None})).ok()
        assert sent["path"] == "/webhooks/reg-1/events"
        headers = sent["headers"]
        assert isinstance(headers, dict)
        expected = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        assert headers["X-Hub-Signature-256"] == f"sha256={expected}"
        assert "X-GitHub-Event" not in headers
