"""A start imports what its configuration needs: an SDK takes longer than everything else that a start does."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

START = """
import asyncio, os, sys
from syncd.bootstrap.process import build_daemon
from syncd.settings import load
from syncd.telemetry.log import Logs

async def start():
    async with build_daemon(load(None, (), os.environ), logs=Logs(), boot="boot"):
        print(*sorted(sys.modules))

asyncio.run(start())
"""
#: Of services, and what only their SDKs bring.
SERVICES = ("azure", "redis", "msal", "requests", "urllib3")
#: Nobody listens there: a part that is away does not hold up a start.
BUS = "Endpoint=sb://127.0.0.1:9;SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0;UseDevelopmentEmulator=true"
OTHERS = ("azure.cosmos", "azure.identity", "azure.keyvault", "azure.mgmt", "azure.storage", "redis")


async def imported(data_dir: Path, **environment: str) -> set[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        START,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **environment}
        | {"SYNCD_DAEMON__DATA_DIR": str(data_dir), "SYNCD_HTTP__ADMIN_TOKEN": "t" * 24},
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return set(said.decode().split())


def of(modules: set[str], *packages: str) -> list[str]:
    return sorted(name for name in modules if name.startswith(tuple(f"{package}." for package in packages)))


async def test_the_embedded_default_imports_nothing_of_any_service(tmp_path: Path) -> None:
    modules = await imported(tmp_path)
    assert "syncd.adapters.embedded.queue" in modules
    assert of(modules, *SERVICES, "syncd.adapters.azure", "syncd.adapters.redis") == []


async def test_a_queue_on_service_bus_imports_no_other_service_and_nothing_to_manage_it(tmp_path: Path) -> None:
    modules = await imported(
        tmp_path,
        SERVICE_BUS_CONNECTION_STRING=BUS,
        SYNCD_DAEMON__DATA_DIR_DURABLE="true",
        SYNCD_LIMITS__MAX_REPLICAS="1",
    )
    assert of(modules, "azure.servicebus")
    assert of(modules, *OTHERS, "azure.servicebus.aio.management") == []
