"""Webhook accept under wrk: 64 connections, 1 KB, beside an aiohttp handler that only reads the body.

Variants: `webhooks` (the role's shipped defaults, everything on), `stripped` (the HTTP side alone: the same server, nothing stored),
`all` (every role, so that events are applied meanwhile; also the time until all are processed). Each round runs them in turn with
the reference; ratios are taken round by round, medians are shown.

    python -m tests.benchmarks.webhooks [seconds] [rounds]
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tests.acceptance.process import Daemon, free_port

SECRET = "bench-secret-0123456789"
#: Different issues, so that events are applied side by side, as they are in life.
ISSUES = 500
#: A line of wrk's distribution of latencies.
_SHARES = re.compile(r"(50|99)%\s+([\d.]+)(us|ms|s)")
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def body(number: int) -> str:
    """1 KB, as GitHub would send it."""
    issue = {"id": number, "number": number, "title": "x" * 860, "updated_at": "2026-01-01T00:00:00Z"}
    return json.dumps({"action": "opened", "issue": issue, "repository": {"id": 5}})


_LUA = """
local bodies, signatures = {}, {}
%(events)s
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-GitHub-Event"] = "issues"
local n = 0
local id = "%(run)s"
request = function()
  n = n + 1
  local which = n %% #bodies + 1
  wrk.headers["X-GitHub-Delivery"] = id .. "-" .. n
  wrk.headers["X-Hub-Signature-256"] = signatures[which]
  return wrk.format("POST", "/webhooks/reg-bench/events", wrk.headers, bodies[which])
end
"""
_REFERENCE = """
import asyncio, sys
from aiohttp import web
async def handle(request):
    await request.read()
    return web.Response(text='{"status":"accepted"}', content_type="application/json")
app = web.Application()
app.router.add_post("/webhooks/{id}/events", handle)
try:
    import uvloop
    loop = uvloop.new_event_loop()
except ImportError:
    loop = None
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None, loop=loop)
"""
_STRIPPED = """
import sys, types
from syncd.flows.accept import Accept, Accepted
async def receive(self, registration_id, headers, body, received_at):
    return Accepted("reg-bench:0.0", "accepted")
Accept.receive = receive
sys.argv = ["syncd", "run", "--role", "webhooks"]
from syncd.__main__ import main
main()
"""


@dataclass(frozen=True, slots=True)
class Load:
    rate: float
    p50: float
    """Milliseconds."""
    p99: float
    errors: int


def wrk(port: int, seconds: float, place: Path) -> Load:
    events = []
    for number in range(1, ISSUES + 1):
        text = body(number)
        signature = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
        events.append(f'bodies[{number}] = [==[{text}]==] signatures[{number}] = "sha256={signature}"')
    script = place / "webhook.lua"
    script.write_text(_LUA % {"events": "\n".join(events), "run": f"{time.time_ns():x}"})
    command = ["wrk", "-t1", "-c64", f"-d{seconds:g}s", "-s", str(script), "--latency", f"http://127.0.0.1:{port}"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    shares = {share: float(number) * _UNITS[unit] for share, number, unit in _SHARES.findall(text)}
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    assert rate, text
    return Load(float(rate[1]), shares["50"], shares["99"], int(refused[1]) if refused else 0)


@asynccontextmanager
async def reference(place: Path) -> AsyncIterator[int]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _REFERENCE, str(port))
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)  # until it listens
        yield port
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def daemon(
    place: Path,
    *,
    roles: str | None = "webhooks",
    stripped: bool = False,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Daemon]:
    directory = Path(tempfile.mkdtemp(prefix="syncd-bench-", dir=place))
    options = (
        {"command": [sys.executable, "-c", _STRIPPED]} if stripped else {"args": ["--role", roles] if roles else []}
    )
    try:
        given = {"SYNCD_TELEMETRY__LOG_LEVEL": "info", **environment}
        async with Daemon(directory / "data", environment=given, **options) as running:  # type: ignore[arg-type]  # by name
            await running.api(
                "POST",
                "/connections",
                {
                    "id": "conn-bench",
                    "tenantId": "tenant-1",
                    "integrationId": "github",
                    "settings": {"owner": "o", "repo": "r"},
                    "entities": {"issue": {"direction": "both"}},
                },
            )
            await running.api(
                "POST",
                "/webhooks",
                {
                    "id": "reg-bench",
                    "tenantId": "tenant-1",
                    "integrationId": "github",
                    "connectionId": "conn-bench",
                    "scheme": "github",
                    "secret": SECRET,
                },
            )
            yield running
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def measure(seconds: float = 6.0, rounds: int = 3) -> dict[str, float]:
    """Requests/s and p99 of each variant, ratios to the reference, seconds until all were processed."""
    place = Path(__file__).parents[3]
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for _ in range(rounds):
        async with reference(place) as port:
            plain = await asyncio.to_thread(wrk, port, seconds, Path(tempfile.gettempdir()))
        note("reference/s", plain.rate)
        note("reference p99 ms", plain.p99)
        for name, roles, stripped in (("webhooks", "webhooks", False), ("stripped", None, True), ("all", None, False)):
            async with daemon(place, roles=roles, stripped=stripped) as running:
                load = await asyncio.to_thread(wrk, running.port, seconds, Path(tempfile.gettempdir()))
                ended = time.perf_counter()
                assert not load.errors, f"{name}: {load.errors} requests were refused\n{running.log[-2000:]}"
                note(f"{name}/s", load.rate)
                note(f"{name} p99 ms", load.p99)
                note(f"{name} ratio", load.rate / plain.rate)
                if name == "all":
                    note("all waiting", float((await running.queue("sync-outbound"))["ready"]))
                    await running.drained("sync-outbound", within=300.0)
                    note("all processed s", time.perf_counter() - ended)
    return {name: statistics.median(values) for name, values in found.items()}


if __name__ == "__main__":
    arguments = [float(argument) for argument in sys.argv[1:]]
    figures = asyncio.run(measure(*arguments[:1], *[int(rounds) for rounds in arguments[1:2]]))
    for name, value in figures.items():
        print(f"{name:20} {value:12.3f}")
