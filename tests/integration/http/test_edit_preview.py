"""`PUT /entities/{type}/{id}?dryRun=true`: what would be sent to whom, and nothing is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from syncd.domain.collections import AUDIT, CONNECTIONS, ENTITIES
from syncd.domain.receiving import Incoming, order_of, receive
from syncd.domain.records import Subscriber
from syncd.ports.documents import Create, Delete, Query
from tests.doubles.rest import RestDouble
from tests.integration.http.connecting import connect, crm_double
from tests.integration.http.world import READER, Answer, World

PARTITION = "tenant-1:contact"
ID = f"{PARTITION}.one"
PATH = f"/entities/contact/{quote(ID, safe='')}"
DATA = {"name": "Ana", "mail": "ana@example.com", "url": "/contacts/1"}


@pytest.fixture
async def crm() -> AsyncIterator[RestDouble]:
    async with crm_double() as double:
        yield double


async def known(world: World) -> None:
    """An entity as a pull of the connection `crm` leaves it; others may owe it."""
    now = world.clock.now()
    incoming = Incoming(
        connection_id="crm",
        external_id="1",
        operation="update",
        data=DATA,
        occurred_at=now,
        order=order_of(now, "update", now),
    )
    subscribers = [Subscriber("crm")]
    change = receive(
        None, incoming, tenant_id="tenant-1", entity_type="contact", subscribers=subscribers, now=now, entity_id=ID
    )
    assert change.entity is not None
    await world.store.documents.write(ENTITIES, PARTITION, [Create(ID, change.entity)])


async def preview(world: World, data: dict[str, Any], **more: Any) -> Answer:
    return await world.api("PUT", f"{PATH}?dryRun=true", {"tenantId": "tenant-1", "data": data}, **more)


async def test_each_connection_is_shown_what_it_would_be_sent_against_what_it_has(
    world: World, crm: RestDouble
) -> None:
    async with crm_double("link") as mail:
        await connect(world, crm)
        await connect(world, mail, "mail", "push")
        await connect(world, mail, "reader", "pull")
        await known(world)
        before = await world.api("GET", PATH)
        answer = await preview(world, {"name": "Änne", "url": "/contacts/1"})
        assert answer.status == 200, answer.text
        assert (answer.json["dryRun"], answer.json["effect"], answer.json["version"]) == (True, "updated", 2)
        assert answer.json["changes"] == [
            {"field": "mail", "before": "ana@example.com"},
            {"field": "name", "before": "Ana", "after": "Änne"},
        ]
        assert answer.json["pushes"] == [
            {"connectionId": "crm", "operation": "update", "externalId": "1", "changes": answer.json["changes"]},
            {
                "connectionId": "mail",
                "operation": "create",
                "externalId": None,
                "changes": [{"field": "name", "after": "Änne"}],  # the url is the system's own to say
            },
        ]
        assert (await world.api("GET", PATH)).json == before.json
        assert crm.log == mail.log == []
        assert await world.store.queue.peek("sync-outbound") == []
        rows = (await world.store.documents.query(AUDIT, Query(across=True, limit=100))).items
        assert [one.data["action"] for one in rows if one.data["action"].startswith("entity")] == []


async def test_an_edit_that_changes_nothing_would_send_nothing(world: World, crm: RestDouble) -> None:
    await connect(world, crm)
    await known(world)
    answer = await preview(world, DATA)
    assert (answer.json["effect"], answer.json["changes"], answer.json["pushes"]) == ("unchanged", [], [])


async def test_why_something_would_not_be_sent_is_said(world: World, crm: RestDouble) -> None:
    await connect(world, crm)
    await known(world)
    await world.api("PUT", PATH, {"tenantId": "tenant-1", "data": {**DATA, "name": "B"}})
    await world.api("PATCH", "/connections/crm", {"enabled": False})
    await world.clock.advance(10)
    [push] = (await preview(world, {**DATA, "name": "C"})).json["pushes"]
    assert (push["operation"], "is disabled" in push["reason"]) == ("update", True)
    await world.store.documents.write(CONNECTIONS, "crm", [Delete("crm")])
    [push] = (await preview(world, {**DATA, "name": "C"})).json["pushes"]
    assert (push["operation"], push["reason"]) == ("none", "the connection is gone")


async def test_it_is_guarded_as_the_edit_itself(world: World, crm: RestDouble) -> None:
    await connect(world, crm)
    await known(world)
    assert (await preview(world, {}, headers={"If-Match": '"old"'})).status == 412
    assert (await preview(world, {}, token=READER)).status == 403
    gone = PATH.replace("one", "two")
    body = {"tenantId": "tenant-1", "data": {}}
    assert (await world.api("PUT", f"{gone}?dryRun=true", body)).status == 404
    assert (await world.api("PUT", f"{PATH}?dryRun=yes", body)).status == 400
