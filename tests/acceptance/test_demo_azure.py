"""`make demo BACKEND=azure` in a small form: three replicas on the doubles, one of them killed, and the same verdict."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.acceptance.test_demo import HOSTILE, children, demo, figure, until
from tests.wire.azurite import Unavailable, installed

#: Its services are its own, whichever the daemons of other tests have.
pytestmark = pytest.mark.embedded

#: Fewer than anybody else's: the doubles, three daemons and two systems share a small machine.
SMALL = ("--contacts", "100", "--events", "100", "--services", "--replicas", "3")
LOCAL = {
    "COSMOS_ENDPOINT": "http://127.0.0.1:1/",
    "SERVICE_BUS_CONNECTION_STRING": "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=a;SharedAccessKey=YQ==",
    "KEY_VAULT_URL": "https://localhost:1",
    "REDIS_URL": "redis://:secret@127.0.0.1:1/0",
    "AZURE_STORAGE_CONNECTION_STRING": "AccountName=a;AccountKey=YQ==;BlobEndpoint=http://127.0.0.1:1/a;",
}


async def on_doubles(directory: Path, *options: str, **environment: str) -> asyncio.subprocess.Process:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed, which the doubles of Azure's services need")
    try:
        await asyncio.to_thread(installed)
    except Unavailable as error:
        pytest.skip(f"no Blob Storage here: {error}")
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.wire", "stack", "--"),
        *(sys.executable, "-m", "syncd", "demo", *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": str(directory), "COLUMNS": "200", **environment},
        start_new_session=True,
    )


@pytest.mark.timeout(400)  # where the replica that dies has the pull, another takes it over after its lease of 90 s
async def test_one_of_three_replicas_is_killed_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    process = await on_doubles(tmp_path, *SMALL, DEMO_EXIT="1", **HOSTILE)
    out, err = (text.decode() for text in await process.communicate())
    assert process.returncode == 0, out + err
    assert out.splitlines()[-1].strip() == "lost 0, doubled 0"
    assert "3 replicas run" in err
    assert re.search(r"kill -9 of replica 1, at [\d,]+ of 100 webhooks, \d+ of 100 contacts pulled", err)
    assert re.search(r"Back after \d+\.\d s", err)
    assert figure(out, "webhooks of GitHub") == "100 sent, 100 processed, 0 twice"
    assert figure(out, "in the CRM") == figure(out, "stored") == figure(out, "on the mail list") == "100"
    assert figure(out, "waiting, parked") == "0, 0"
    assert "at least so many repeats" in out
    assert children(tmp_path) == []
    assert list(tmp_path.glob("syncd-demo-*")) == []


async def test_ctrl_c_ends_the_demo_and_its_doubles_in_order(tmp_path: Path) -> None:
    process = await on_doubles(tmp_path, *SMALL)
    await until(process.stderr, "1. 3 replicas run")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: everybody in the foreground gets it
    _, err = await process.communicate()
    assert process.returncode == 1
    assert "Nothing is left running" in err.decode()
    assert "Traceback" not in err.decode()
    assert children(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"COSMOS_ENDPOINT": "https://shop.documents.azure.com"}, "COSMOS_ENDPOINT leads to shop.documents.azure.com"),
        (
            {"SERVICE_BUS_CONNECTION_STRING": "Endpoint=sb://shop.servicebus.windows.net/;SharedAccessKeyName=a"},
            "SERVICE_BUS_CONNECTION_STRING leads to shop.servicebus.windows.net",
        ),
        ({"REDIS_URL": "rediss://:127.0.0.1@cache.example:6380"}, "REDIS_URL leads to cache.example"),
        ({"KEY_VAULT_URL": "https://localhost.example"}, "KEY_VAULT_URL leads to localhost.example"),
        ({"AZURE_STORAGE_CONNECTION_STRING": "AccountName=shop;AccountKey=YQ=="}, "leads to a service on the internet"),
        ({"REDIS_URL": ""}, "REDIS_URL is not set"),
    ],
)
async def test_it_writes_to_no_service_beyond_this_machine(tmp_path: Path, change: dict[str, str], said: str) -> None:
    process = await demo(tmp_path, *SMALL, **{**LOCAL, **change})
    out, err = (text.decode() for text in await process.communicate())
    assert process.returncode not in (0, None)
    assert said in out + err
    assert "secret" not in out + err
    assert list(tmp_path.iterdir()) == []


async def test_several_replicas_without_services_are_refused(tmp_path: Path) -> None:
    process = await demo(tmp_path, "--replicas", "3")
    out, err = (text.decode() for text in await process.communicate())
    assert process.returncode not in (0, None)
    assert "make demo BACKEND=azure" in out + err
