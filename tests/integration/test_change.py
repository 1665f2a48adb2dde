"""Changes that other systems ask for by message, over a real store."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from syncd.domain.collections import ENTITIES
from syncd.domain.errors import NotUnderstood
from syncd.domain.foreign import envelope_of
from syncd.domain.ids import located, partition_of
from syncd.domain.outcomes import Done, Outcome, Park, Snooze
from syncd.flows.audit_rows import AuditRows
from syncd.flows.change import OutboundChanges, row_id
from syncd.ports.documents import Create, Document
from syncd.runtime.shaped import ShapedDocuments
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import Crash, CrashAt
from tests.integration.backends import Backend
from tests.integration.test_webhook_crashes import made_in
from tests.integration.webhooks import World, github, issue, opened

P = "tenant:issue"


def handler(world: World) -> OutboundChanges:
    return OutboundChanges(
        documents=world.documents,
        entities=world.entities,
        rows=AuditRows(documents=world.documents, clock=world.clock, owner=f"replica/{world.boot}", sole=world.sole),
        clock=world.clock,
        observe=world.seen,
    )


async def ask(world: World, entity_id: str, operation: str = "update", sequence: str = "1", **fields: Any) -> Outcome:
    wire = {"integrationId": "github", "entityId": entity_id, "operation": operation, **fields}
    body = json.dumps({name: value for name, value in wire.items() if value is not None}).encode()
    return await handler(world).handle(envelope_of("sync-outbound", body, {}, sequence, now=world.clock.now()), body)


async def made(world: World, tenant: str = "tenant", **data: Any) -> Document:
    return await world.entities.create(tenant, "issue", {"title": "t", **data})


def reason(outcome: Outcome) -> str:
    assert isinstance(outcome, Park)
    assert outcome.bin == "tenant_must_act"
    return outcome.reason


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = FrozenClock()
    async with opened(tmp_path, clock) as world:
        world = World(
            documents=ShapedDocuments(world.documents, write_flat=True),
            queue=world.queue,
            blobs=world.blobs,
            vault=world.vault,
            clock=clock,
        )
        await world.connect()
        yield world


async def pushes(world: World) -> list[str]:
    return [one.envelope.origin_id for one in await world.queue.peek("pushes")]


async def test_an_update_is_merged_and_owed_to_the_connection(world: World) -> None:
    entity = await made(world, body="b")
    assert await ask(world, entity.id, changes={"title": "new", "closed": None}) == Done()
    found = await world.entities.get(entity.id)
    assert found.data["data"] == {"title": "new", "body": "b", "closed": None}
    assert await pushes(world) == [f"{entity.id}~gh~1", f"{entity.id}~gh~2"]
    assert world.seen.named("change_processed") == [{"operation": "update", "effect": "updated"}]


async def test_a_delete_leaves_a_tombstone_and_again_changes_nothing(world: World) -> None:
    entity = await made(world)
    assert await ask(world, entity.id, "delete") == Done()
    assert await ask(world, entity.id, "delete", sequence="2") == Done()
    [buried] = await world.issues(deleted=True)
    assert buried.data["version"] == 2


async def test_an_update_of_a_deleted_entity_is_parked_and_a_create_brings_it_back(world: World) -> None:
    entity = await made(world)
    await world.entities.remove("tenant", "issue", entity.id)
    assert "is deleted" in reason(await ask(world, entity.id, changes={"title": "x"}))
    assert await ask(world, entity.id, "create", "2", changes={"title": "back"}) == Done()
    [found] = await world.issues()
    assert (found.id, found.data["data"]) == (entity.id, {"title": "back"})


async def test_a_create_of_something_unknown_makes_the_entity_that_later_messages_find(world: World) -> None:
    assert await ask(world, "entity/001", "create", changes={"title": "John"}) == Done()
    assert await ask(world, "entity/001", "update", "2", changes={"title": "Jane"}) == Done()
    [found] = await world.issues()
    assert (found.data["version"], found.data["data"]) == (2, {"title": "Jane"})
    assert found.partition == partition_of(found.id)
    assert "/" not in found.id


async def test_a_create_of_something_unknown_needs_one_type(world: World) -> None:
    await world.connect("mirror", "both", "issue", "comment")
    assert "several types" in reason(await ask(world, "e1", "create", changes={}))
    assert await ask(world, "e1", "create", "2", changes={"n": 1}, entityType="comment") == Done()
    assert [one.data["type"] for one in await world.everything(entity_type="comment")] == ["comment"]
    assert "no connection takes" in reason(await ask(world, "e2", "create", "3", changes={}, entityType="wiki"))


async def test_an_old_document_is_found_by_its_own_id(world: World) -> None:
    await world.documents.write(
        ENTITIES, P, [Create("entity-001", {"tenantId": "tenant", "title": "old", "unknown": 1})]
    )
    assert "pull it from there first" in reason(await ask(world, "entity-001", changes={"title": "x"}))
    assert "pull it from there first" in reason(await ask(world, "entity-001", "delete", "2"))
    assert await ask(world, "entity-001", "create", "3", changes={"title": "new"}) == Done()
    shown = located(P, "entity-001")
    assert (await world.entities.get(shown)).data["data"] == {"title": "new", "unknown": 1}
    assert await pushes(world) == [f"{shown}~gh~1"]


async def test_an_entity_is_found_by_the_connections_own_id(world: World) -> None:
    await world.register()
    body = issue(5)
    await world.send(body, github(body))
    await world.work()
    [entity] = await world.issues()
    assert await ask(world, entity.data["externalIds"]["gh"], changes={"title": "ours"}) == Done()
    assert (await world.entities.get(entity.id)).data["data"]["title"] == "ours"


async def test_several_entities_of_one_name_are_parked_unless_the_tenant_is_named(world: World) -> None:
    await world.connect("other", "both", tenant="tenant-2")
    for tenant in ("tenant", "tenant-2"):
        assert await ask(world, "e1", "create", tenant, changes={"n": tenant}, tenantId=tenant) == Done()
    assert "2 entities are 'e1'" in reason(await ask(world, "e1", changes={"n": 0}))
    assert await ask(world, "e1", "update", "3", changes={"n": 0}, tenantId="tenant-2") == Done()
    assert await ask(world, "e1", "update", "4", changes={"m": 0}, connectionId="other") == Done()
    assert [one.data["data"]["n"] for one in await world.issues()] == ["tenant"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"integrationId": "salesforce"}, "no connection of 'salesforce'"),
        ({"connectionId": "nobody"}, "no connection 'nobody'"),
        ({"connectionId": "gh", "tenantId": "tenant-2"}, "no connection 'gh'"),
        ({"integrationId": None}, "must name its integration"),
        ({"entityId": "nothing"}, "no entity 'nothing'"),
        ({"entityId": "x~00"}, "no entity"),
        ({"entityId": "tenant:issue.nothing"}, "no entity"),
    ],
)
async def test_what_cannot_be_found_is_parked_with_what_is_missing(
    world: World, fields: dict[str, Any], said: str
) -> None:
    wire = {"entityId": "e1", "changes": {"n": 1}, **fields}
    assert said in reason(await ask(world, wire.pop("entityId"), **wire))


async def test_nobody_changes_another_tenants_entity(world: World) -> None:
    await world.connect("other", "both", tenant="tenant-2")
    entity = await made(world)
    assert "has no entity" in reason(await ask(world, entity.id, changes={"n": 1}, tenantId="tenant-2"))
    assert (await world.entities.get(entity.id)).data["version"] == 1


@pytest.mark.parametrize("fields", [{"direction": "pull"}, {"direction": "both", "enabled": False}])
async def test_a_change_that_would_be_told_to_nobody_is_parked(tmp_path: Path, fields: dict[str, Any]) -> None:
    async with opened(tmp_path, FrozenClock()) as world:
        await world.connect("gh", fields.pop("direction"), **fields)
        entity = await made(world)
        assert "no enabled connection" in reason(await ask(world, entity.id, changes={"n": 1}))
        assert (await world.entities.get(entity.id)).data["version"] == 1


async def test_content_that_is_there_already_and_was_never_told_is_said_to_need_a_backfill(tmp_path: Path) -> None:
    async with opened(tmp_path, FrozenClock()) as world:
        entity = await made(world)
        await world.connect()
        assert "run a backfill" in reason(await ask(world, entity.id, "create", changes={"title": "t"}))


async def test_a_message_that_names_two_tenants_is_not_understood(world: World) -> None:
    body = json.dumps({"entityId": "e", "operation": "delete", "tenantId": "tenant"}).encode()
    envelope = envelope_of("sync-outbound", b"{}", {"tenantId": "tenant-2"}, "1", now=0.0)
    with pytest.raises(NotUnderstood, match="two tenants"):
        await handler(world).handle(envelope, body)


async def test_the_row_says_what_became_of_the_message_and_of_one_that_failed(world: World) -> None:
    entity = await made(world)
    body = json.dumps({"entityId": entity.id, "operation": "update", "changes": {"n": 1}}).encode()
    envelope = envelope_of("sync-outbound", body, {}, "9", now=world.clock.now())
    flow = handler(world)
    assert await flow.handle(envelope, body) == Done()
    row = await world.row(row_id(envelope, hashlib.sha256(body).hexdigest()))
    assert (row["status"], row["entity"], row["effect"], row["tenantId"]) == (
        "processed",
        entity.id,
        "updated",
        "tenant",
    )
    await flow.failed(envelope, body, "retries spent")
    assert (await world.row(row_id(envelope, hashlib.sha256(body).hexdigest())))["status"] == "processed"


async def test_a_processed_message_that_comes_again_does_not_undo_a_newer_edit(world: World) -> None:
    entity = await made(world)
    assert await ask(world, entity.id, changes={"title": "first"}) == Done()
    await world.entities.edit("tenant", "issue", entity.id, {"title": "newer"})
    assert await ask(world, entity.id, changes={"title": "first"}) == Done()
    assert (await world.entities.get(entity.id)).data["data"]["title"] == "newer"


async def test_two_changes_at_once_of_one_entity_are_both_in_it(world: World) -> None:
    entity = await made(world)
    outcomes = await asyncio.gather(*(ask(world, entity.id, "update", str(n), changes={f"f{n}": n}) for n in range(8)))
    assert outcomes == [Done()] * 8
    found = await world.entities.get(entity.id)
    assert found.data["data"] == {"title": "t", **{f"f{n}": n for n in range(8)}}
    assert found.data["version"] == 9


@pytest.mark.parametrize("operation", ["create", "update", "delete"])
async def test_at_every_crash_point_and_with_two_deliveries_at_once_a_change_has_one_effect(
    tmp_path: Path, operation: str, backend: Backend
) -> None:
    directories = made_in(tmp_path)

    async def scenario(crash: CrashAt) -> None:
        directory, clock = next(directories), FrozenClock()
        async with opened(directory, clock, backend=backend) as world:
            await world.connect()
            identifier = "e1" if operation == "create" else (await made(world)).id
        fields: dict[str, Any] = {"changes": {"title": "new"}}
        async with opened(directory, clock, backend=backend, crash=crash) as world:
            both = await asyncio.gather(
                *(ask(world, identifier, operation, **fields) for _ in range(2)), return_exceptions=True
            )
            assert all(isinstance(one, Done | Snooze | Crash) for one in both), both
        await clock.advance(120)
        async with opened(directory, clock, backend=backend, boot="two", sole=bool(crash.n % 2)) as world:
            assert await ask(world, identifier, operation, **fields) == Done()
            [entity] = await world.issues(deleted=operation == "delete")
            version = 1 if operation == "create" else 2
            assert entity.data["version"] == version
            assert entity.data["data"]["title"] == ("t" if operation == "delete" else "new")
            assert f"{entity.id}~gh~{version}" in await pushes(world)

    await backend.at_port_calls(scenario, more_than=10)
