"""Pulls, previews, backfills and deletions let through, of one connection, over the API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from syncd.domain.collections import AUDIT, CURSORS, ENTITIES, TASKS
from syncd.domain.receiving import Incoming, order_of, receive
from syncd.domain.records import alias, alias_id
from syncd.domain.times import iso
from syncd.ports.documents import Create, Query
from tests.doubles.contract import Fault
from tests.doubles.rest import RestDouble
from tests.integration.http.connecting import connect, crm_double
from tests.integration.http.world import READER, World


@pytest.fixture
async def crm() -> AsyncIterator[RestDouble]:
    async with crm_double() as double:
        yield double


async def preview(world: World, body: object = None) -> Any:
    answer = await world.api("POST", "/connections/crm/pull?dryRun=true", body)
    assert answer.status == 200, answer.text
    [one] = answer.json["types"]
    return one


async def stored(world: World) -> list[Any]:
    found: list[Any] = []
    for collection in (ENTITIES, TASKS, CURSORS):
        found += (await world.store.documents.query(collection, Query(across=True, limit=1000))).items
    return found


async def test_a_pull_is_a_task_with_high_priority_and_says_from_when(world: World, crm: RestDouble) -> None:
    await connect(world, crm)
    made = await world.api("POST", "/connections/crm/pull", {"entityType": "contact", "since": "2026-01-01T00:00:00Z"})
    assert made.status == 202, made.text
    wanted = {
        "connectionId": "crm",
        "syncMode": "pull",
        "priority": "high",
        "entityType": "contact",
        "since": "2026-01-01T00:00:00.000Z",
        "status": "pending",
    }
    assert {name: made.json[name] for name in wanted} == wanted
    assert world.control.nudged == ["planner"]


async def test_a_backfill_is_a_full_task_both_ways(world: World, crm: RestDouble) -> None:
    await connect(world, crm)
    made = await world.api("POST", "/connections/crm/backfill")
    assert (made.status, made.json["syncMode"], made.json["full"]) == (202, "bidirectional", True), made.text
    assert "entityType" not in made.json


@pytest.mark.parametrize("action", ["pull", "pull?dryRun=true", "backfill", "allow-deletes"])
async def test_what_is_not_there_to_be_asked_for_is_refused_with_its_field(
    world: World, crm: RestDouble, action: str
) -> None:
    await connect(world, crm)
    where = f"/connections/crm/{action}"
    answer = await world.api("POST", where, {"entityType": "contract"})
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "entityType")
    assert "it lists contact" in answer.json["detail"]
    assert (await world.api("POST", where, token=READER)).status == 403
    assert (await world.api("POST", where.replace("crm", "nobody"))).status == 404
    if action != "allow-deletes":
        await world.api("PATCH", "/connections/crm", {"enabled": False})
        assert (await world.api("POST", where)).status == 409


async def test_a_dry_run_says_of_each_record_what_a_pull_would_do_and_writes_nothing(
    world: World, crm: RestDouble
) -> None:
    for number in range(3):
        crm.put("contact", number)
    await connect(world, crm)
    before = await stored(world)
    found = await preview(world)
    assert (found["fetched"], found["counts"], found["since"], found["more"]) == (3, {"created": 3}, None, False)
    first = found["records"][0]
    assert (first["externalId"], first["entityId"], first["effect"]) == ("1", None, "created")
    assert {"field": "name", "after": "Ana 0"} in first["changes"]
    assert await stored(world) == before == []


async def test_a_dry_run_names_what_both_sides_changed_what_is_the_same_and_what_cannot_be_read(
    world: World, crm: RestDouble
) -> None:
    async def stored_as(external_id: str, base: dict[str, Any], data: dict[str, Any]) -> str:
        """An entity that the connection told us as `base`, and that is `data` by now."""
        identifier = f"tenant-1:contact.e{external_id}"
        at = world.clock.now() - 60
        said = Incoming(
            connection_id="crm",
            external_id=external_id,
            operation="update",
            data=base,
            occurred_at=at,
            order=order_of(at, "update", at),
        )
        made = receive(
            None, said, tenant_id="tenant-1", entity_type="contact", subscribers=(), now=at, entity_id=identifier
        )
        assert made.entity is not None
        known = alias("crm", external_id, identifier)
        entity = {**made.entity, "data": data, "changedAt": iso(at + 30)}
        writes = [Create(identifier, entity), Create(alias_id("crm", external_id), known)]
        await world.store.documents.write(ENTITIES, "tenant-1:contact", writes)
        return identifier

    await connect(world, crm)
    same, clashing = crm.sample("contact", 1), crm.sample("contact", 2)
    url = {"url": "/contacts/2"}
    await stored_as("1", {**same, "url": "/contacts/1"}, {**same, "url": "/contacts/1"})
    both = await stored_as("2", {**clashing, **url, "name": "As it was"}, {**clashing, **url, "name": "Ours"})
    before = await stored(world)
    items = [
        {"id": 1, **same, "url": "/contacts/1", "changed": "2023-11-14T22:13:20Z"},
        {"id": 2, **clashing, **url, "changed": "2023-11-14T22:13:20Z"},
        {"name": "nobody's"},
    ]
    crm.faults.append(Fault(status=200, body=json.dumps({"data": items}).encode()))
    found = await preview(world)
    assert (found["fetched"], found["counts"]) == (3, {"unchanged": 1, "conflict": 1}), found
    [conflict] = [one for one in found["records"] if one["effect"] == "conflict"]
    assert (conflict["entityId"], [one["taken"] for one in conflict["conflicts"]]) == (both, ["theirs"])
    assert conflict["changes"] == [{"field": "name", "before": "Ours", "after": "Ana 2"}]
    [unreadable] = found["unreadable"]
    assert unreadable["position"] == 2
    assert await stored(world) == before


async def test_a_dry_run_reads_a_bounded_part_and_says_that_there_is_more(world: World, crm: RestDouble) -> None:
    for number in range(120):
        crm.put("contact", number)
    await connect(world, crm)
    found = await preview(world)
    assert (found["fetched"], found["more"], len(crm.log)) == (100, True, 1)


async def test_a_dry_run_that_begins_at_a_time_asks_for_what_changed_since(world: World, crm: RestDouble) -> None:
    crm.put("contact", 1)
    crm.now += 3600
    crm.put("contact", 2)
    await connect(world, crm)
    found = await preview(world, {"since": "2023-11-14T22:30:00Z"})
    assert (found["since"], [one["externalId"] for one in found["records"]]) == ("2023-11-14T22:30:00.000Z", ["2"])
    wrong = await world.api("POST", "/connections/crm/pull?dryRun=true", {"since": "yesterday"})
    assert (wrong.status, wrong.json["errors"][0]["field"]) == (400, "since")


async def test_a_dry_run_fails_as_a_test_does(world: World, crm: RestDouble) -> None:
    await connect(world, crm)
    crm.faults.extend([Fault(status=429, headers={"Retry-After": "9"}), Fault(status=401), Fault(status=404)])
    answers = [await world.api("POST", "/connections/crm/pull?dryRun=true") for _ in range(3)]
    assert [one.status for one in answers] == [429, 502, 502]
    assert answers[0].headers["Retry-After"] == "9"
    assert "the credential of crm is refused" in answers[1].json["detail"]


async def test_deletions_are_let_through_by_a_person_who_is_written_down(world: World, crm: RestDouble) -> None:
    await connect(world, crm)
    answer = await world.api("POST", "/connections/crm/allow-deletes")
    assert answer.json == {"connectionId": "crm", "entityTypes": ["contact"]}
    found = await world.store.documents.get(CURSORS, "crm", "deletes~contact")
    assert found is not None
    assert found.data["allowed"] is True
    rows = (await world.store.documents.query(AUDIT, Query(across=True, limit=100))).items
    [row] = [one.data for one in rows if one.data["action"] == "connection.allow-deletes"]
    assert (row["actor"], row["subject"], row["outcome"]) == ("admin", "crm", "done")


# -- changes of a connection --


async def link(world: World, external_id: str) -> None:
    """An entity that the connection knows."""
    partition, entity = "tenant-1:contact", f"tenant-1:contact.{external_id}"
    known = alias("crm", external_id, entity)
    await world.store.documents.write(ENTITIES, partition, [Create(alias_id("crm", external_id), known)])


async def test_links_keep_a_connection_at_the_system_that_gave_their_ids(world: World, crm: RestDouble) -> None:
    await connect(world, crm)
    elsewhere = {"settings": {**crm.settings(), "baseUrl": "https://crm.example/api"}}
    unlinked = await world.api("PATCH", "/connections/crm", elsewhere)
    assert unlinked.status == 200, "nothing is linked yet"
    await link(world, "1")
    await link(world, "2")
    back = {"settings": crm.settings()}
    refused = await world.api("PATCH", "/connections/crm", back)
    assert refused.status == 409
    assert (
        f"entities linked to objects at https://crm.example/api: 2. At {crm.url}/api the same" in refused.json["detail"]
    )
    headers = {"X-Client": "another"}
    other = await world.api("PATCH", "/connections/crm", {"settings": {**elsewhere["settings"], "headers": headers}})
    assert other.status == 200, "what does not say whose objects they are may change"
    forced = await world.api("PATCH", "/connections/crm", {**back, "force": True})
    assert (forced.status, forced.json["settings"]["baseUrl"]) == (200, f"{crm.url}/api")
    assert "force" not in forced.json


async def test_a_new_connection_does_not_inherit_the_links_of_one_that_had_its_id(
    world: World, crm: RestDouble
) -> None:
    await connect(world, crm)
    await link(world, "1")
    assert (await world.api("DELETE", "/connections/crm")).status == 204
    again = {
        "id": "crm",
        "tenantId": "tenant-1",
        "integrationId": "rest",
        "settings": crm.settings(),
        "entities": {"contact": {"direction": "both"}},
    }
    refused = await world.api("POST", "/connections", again)
    assert (refused.status, "a former connection 'crm': 1" in refused.json["detail"]) == (409, True)
    forced = await world.api("POST", "/connections", {**again, "force": True})
    assert (forced.status, "force" in forced.json) == (201, False)


async def test_another_repository_holds_other_objects(world: World) -> None:
    await world.connection("crm", entities={"contact": {"direction": "pull"}})
    await link(world, "1")
    for settings, status in (({"owner": "o", "repo": "other"}, 409), ({"owner": "o", "repo": "r"}, 200)):
        assert (await world.api("PATCH", "/connections/crm", {"settings": settings})).status == status


@pytest.mark.parametrize(("direction", "told"), [("both", True), ("push", True), ("pull", False)])
async def test_a_connection_that_is_enabled_again_is_told_what_it_missed(
    world: World, crm: RestDouble, direction: str, told: bool
) -> None:
    await connect(world, crm, direction=direction)
    assert "catchUpTaskId" not in (await world.api("PATCH", "/connections/crm", {"enabled": False})).json
    enabled = await world.api("PATCH", "/connections/crm", {"enabled": True})
    assert ("catchUpTaskId" in enabled.json) is told, enabled.text
    tasks = (await world.api("GET", "/tasks")).json["items"]
    assert [(one["id"], one["syncMode"]) for one in tasks] == (
        [(enabled.json["catchUpTaskId"], "push")] if told else []
    )
    assert "catchUpTaskId" not in (await world.api("PATCH", "/connections/crm", {"enabled": True})).json
