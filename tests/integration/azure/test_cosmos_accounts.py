"""Accounts as they are found: empty, made by another system, half made, without the right. What is missing is named with what mends it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from syncd.adapters.azure.cosmos import CosmosDocuments, Finding, Options, check_cosmos, open_cosmos
from syncd.adapters.azure.cosmos.layout import Layout, indexing_policy, missing_indexes, sortable
from syncd.domain.collections import COLLECTIONS, CONNECTIONS, ENTITIES, RESULTS, TASKS
from syncd.domain.errors import Conflict, StoreUnusable
from syncd.domain.jsontypes import JsonObject
from syncd.ports.documents import Condition, Create, Delete, Query, Replace
from syncd.testing.clock import FrozenClock
from tests.wire.cosmos import KEY, CosmosDouble

OPTIONS = Options(enable_endpoint_discovery=False)


@pytest.fixture
async def service(clock: FrozenClock) -> AsyncIterator[CosmosDouble]:
    async with CosmosDouble(clock=clock) as double:
        yield double


def account(service: CosmosDouble, clock: FrozenClock) -> dict[str, Any]:
    return {
        "endpoint": service.endpoint,
        "credential": KEY,
        "database": "syncd",
        "clock": clock,
        "options": OPTIONS,
    }


def container(service: CosmosDouble, name: str, path: str, **more: Any) -> None:
    service.store.databases.setdefault("syncd", {})
    key = {"paths": [path], "kind": "Hash", "version": 2}
    service.store.create_container("syncd", {"id": name, "partitionKey": key, **more})


def foreign(service: CosmosDouble, name: str, key: str, /, **body: Any) -> None:
    """A document that another system wrote."""
    held = service.store.databases["syncd"][name]
    service.store.create(held, f'["{key}"]', dict(body))


async def made(service: CosmosDouble, clock: FrozenClock) -> list[Finding]:
    return await check_cosmos(**account(service, clock), create=True)


def opened(service: CosmosDouble, clock: FrozenClock, **more: Any) -> AbstractAsyncContextManager[CosmosDocuments]:
    return open_cosmos(**account(service, clock), **more)


async def test_an_empty_account_lacks_the_database_and_then_nothing(service: CosmosDouble, clock: FrozenClock) -> None:
    [finding] = await check_cosmos(**account(service, clock))
    assert finding.part == "database syncd"
    assert finding.creatable
    assert "az cosmosdb sql database create" in finding.fix
    assert await made(service, clock) == []
    assert set(service.store.databases["syncd"]) == set(COLLECTIONS)
    assert await made(service, clock) == [], "and once more changes nothing"


async def test_each_missing_container_is_named(service: CosmosDouble, clock: FrozenClock) -> None:
    await made(service, clock)
    del service.store.databases["syncd"]["entities"]
    [finding] = await check_cosmos(**account(service, clock))
    assert finding.part == "container entities"
    assert "--partition-key-path /_partition" in finding.fix


async def test_payloads_are_not_indexed_and_declared_paths_are(service: CosmosDouble, clock: FrozenClock) -> None:
    await made(service, clock)
    policy = service.store.databases["syncd"]["sync-tasks"].definition["indexingPolicy"]
    assert policy["excludedPaths"] == [{"path": "/*"}]
    assert {one["path"] for one in policy["includedPaths"]} == {f"/{path}/?" for path in (*TASKS.paths, "_partition")}


async def test_every_order_that_is_declared_is_served_by_an_index(service: CosmosDouble, clock: FrozenClock) -> None:
    await made(service, clock)
    async with opened(service, clock) as documents:
        for collection in COLLECTIONS.values():
            for order in (None, *sortable(collection)):
                for across in (False, True):
                    place = {"across": True} if across else {"partition": "a:b"}
                    page = await documents.query(collection, Query(order=order, limit=1, **place))
                    assert page.items == []


@pytest.mark.parametrize(("name", "path"), [("entities", "/category"), ("entities", "/id"), ("webhooks", "/tenantId")])
async def test_a_container_with_another_key_stops_the_start_and_nothing_is_changed(
    service: CosmosDouble, clock: FrozenClock, name: str, path: str
) -> None:
    container(service, name, path)
    with pytest.raises(StoreUnusable, match=rf"{name}.*partitioned by {path}.*az cosmosdb sql container create"):
        async with opened(service, clock):
            pass
    findings = await made(service, clock)
    assert [one.part for one in findings] == ["making", f"container {name}"]
    assert service.store.databases["syncd"][name].definition["partitionKey"]["paths"] == [path]


async def test_another_container_may_stand_in_for_one_that_cannot_be_kept(
    service: CosmosDouble, clock: FrozenClock
) -> None:
    container(service, "webhooks", "/tenantId")
    names = {"containers": {"webhooks": "syncd-webhooks"}}
    assert await check_cosmos(**account(service, clock), **names, create=True) == []
    async with opened(service, clock, **names) as documents:
        await documents.write(COLLECTIONS["webhooks"], "r1", [Create("r1", {})])
    assert len(service.store.databases["syncd"]["syncd-webhooks"].partitions) == 1


async def test_an_existing_container_by_tenant_is_kept_with_its_documents(
    service: CosmosDouble, clock: FrozenClock
) -> None:
    container(service, "entities", "/tenantId")
    foreign(service, "entities", "t1", id="old-1", tenantId="t1", type="contact", name="Ann", updatedAt="2026-01-02")
    foreign(service, "entities", "t1", id="old-2", tenantId="t1", type="deal", updatedAt="2026-01-01")
    assert await made(service, clock) == []
    contacts, deals = "t1:contact", "t1:deal"
    async with opened(service, clock) as documents:
        old = await documents.get(ENTITIES, contacts, "old-1")
        assert old is not None
        assert old.data["name"] == "Ann"
        assert await documents.get(ENTITIES, deals, "old-1") is None
        await documents.write(ENTITIES, contacts, [Create("new", {"updatedAt": "2026-01-03"}), Create("x~1", {})])
        await documents.write(ENTITIES, contacts, [Replace("old-1", {**old.data, "name": "Anna"}, old.etag)])
        query = Query(partition=contacts, order="updatedAt", limit=1)
        page = await documents.query(ENTITIES, query)
        assert [one.id for one in page.items] == ["old-1"]
        page = await documents.query(
            ENTITIES, Query(partition=contacts, order="updatedAt", limit=1, cursor=page.cursor)
        )
        assert [one.id for one in page.items] == ["new"]
        assert page.cursor is None
        assert await documents.count(ENTITIES, contacts) == 3
        assert await documents.count(ENTITIES, deals) == 1
        found = await documents.query(ENTITIES, Query(across=True, order="updatedAt"))
        assert [(one.id, one.partition) for one in found.items] == [
            ("old-2", deals),
            ("old-1", contacts),
            ("new", contacts),
        ]
        assert await documents.get_many(ENTITIES, [(deals, "old-2"), (contacts, "new"), (deals, "new")]) == [
            await documents.get(ENTITIES, deals, "old-2"),
            await documents.get(ENTITIES, contacts, "new"),
            None,
        ]
        with pytest.raises(Conflict):
            await documents.write(ENTITIES, deals, [Create("new", {})])
        await documents.write(ENTITIES, deals, [Delete("old-2")])
    [items] = service.store.databases["syncd"]["entities"].partitions.values()
    assert {one.body["tenantId"] for one in items.values()} == {"t1"}


async def test_an_existing_container_by_tenant_or_id_serves_collections_of_the_same_partition(
    service: CosmosDouble, clock: FrozenClock
) -> None:
    container(service, "sync-tasks", "/tenantId")
    container(service, "connections", "/id")
    container(service, "sync-results", "/integrationId")
    foreign(service, "sync-tasks", "t1", id="old", tenantId="t1", status="pending", priority="high")
    foreign(service, "connections", "c0", id="c0", tenantId="t1")
    assert await made(service, clock) == []
    async with opened(service, clock) as documents:
        await documents.write(TASKS, "t1", [Create("new", {"status": "pending"})])
        pending = [Condition("status", "eq", "pending")]
        for place in ({"partition": "t1"}, {"across": True}):
            page = await documents.query(TASKS, Query(where=pending, order="status", **place))
            assert [(one.id, one.partition) for one in page.items] == [("new", "t1"), ("old", "t1")]
        await documents.write(CONNECTIONS, "c1", [Create("c1", {"tenantId": "t1"})])
        page = await documents.query(CONNECTIONS, Query(across=True, where=[Condition("tenantId", "eq", "t1")]))
        assert [(one.id, one.partition) for one in page.items] == [("c0", "c0"), ("c1", "c1")]
        for month in ("crm:202601", "crm:202602"):
            await documents.write(RESULTS, month, [Create(f"{month}.x", {"createdAt": month})])
        assert await documents.count(RESULTS, "crm:202601") == 1
        page = await documents.query(RESULTS, Query(across=True, order="createdAt", descending=True))
        assert [one.partition for one in page.items] == ["crm:202602", "crm:202601"]


async def test_missing_indexes_are_added_and_nothing_is_taken_away(service: CosmosDouble, clock: FrozenClock) -> None:
    policy = {
        "indexingMode": "consistent",
        "includedPaths": [{"path": "/theirs/?"}],
        "excludedPaths": [{"path": "/*"}, {"path": "/updatedAt/?"}],
        "compositeIndexes": [[{"path": "/theirs"}, {"path": "/id"}]],
    }
    container(service, "entities", "/_partition", indexingPolicy=policy, defaultTtl=86400)
    findings = await check_cosmos(**account(service, clock))
    [finding] = [one for one in findings if one.part == "container entities"]
    assert "/updatedAt/?" in finding.problem
    assert "(updatedAt, _partition, id)" in finding.problem
    assert await made(service, clock) == []
    definition = service.store.databases["syncd"]["entities"].definition
    assert {"path": "/theirs/?"} in definition["indexingPolicy"]["includedPaths"]
    assert [{"path": "/theirs"}, {"path": "/id"}] in definition["indexingPolicy"]["compositeIndexes"]
    assert definition["defaultTtl"] == 86400
    async with opened(service, clock) as documents:
        await documents.write(ENTITIES, "t:x", [Create("ever", {"updatedAt": "1"})])
        await clock.advance(90_000)
        page = await documents.query(ENTITIES, Query(partition="t:x", order="updatedAt"))
        assert [one.id for one in page.items] == ["ever"], "a default of theirs decides nothing about documents of ours"


async def test_where_the_time_to_live_is_off_what_has_expired_is_left_out_all_the_same(
    service: CosmosDouble, clock: FrozenClock
) -> None:
    await made(service, clock)
    del service.store.databases["syncd"]["entities"].definition["defaultTtl"]
    [finding] = await check_cosmos(**account(service, clock))
    assert "time to live is off" in finding.problem
    async with opened(service, clock) as documents:
        await documents.write(ENTITIES, "t:x", [Create("short", {}, 10.0), Create("ever", {})])
        await clock.advance(10)
        assert await documents.get(ENTITIES, "t:x", "short") is None
        page = await documents.query(ENTITIES, Query(partition="t:x", limit=1))
        assert [one.id for one in page.items] == ["ever"]
        assert await documents.count(ENTITIES, "t:x") == 1
        await documents.write(ENTITIES, "t:x", [Create("short", {"n": 2})])
    assert await made(service, clock) == []
    assert service.store.databases["syncd"]["entities"].definition["defaultTtl"] == -1


async def test_a_missing_right_is_found_by_trying_and_named(service: CosmosDouble, clock: FrozenClock) -> None:
    await made(service, clock)
    service.faults.fail(1, 403, on="batch", substatus=5300)
    [finding] = await check_cosmos(**account(service, clock))
    assert finding.part == "rights"
    assert "az cosmosdb sql role assignment create" in finding.fix
    service.faults.fail(100, 403, on="create-container", substatus=5300)
    del service.store.databases["syncd"]["audit"]
    making, missing = await made(service, clock)
    assert "403" in making.problem
    assert missing.part == "container audit"


@pytest.mark.parametrize(
    ("consistency", "multiple", "told"),
    [
        ("Eventual", False, "Eventual"),
        ("ConsistentPrefix", False, "ConsistentPrefix"),
        ("Session", True, "several regions"),
    ],
)
async def test_an_account_that_cannot_keep_what_the_port_promises_is_refused(
    service: CosmosDouble, clock: FrozenClock, consistency: str, multiple: bool, told: str
) -> None:
    await made(service, clock)
    service.consistency, service.multiple_writes = consistency, multiple
    with pytest.raises(StoreUnusable, match=rf"{told}.*az cosmosdb update"):
        async with opened(service, clock):
            pass
    [finding] = await check_cosmos(**account(service, clock))
    assert finding.part == "account"
    assert told in finding.problem


async def test_an_account_that_cannot_be_reached_is_one_finding(service: CosmosDouble, clock: FrozenClock) -> None:
    await service.stop()
    [finding] = await check_cosmos(**account(service, clock), create=True)
    assert finding.part == "account"
    assert service.endpoint in finding.problem


@pytest.mark.parametrize("collection", COLLECTIONS.values(), ids=lambda one: one.name)
def test_the_policy_that_is_made_lacks_nothing(collection: Any) -> None:
    layout = Layout(collection=collection, container=collection.name)
    policy: JsonObject = indexing_policy(layout)
    assert missing_indexes(layout, policy) == []
    assert missing_indexes(layout, {**policy, "compositeIndexes": []}) != []
