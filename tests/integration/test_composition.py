"""The composition root over a real store, without a listener: what it joins together fits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from syncd.bootstrap.process import Built, build_daemon
from syncd.domain.collections import TASKS
from syncd.domain.messages import Envelope
from syncd.ports.documents import Create
from syncd.ports.queue import Message
from syncd.settings import load
from syncd.settings.sections.jobs import AVAILABLE, JOBS
from syncd.telemetry.log import Logs

#: What is tried here is done before the daemon serves anybody, as the search for providers.
pytestmark = pytest.mark.may_block


@asynccontextmanager
async def built(directory: Path, *, logs: Logs | None = None) -> AsyncIterator[Built]:
    loaded = load(None, [], {"SYNCD_DAEMON__DATA_DIR": str(directory)})
    async with build_daemon(loaded, logs=logs or Logs(), boot="test") as found:
        yield found


async def test_the_jobs_that_the_settings_call_available_are_those_that_run(tmp_path: Path) -> None:
    async with built(tmp_path) as daemon:
        assert {job.name for job in daemon.control.current.jobs} == AVAILABLE
    assert JOBS.keys() > AVAILABLE


async def test_metrics_tell_what_is_parked_beside_each_queue(tmp_path: Path) -> None:
    async with built(tmp_path) as daemon:
        ports = daemon.control.ports
        message = Message(envelope=Envelope(kind="k", origin_id="o", tenant_id="t"), body=b"{}")
        await ports.queue.send("sync-outbound", [message])
        [delivery] = await ports.queue.lease("sync-outbound", 1, duration=60)
        await daemon.control.current.flows.park(delivery, "poison", "why")
        sampling = asyncio.create_task(daemon.gauges.run())
        while b'queue_dead_letters{queue="sync-outbound"} 1.0' not in daemon.control.current.services.metrics():
            await asyncio.sleep(0)  # one turn of the loop; the store answers from its thread
        sampling.cancel()


async def test_a_nudge_of_the_planner_queues_what_is_due_and_a_start_alone_does_not(tmp_path: Path) -> None:
    async with built(tmp_path) as daemon:
        documents, ticker = daemon.control.ports.documents, daemon.control.ticker
        task = {"tenantId": "t", "integrationId": "github", "connectionId": "c", "status": "pending", "generation": 0}
        await documents.write(TASKS, "t", [Create("t.one", task)])

        async def status() -> object:
            found = await documents.get(TASKS, "t", "t.one")
            return found and found.data["status"]

        serving = asyncio.create_task(ticker.serve())
        await asyncio.sleep(0)  # the ticker begins, and looks at all jobs
        await ticker.idle()
        assert await status() == "pending"
        daemon.control.nudge("planner")
        await ticker.idle()
        assert await status() == "queued"
        serving.cancel()
        await asyncio.wait([serving])
