"""What the broker put aside reaches people: found by maintenance, shown with the reason, and applied when it is replayed."""

from __future__ import annotations

from pathlib import Path

import pytest
from azure.servicebus.aio import ServiceBusClient

from tests.acceptance.process import Daemon, eventually
from tests.acceptance.reading import events, parked
from tests.acceptance.test_durability import issue
from tests.wire.servicebus import QueueSpec, service_bus

#: The test brings its own broker; everything else is embedded, whatever the others run on.
pytestmark = pytest.mark.embedded
Q = "sync-outbound"
QUEUES = ("sync-inbound", Q, "azure_api", "reports")


async def test_a_webhook_that_another_consumer_put_aside_is_parked_with_its_reason_and_applied_when_replayed(
    tmp_path: Path,
) -> None:
    async with service_bus(queues=[QueueSpec(name=name, lock_duration=10.0) for name in QUEUES], record=False) as bus:
        environment = {
            "SERVICE_BUS_CONNECTION_STRING": bus.connection_string,
            "SYNCD_DAEMON__DATA_DIR_DURABLE": "true",
            "SYNCD_DAEMON__LAME_DUCK": "0s",
            "SYNCD_LIMITS__MAX_REPLICAS": "1",
        }
        taking = Daemon(tmp_path / "data", environment={**environment, "SYNCD_DAEMON__ROLES": "webhooks"})
        async with taking as daemon:
            registration = await daemon.register_github()
            answer = (await daemon.post_webhook(registration, issue(1))).ok()

            async def sent() -> bool:
                return len(bus.queue(Q)) == 1

            await eventually(sent, what="the event at the broker")  # or in the spool before
            await put_aside(bus.connection_string, "BadFormat", "what is this?")
            assert await daemon.terminate() == 0
        async with Daemon(tmp_path / "data", environment=environment) as daemon:
            (await daemon.api("POST", "/jobs/maintenance/run")).ok()

            async def shown() -> bool:
                return bool(await parked(daemon, Q))

            await eventually(shown, within=60, what="the parked message")
            [found] = await parked(daemon, Q)
            assert (found["bin"], found["reason"]) == (
                "poison",
                "the broker put it aside (BadFormat: what is this?)",
            )

            async def gone() -> bool:
                return not bus.queue(Q).dead_letters

            await eventually(gone, what="no dead letter at the broker")
            (await daemon.api("POST", f"/queues/{Q}/replay", {"ids": [found["id"]]})).ok()

            async def applied() -> bool:
                rows = await events(daemon)
                return [(row["eventId"], row["status"]) for row in rows] == [(answer["eventId"], "processed")]

            await eventually(applied, within=60, what="the event applied")
            assert await parked(daemon, Q) == []


async def put_aside(connection_string: str, reason: str, description: str) -> None:
    """By a program that shares the queue."""
    async with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_receiver(Q) as receiver,
    ):
        [received] = await receiver.receive_messages(1, max_wait_time=30)
        await receiver.dead_letter_message(received, reason=reason, error_description=description)
