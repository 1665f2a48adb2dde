"""A real daemon whose queue is on another machine, and that machine goes away (G1)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.acceptance.process import Daemon, Registration, eventually
from tests.acceptance.reading import component, events, logged, metric, parked
from tests.acceptance.services import ALONE
from tests.acceptance.test_durability import issue
from tests.shims import FsyncGate
from tests.wire.servicebus import QueueSpec, ServiceBusDouble, service_bus

#: Each test brings its own broker; everything else is embedded, whatever the others run on.
pytestmark = pytest.mark.embedded
QUEUES = ("sync-inbound", "sync-outbound", "azure_api", "reports")
LOG = "spool.db-wal"


@pytest.fixture
async def bus() -> AsyncIterator[ServiceBusDouble]:
    queues = [QueueSpec(name=name + lane, lock_duration=5.0) for name in QUEUES for lane in ("-high", "", "-low")]
    async with service_bus(queues=queues, record=False) as bus:
        yield bus


def environment(bus: ServiceBusDouble) -> Mapping[str, str]:
    return {"SERVICE_BUS_CONNECTION_STRING": bus.connection_string, **ALONE}


async def deliver(daemon: Daemon, registration: Registration, numbers: range) -> set[str]:
    """All at once; each must be taken."""
    answers = await asyncio.gather(*(daemon.post_webhook(registration, issue(number)) for number in numbers))
    return {answer.ok()["eventId"] for answer in answers}


@pytest.mark.parametrize("how", ["refuses connections", "says nothing"])
async def test_events_answered_while_the_broker_is_away_outlive_a_kill_and_are_applied_once_it_is_back(
    tmp_path: Path, bus: ServiceBusDouble, how: str
) -> None:
    async with Daemon(tmp_path / "data", environment=environment(bus)) as daemon:
        registration = await daemon.register_github()
        accepted = await deliver(daemon, registration, range(5))
        if how == "says nothing":
            bus.silence()
        else:
            bus.refuse()
        accepted |= await deliver(daemon, registration, range(5, 45))
        assert await metric(daemon, "spool_messages") >= 40
        await daemon.kill9()
        await daemon.start()
        [found] = logged(daemon, "spool_found")
        assert found["messages"] >= 40
        accepted |= await deliver(daemon, registration, range(45, 55))
        intake = await component(daemon, "webhook-intake")
        assert intake is not None
        assert intake["status"] == "degraded"
        assert "events wait in the spool" in intake["detail"]
        if how == "says nothing":
            bus.speak()
        else:
            await bus.accept()

        async def applied() -> bool:
            return {row["eventId"] for row in await events(daemon) if row["status"] == "processed"} == accepted

        await eventually(applied, within=100.0, what="every answered event")
        assert len(accepted) == 55

        async def empty() -> bool:
            return await metric(daemon, "spool_messages") == 0

        await eventually(empty, what="an empty spool")
        assert await parked(daemon) == []
        entities = (await daemon.api("GET", "/entities/issue?tenantId=tenant-1&limit=500")).ok()["items"]
        assert {entity["version"] for entity in entities} <= {1}


async def test_a_webhook_that_goes_to_the_spool_is_answered_after_the_sync_of_its_commit(
    tmp_path: Path, bus: ServiceBusDouble
) -> None:
    gate = FsyncGate(tmp_path / "gate", root=tmp_path / "data")
    patient = {"SYNCD_WEBHOOKS__ENQUEUE_TIMEOUT": "5s", **gate.environment}
    bus.refuse()
    async with Daemon(tmp_path / "data", environment={**environment(bus), **patient}) as daemon:
        registration = await daemon.register_github()
        await deliver(daemon, registration, range(1))  # its later events join the tail without asking the broker

        async def waits() -> bool:
            return any(step.path.name == LOG and step.at > asked for step in gate.waiting())

        with gate.shut():
            asked = time.monotonic_ns()
            asking = asyncio.ensure_future(daemon.post_webhook(registration, issue(1)))
            await eventually(waits, what=f"a sync of {LOG}")
            assert not asking.done(), "it was answered before it was durable"
            released = time.monotonic_ns()
        assert (await asking).ok()["status"] == "accepted"
        ends = [step.at for step in gate.steps() if step.step == "end" and step.path.name == LOG]
        assert released < max(ends) < time.monotonic_ns()


async def test_a_full_disk_while_the_broker_is_away_is_answered_503_and_nothing_that_was_answered_is_lost(
    tmp_path: Path, bus: ServiceBusDouble
) -> None:
    gate = FsyncGate(tmp_path / "gate", root=tmp_path / "data")
    bus.refuse()
    async with Daemon(tmp_path / "data", environment={**environment(bus), **gate.environment}) as daemon:
        registration = await daemon.register_github()
        accepted = await deliver(daemon, registration, range(5))
        with gate.full_disk():
            refused = await daemon.post_webhook(registration, issue(10))
            assert refused.status == 503, refused
            assert int(refused.headers["Retry-After"]) >= 1
            assert "spool.db is full: free space on it" in refused.json()["detail"]
            intake = await component(daemon, "webhook-intake")
            assert intake is not None
            assert "the spool takes no event" in intake["detail"]
            assert (await daemon.request("GET", "/healthz")).status == 200
        accepted |= await deliver(daemon, registration, range(20, 25))
        await bus.accept()

        async def applied() -> bool:
            return {row["eventId"] for row in await events(daemon) if row["status"] == "processed"} == accepted

        await eventually(applied, within=100.0, what="every answered event")
        assert "Traceback" not in daemon.log
        assert logged(daemon, "service_failed") == []
