"""Messages of the systems in use, from the queue to the provider."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from syncd.domain.foreign import envelope_of
from syncd.ports.queue import Message
from tests.doubles.rest import DOUBLES, RestDouble
from tests.integration.syncing.world import TENANT, World, at_start, opened


@pytest.fixture
async def crm() -> AsyncIterator[RestDouble]:
    double = DOUBLES["page"]()
    assert isinstance(double, RestDouble)
    async with double.serving():
        yield double


@pytest.fixture
async def world(tmp_path: Path, crm: RestDouble) -> AsyncIterator[World]:
    async with opened(tmp_path, at_start()) as world:
        await world.connect("crm", crm)
        yield world


async def sent(world: World, queue: str, fields: dict[str, Any], *, encoded: int = 2) -> None:
    """As the old producers send: JSON inside JSON, no message id."""
    body = json.dumps(fields)
    for _ in range(encoded - 1):
        body = json.dumps(body)
    envelope = envelope_of(queue, body.encode(), {}, "17", now=world.clock.now())
    await world.ports.queue.send(queue, [Message(envelope, body.encode())])


async def test_a_change_by_message_is_pushed_to_the_provider(world: World, crm: RestDouble) -> None:
    number = crm.put("contact", 1)
    await world.pull("crm")
    [entity] = await world.entities()
    change = {
        "integrationId": "rest",
        "tenantId": TENANT,
        "entityId": entity.id,
        "operation": "update",
        "changes": {"name": "By message"},
        "correlationId": "tick-1",
    }
    await sent(world, "sync-outbound", change)
    await sent(world, "sync-outbound", change, encoded=1)
    await world.work()
    assert (crm.held("contact", number) or {})["name"] == "By message"
    assert len([one for one in crm.log if one.method == "PATCH"]) == 1


async def test_a_task_by_message_pulls_what_its_connection_lists(world: World, crm: RestDouble) -> None:
    crm.put("contact", 1)
    await sent(
        world,
        "sync-inbound",
        {
            "integrationId": "rest",
            "tenantId": TENANT,
            "connectionId": "crm",
            "syncMode": "pull",
            "correlationId": "tick-1",
        },
    )
    await world.work()
    assert len(await world.entities()) == 1
