"""What the broker put aside reaches people: found by maintenance, shown with the reason, and applied when it is replayed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from azure.servicebus.aio import ServiceBusClient

from tests.acceptance.process import Daemon, eventually
from tests.acceptance.reading import events, parked
from tests.acceptance.services import ALONE
from tests.acceptance.test_durability import issue
from tests.wire.servicebus import QueueSpec, ServiceBusDouble, service_bus

#: The test brings its own broker; everything else is embedded, whatever the others run on.
pytestmark = pytest.mark.embedded
Q = "sync-outbound"
QUEUES = ("sync-inbound", Q, "azure_api", "reports")


@asynccontextmanager
async def put_aside(tmp_path: Path) -> AsyncIterator[tuple[ServiceBusDouble, Daemon, str]]:
    """A broker with one dead letter, the daemon that took it in and works on none, and the event's id."""
    async with (
        service_bus(queues=[QueueSpec(name=name, lock_duration=10.0) for name in QUEUES], record=False) as bus,
        Daemon(tmp_path / "data", environment=environment(bus), args=["--role", "webhooks"]) as daemon,
    ):
        registration = await daemon.register_github()
        answer = (await daemon.post_webhook(registration, issue(1))).ok()

        async def sent() -> bool:
            return len(bus.queue(Q)) == 1

        await eventually(sent, what="the event at the broker")  # or in the spool before
        await bury(bus.connection_string, "BadFormat", "what is this?")
        yield bus, daemon, answer["eventId"]


def environment(bus: ServiceBusDouble) -> dict[str, str]:
    return {"SERVICE_BUS_CONNECTION_STRING": bus.connection_string, **ALONE}


async def drained(bus: ServiceBusDouble) -> None:
    async def gone() -> bool:
        return not bus.queue(Q).dead_letters

    await eventually(gone, within=60, what="no dead letter at the broker")


async def test_a_webhook_that_another_consumer_put_aside_is_parked_with_its_reason_and_applied_when_replayed(
    tmp_path: Path,
) -> None:
    async with put_aside(tmp_path) as (bus, taking, event_id):
        assert await taking.terminate() == 0
        async with Daemon(tmp_path / "data", environment=environment(bus)) as daemon:
            (await daemon.api("POST", "/jobs/maintenance/run")).ok()
            await drained(bus)
            [found] = await parked(daemon, Q)
            assert (found["bin"], found["reason"]) == (
                "poison",
                "the broker put it aside (BadFormat: what is this?)",
            )
            (await daemon.api("POST", f"/queues/{Q}/replay", {"ids": [found["id"]]})).ok()

            async def applied() -> bool:
                rows = await events(daemon)
                return [(row["eventId"], row["status"]) for row in rows] == [(event_id, "processed")]

            await eventually(applied, within=60, what="the event applied")
            assert await parked(daemon, Q) == []


async def test_what_was_put_aside_of_a_purged_tenant_ends_without_a_trace(tmp_path: Path) -> None:
    async with put_aside(tmp_path) as (bus, taking, _):
        await purge(taking)
        assert await taking.terminate() == 0
        async with Daemon(tmp_path / "data", environment=environment(bus)) as daemon:
            (await daemon.api("POST", "/jobs/maintenance/run")).ok()
            await drained(bus)
            assert await parked(daemon, Q) == []


async def purge(daemon: Daemon) -> None:
    async def done() -> bool:
        return bool((await daemon.api("POST", "/tenants/tenant-1/purge")).ok()["done"])

    await eventually(done, within=60, what="the end of the purge")


async def bury(connection_string: str, reason: str, description: str) -> None:
    """By a program that shares the queue."""
    async with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_receiver(Q) as receiver,
    ):
        [received] = await receiver.receive_messages(1, max_wait_time=30)
        await receiver.dead_letter_message(received, reason=reason, error_description=description)
