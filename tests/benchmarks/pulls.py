"""A first pull of 100,000 records in pages of 100 and the same again unchanged, by a daemon of its own; beside it on the same server:
dlt into DuckDB, and only fetching and decoding the pages.

Each round runs all of them in turn; ratios are taken round by round, medians are shown. Beside each rate stands the processor time of
one record in all threads of whoever is measured, in microseconds: on a machine that does other work as well it says more than the rate.

    python -m tests.benchmarks.pulls [records] [rounds]
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import aiohttp

from syncd.domain.jsontypes import JsonObject
from tests.acceptance.process import Daemon
from tests.benchmarks.systems import system

PAGE = 100
#: Calls a minute that no run reaches.
UNLIMITED = {
    "SYNCD_LIMITS__TENANT": "10000000",
    "SYNCD_LIMITS__INTEGRATION": "10000000",
    "SYNCD_LIMITS__OPERATIONS": '{"fetch": 10000000, "create": 10000000, "update": 10000000}',
}
_PLACE = Path(__file__).parents[3]
#: As dlt's own guide writes a REST source with cursors: https://dlthub.com/docs/dlt-ecosystem/verified-sources/rest_api/basic
_DLT = """
import sys, time
import dlt
from dlt.sources.rest_api import rest_api_source

url, place, expected = sys.argv[1], sys.argv[2], int(sys.argv[3])
source = rest_api_source({
    "client": {
        "base_url": url,
        "paginator": {"type": "cursor", "cursor_path": "meta.next", "cursor_param": "after"},
    },
    "resources": [{
        "name": "contacts",
        "primary_key": "id",
        "write_disposition": "merge",
        "endpoint": {"path": "contacts", "params": {"per_page": 100}, "data_selector": "data"},
    }],
})
source.max_table_nesting = 0  # what is nested stays JSON, as it does in syncd: the quicker way
pipeline = dlt.pipeline("bench", destination=dlt.destinations.duckdb(f"{place}/bench.duckdb"), dataset_name="crm",
                        pipelines_dir=place)
began, before = time.perf_counter(), time.process_time()
pipeline.run(source)
spent, processor = time.perf_counter() - began, time.process_time() - before
with pipeline.sql_client() as client:
    assert client.execute_sql("SELECT count(*) FROM contacts")[0][0] == expected
print(spent, processor)
"""


class Measured(NamedTuple):
    records: int
    seconds: float
    processor: float
    """Seconds of processor time."""

    @property
    def rate(self) -> float:
        """Records/s."""
        return self.records / self.seconds

    @property
    def cost(self) -> float:
        """Microseconds of processor time for each record."""
        return self.processor / self.records * 1e6


def settings(port: int) -> JsonObject:
    return {
        "baseUrl": f"http://127.0.0.1:{port}/api",
        "types": {
            "contact": {
                "list": "/contacts",
                "items": "data",
                "updatedAt": "updatedAt",
                "paging": {"style": "cursor", "parameter": "after", "limit": "per_page", "next": "meta.next"},
            }
        },
    }


async def measure(records: int = 100_000, rounds: int = 3) -> dict[str, float]:
    """Records/s of each, the ratios, and what a record costs each."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        async with system("list", records, PAGE) as (port, _lines):
            first, again = await pulled(port, records)
            pages = await fetched(port, records)
            dlt = await asyncio.to_thread(loaded, port, records)
        figures = {
            "pull/s": first.rate,
            "re-pull/s": again.rate,
            "pages/s": pages.rate,
            "dlt/s": dlt.rate,
            "pull / dlt": first.rate / dlt.rate,
            "pull / pages": first.rate / pages.rate,
            "re-pull / pull": again.rate / first.rate,
            "pull us": first.cost,
            "re-pull us": again.cost,
            "pages us": pages.cost,
            "dlt us": dlt.cost,
        }
        for name, value in figures.items():
            found.setdefault(name, []).append(value)
    return {name: statistics.median(values) for name, values in found.items()}


async def pulled(
    port: int, records: int, *, environment: Mapping[str, str] | None = None, between: Callable[[], None] = lambda: None
) -> tuple[Measured, Measured]:
    """From the creation of the task to its end: of the first pull, and of the same again. `between` is called after the first."""
    directory = Path(tempfile.mkdtemp(prefix="syncd-bench-", dir=_PLACE))
    try:
        async with Daemon(directory / "data", environment={**UNLIMITED, **(environment or {})}) as daemon:
            connection = {
                "id": "crm",
                "tenantId": "tenant-1",
                "integrationId": "rest",
                "settings": settings(port),
                "entities": {"contact": {"direction": "pull"}},
            }
            (await daemon.api("POST", "/connections", connection)).ok()
            first = await _run(daemon, created=records)
            between()
            return first, await _run(daemon, unchanged=records)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _spent(pid: int) -> float:
    """Seconds of processor time of a process until now. https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html"""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _run(daemon: Daemon, **expected: int) -> Measured:
    """One task. Fails where it comes to anything but `expected`."""
    task = {"tenantId": "tenant-1", "integrationId": "rest", "connectionId": "crm", "syncMode": "pull"}
    began, before = time.perf_counter(), _spent(daemon.pid)
    identifier = (await daemon.api("POST", "/tasks", task)).ok()["id"]
    while (ended := (await daemon.api("GET", f"/tasks/{identifier}")).ok())["status"] in (
        "pending",
        "queued",
        "running",
    ):
        await asyncio.sleep(0.05)  # the end of a task gives no signal outside the daemon
    measured = Measured(sum(expected.values()), time.perf_counter() - began, _spent(daemon.pid) - before)
    if ended["status"] != "succeeded":
        raise AssertionError(f"the pull ended {ended['status']}")
    counts = (await daemon.api("GET", f"/results/{ended['resultId']}")).ok()["counts"]
    if {name: count for name, count in counts.items() if count} != {"fetched": sum(expected.values()), **expected}:
        raise AssertionError(f"expected {expected}, and the result says {counts}")
    return measured


async def fetched(port: int, records: int) -> Measured:
    """A plain client that decodes the pages and forgets them."""
    url, after, count = f"http://127.0.0.1:{port}/api/contacts", None, 0
    async with aiohttp.ClientSession() as session:
        began, before = time.perf_counter(), time.process_time()
        while count < records:
            query = {"per_page": str(PAGE)} if after is None else {"per_page": str(PAGE), "after": after}
            async with session.get(url, params=query) as response:
                page = json.loads(await response.read())
            count, after = count + len(page["data"]), page["meta"]["next"]
        return Measured(count, time.perf_counter() - began, time.process_time() - before)


def loaded(port: int, records: int) -> Measured:
    """dlt into a new DuckDB file, by `pipeline.run` alone."""
    place = tempfile.mkdtemp(prefix="syncd-bench-", dir=_PLACE)
    quiet = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR", "DLT_DATA_DIR": place}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _DLT, f"http://127.0.0.1:{port}/api", place, str(records)],
            capture_output=True, text=True, check=False, cwd=place, env={**os.environ, **quiet},
        )  # fmt: skip
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if done.returncode:
        raise RuntimeError(f"dlt could not be measured:\n{done.stderr[-4000:]}")
    seconds, processor = done.stdout.split()[-2:]
    return Measured(records, float(seconds), float(processor))


def main() -> None:
    figures = asyncio.run(measure(*(int(argument) for argument in sys.argv[1:])))
    for name, value in figures.items():
        print(f"{name:16} {value:12,.2f}")


if __name__ == "__main__":
    main()
