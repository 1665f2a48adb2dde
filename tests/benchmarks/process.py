"""The real process: how soon it is ready, what it weighs when idle, and how soon it is at work again after kill -9.

python -m tests.benchmarks.process
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.acceptance.process import Daemon

LEASED = 1000
_PLACE = Path(__file__).parents[3]


class _Ready:
    """A notify socket that tells when READY=1 came."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(60)

    def wait(self) -> float:
        while b"READY=1" not in self._socket.recv(4096).split(b"\n"):
            pass
        return time.perf_counter()

    def close(self) -> None:
        self._socket.close()


async def idle(rounds: int = 5) -> tuple[float, float]:
    """(seconds from exec to READY=1, megabytes resident after two idle seconds), medians; the store exists already."""
    starts, weights = [], []
    directory = Path(tempfile.mkdtemp(prefix="syncd-bench-", dir=_PLACE))
    ready = _Ready(directory)
    try:
        for number in range(rounds + 1):
            began = time.perf_counter()
            async with Daemon(directory / "data", environment={"NOTIFY_SOCKET": str(ready.path)}) as running:
                pass_at = await asyncio.to_thread(ready.wait)
                await asyncio.sleep(2.0)  # idle is measured idle
                status = Path(f"/proc/{running.pid}/status").read_text()
                if number:  # the first start also makes the store
                    starts.append(pass_at - began)
                    weights.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)
    finally:
        ready.close()
        shutil.rmtree(directory, ignore_errors=True)
    return statistics.median(starts), statistics.median(weights)


_PROGRAM = """
import asyncio, os, sys, time
from pathlib import Path
from syncd.domain.messages import Envelope
from syncd.domain.outcomes import DONE
from syncd.ports.queue import Message
from syncd.runtime.work import Handler
from syncd.settings import load
from syncd.bootstrap.process import run_daemon

log = open(os.environ["BENCH_LOG"], "ab", buffering=0)
held = []

async def hold(work):
    log.write(b"%.6f\\n" % time.time())
    held.append(work)
    await asyncio.Event().wait()
    return DONE

loaded = load(None, environ=os.environ, flags={
    "queues.sync-outbound.min_receivers": 1000, "queues.sync-outbound.max_receivers": 1000,
    "queues.sync-outbound.group_cap": 1000, "daemon.roles": ["outbound"],
})
sys.exit(run_daemon(loaded, extra_handlers={"hold": Handler(handle=hold, soft_limit=3600, hard_limit=3600)}))
"""


async def recovery() -> float:
    """Seconds from READY=1 until all of 1,000 messages that were leased at a kill -9 are in their handlers again."""
    from syncd.adapters.embedded.clock import SystemClock
    from syncd.adapters.embedded.store import open_store
    from syncd.domain.messages import Envelope
    from syncd.ports.queue import Message

    directory = Path(tempfile.mkdtemp(prefix="syncd-bench-", dir=_PLACE))
    ready = _Ready(directory)
    log = directory / "held"
    log.touch()
    try:
        (directory / "data").mkdir()
        async with open_store(directory / "data", clock=SystemClock()) as store:
            await store.queue.send(
                "sync-outbound", [Message(Envelope(kind="hold", origin_id=f"m{n}"), b"{}") for n in range(LEASED)]
            )
        environment = {"NOTIFY_SOCKET": str(ready.path), "BENCH_LOG": str(log)}
        async with Daemon(
            directory / "data", environment=environment, command=[sys.executable, "-c", _PROGRAM]
        ) as running:
            await _lines(log, LEASED)
            await running.kill9()
            os.truncate(log, 0)
            while True:  # what the first start said
                try:
                    ready._socket.settimeout(0.01)
                    ready._socket.recv(4096)
                except TimeoutError:
                    break
            ready._socket.settimeout(60)
            await running.launch()
            await asyncio.to_thread(ready.wait)
            at_ready = time.time()
            await _lines(log, LEASED)
            return max(0.0, max(float(line) for line in log.read_text().split()) - at_ready)
    finally:
        ready.close()
        shutil.rmtree(directory, ignore_errors=True)


async def _lines(path: Path, count: int) -> None:
    while path.read_bytes().count(b"\n") < count:
        await asyncio.sleep(0.02)  # another process writes it


if __name__ == "__main__":
    print("ready s, rss MB", asyncio.run(idle()))
    print("recovery s", asyncio.run(recovery()))
