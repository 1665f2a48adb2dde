"""Webhook accept into Service Bus under wrk: 64 connections, 1 KB, a broker whose answers take 5 ms longer.

The daemon (`--role webhooks`, the shipped defaults, everything else on Azure's doubles too) beside what one writes with the SDK
alone: an aiohttp handler that reads the body and sends it by one sender that all of them share, in turn, as the SDK asks for
(without a lock, sends at the same time spoil each other's frames, and the broker ends the connection). Both against the same broker,
in a process of its own; ratios are taken round by round, medians are shown. With them goes the CPU time that one message takes in
each process, which says more than the rate where broker, load and daemon share a few cores.

    python -m tests.benchmarks.servicebus_webhooks [seconds] [rounds]
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.acceptance.process import free_port
from tests.benchmarks.webhooks import Load, daemon, wrk
from tests.wire.stack import QUEUES

QUEUE = "sync-outbound"
#: Before what is measured: connections are opened, also those that watch the depth of each queue. Seconds.
WARM_UP = 5.0
LATENCY = 0.005
_TICK = os.sysconf("SC_CLK_TCK")

_REFERENCE = """
import asyncio, sys
from aiohttp import web
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
async def sender(app):
    async with ServiceBusClient.from_connection_string(sys.argv[2]) as client, client.get_queue_sender(sys.argv[3]) as sender:
        app["sender"], app["turn"] = sender, asyncio.Lock()
        yield
async def handle(request):
    body = await request.read()
    async with request.app["turn"]:
        await request.app["sender"].send_messages(ServiceBusMessage(body), timeout=8)
    return web.Response(text='{"status":"accepted"}', content_type="application/json")
app = web.Application()
app.cleanup_ctx.append(sender)
app.router.add_post("/webhooks/{id}/events", handle)
try:
    import uvloop
    loop = uvloop.new_event_loop()
except ImportError:
    loop = None
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None, loop=loop)
"""


@asynccontextmanager
async def _process(*arguments: str, told: bool = True) -> AsyncIterator[tuple[int, dict[str, str]]]:
    """A Python process, and the line of JSON that it prints when it is ready."""
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield process.pid, json.loads(await process.stdout.readline()) if told else {}
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def _reference(connection_string: str) -> AsyncIterator[tuple[int, int]]:
    """Its process id and port."""
    port = free_port()
    async with _process("-c", _REFERENCE, str(port), connection_string, QUEUE, told=False) as (pid, _):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)  # until it listens
            else:
                writer.close()
                break
        yield pid, port


def _cpu(pid: int, *, main: bool | None = None) -> float:
    """Seconds of CPU time of a process: of all its threads, of the first, or of the others."""
    spent = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        if main is None or (task.name == str(pid)) is main:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            spent += int(fields[11]) + int(fields[12])
    return spent / _TICK


async def _load(port: int, seconds: float, parts: dict[str, Callable[[], float]]) -> tuple[Load, dict[str, float]]:
    """What wrk measured after the warm-up, and the microseconds of CPU time per request in each part."""
    await asyncio.to_thread(wrk, port, WARM_UP, Path(tempfile.gettempdir()))
    before = {name: read() for name, read in parts.items()}
    load = await asyncio.to_thread(wrk, port, seconds, Path(tempfile.gettempdir()))
    done = load.rate * seconds
    return load, {name: (read() - before[name]) / done * 1e6 for name, read in parts.items()}


async def measure(seconds: float = 6.0, rounds: int = 3) -> dict[str, float]:
    """Requests/s, p50 and p99 (ms) of both, their ratio, and CPU microseconds per message of each process."""
    place = Path(__file__).parents[3]
    found: dict[str, list[float]] = {}

    def note(of: str, load: Load, spent: dict[str, float]) -> None:
        figures = {"/s": load.rate, " p50 ms": load.p50, " p99 ms": load.p99}
        figures |= {f" us, {part}": value for part, value in spent.items()}
        for name, value in figures.items():
            found.setdefault(f"{of}{name}", []).append(value)

    broker = ["-m", "tests.wire", "servicebus"]
    broker += [option for name in QUEUES for lane in ("-high", "", "-low") for option in ("--queue", f"{name}{lane}")]
    options = ("--latency", str(LATENCY), "--duplicate-detection", "600")
    services = ("-m", "tests.wire", "stack", "--json", "--latency", str(LATENCY))
    async with _process(*services) as (_, environment):
        for _ in range(rounds):
            async with _process(*broker, *options) as (broker_pid, where):
                spent = {"broker": lambda: _cpu(broker_pid)}
                connection = where["connection_string"]
                async with _reference(connection) as (pid, port):
                    plain, cpu = await _load(port, seconds, {**spent, "handler": lambda: _cpu(pid)})
                note("reference", plain, cpu)
                given = {**environment, "SERVICE_BUS_CONNECTION_STRING": connection}
                async with daemon(place, environment=given) as running:
                    spent["accept"] = lambda: _cpu(running.pid, main=True)
                    spent["send"] = lambda: _cpu(running.pid, main=False)
                    load, cpu = await _load(running.port, seconds, spent)
                    assert not load.errors, f"{load.errors} requests were refused\n{running.log[-2000:]}"
                note("syncd", load, cpu)
                found.setdefault("ratio", []).append(load.rate / plain.rate)
    return {name: statistics.median(values) for name, values in found.items()}


if __name__ == "__main__":
    arguments = [float(argument) for argument in sys.argv[1:]]
    figures = asyncio.run(measure(*arguments[:1], *[int(rounds) for rounds in arguments[1:2]]))
    for name, value in figures.items():
        print(f"{name:24} {value:12.3f}")
