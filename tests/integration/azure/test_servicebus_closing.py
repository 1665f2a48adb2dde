"""Closing while somebody looks or connects: callers are gone, and what they began ends in order."""

from __future__ import annotations

import asyncio
import logging

import pytest

from syncd.adapters.azure.servicebus.opening import open_service_bus
from syncd.adapters.embedded.clock import SystemClock
from tests.integration.azure.servicebus_world import PATIENCE, Q
from tests.wire.servicebus import QueueSpec, service_bus

#: How late the broker's answers are, so that there is something to be cut off. Seconds.
LATENCY = 0.05


@pytest.mark.parametrize("silent", [False, True], ids=["a slow broker", "a silent broker"])
@pytest.mark.parametrize("reached", ["open", "attach"])
async def test_what_is_under_way_when_everything_is_closed_ends_with_it_and_is_no_error(
    reached: str, silent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    async with service_bus(queues=[QueueSpec(name=Q)], latency=LATENCY) as bus:
        async with open_service_bus(
            connection_string=bus.connection_string,
            queues=[Q],
            lanes=False,
            clock=SystemClock(),
            patience=PATIENCE,
            observe=lambda event, **_: told.append(event),
        ) as queue:
            asked = [asyncio.ensure_future(work) for work in (queue.depth(Q), queue.dead_letters(Q), queue.peek(Q))]
            await bus.until(reached, 1)
            if silent:
                bus.silence()
            for one in asked:
                one.cancel()
        assert told == []
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
        bus.speak()
