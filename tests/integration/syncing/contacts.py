"""A system of contacts whose ids are not all that says who they are."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

from syncd.domain.collections import ENTITIES
from syncd.domain.messages import Envelope
from syncd.ports.documents import Condition, Document
from syncd.ports.queue import Message
from tests.doubles.contract import START, JsonObject
from tests.doubles.rest import DOUBLES, RestDouble
from tests.integration.syncing.world import TENANT, World

BY_MAIL: dict[str, Any] = {"dedupe": "composite_key", "keyFields": ["mail"]}
BY_CONTENT: dict[str, Any] = {"dedupe": "content_hash", "ignoreFields": ["url"]}


@asynccontextmanager
async def system() -> AsyncIterator[RestDouble]:
    double = DOUBLES["page"]()
    assert isinstance(double, RestDouble)
    async with double.serving():
        yield double


def make(double: RestDouble, name: str, mail: str | None, *, at: float = 0.0) -> str:
    """A contact there, changed `at` seconds after the start."""
    fields: JsonObject = {"name": name} if mail is None else {"name": name, "mail": mail}
    made = double._make(fields)
    made.changed = START + at
    return str(made.number)


def behave(double: RestDouble, **manners: Any) -> None:
    double.manners = replace(double.manners, **manners)


async def by_name(world: World) -> dict[str, Document]:
    return {one.data["data"]["name"]: one for one in await world.entities()}


async def tell(
    world: World, double: RestDouble, external_id: str, operation: Literal["create", "update", "delete"], **content: Any
) -> None:
    """A webhook of the double about the object, taken from the queue."""
    event = double.event("contact", external_id, operation)
    assert event is not None
    body = json.loads(event[1]) | {"tenantId": TENANT, "connectionId": "crm"}
    body["data"] = content or body["data"]
    origin = f"{external_id}-{operation}-{double.now}"
    envelope = Envelope(kind="webhook", origin_id=origin, tenant_id=TENANT, received_at=world.clock.now())
    await world.ports.queue.send("sync-outbound", [Message(envelope=envelope, body=json.dumps(body).encode())])
    await world.work()
    assert not [one for one in world.seen.events if one[0] == "message_parked"]


async def live(world: World) -> int:
    """Entities of the connection, as the guard against storms of deletions counts them."""
    where = (Condition("connectionId", "eq", "crm"),)
    return await world.ports.documents.count(ENTITIES, f"{TENANT}:contact", where, at_most=10)
