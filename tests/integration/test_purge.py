"""A tenant goes whole, whatever interrupts it, and its neighbour stays as it was."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from syncd.adapters.embedded.documents import create_tables
from syncd.adapters.embedded.store import FILE_NAME, open_store
from syncd.domain.collections import (
    AUDIT,
    COLLECTIONS,
    CONFLICTS,
    CONNECTIONS,
    CREDENTIALS,
    CURSORS,
    ENTITIES,
    EXECUTIONS,
    PURGES,
    REGISTRATIONS,
    RESULTS,
    ROLLUPS,
    SCHEDULES,
    SETTINGS,
    TASKS,
)
from syncd.domain.messages import Envelope
from syncd.domain.outcomes import Park
from syncd.domain.principal import Principal
from syncd.domain.secrets import Secret
from syncd.flows.accept import QUEUE
from syncd.flows.operate.audit import AuditTrail
from syncd.flows.operate.credentials import CredentialStore
from syncd.flows.operate.tenants import TenantsFlow
from syncd.flows.parked import Filter
from syncd.flows.purge import BUDGET, Progress, Purge
from syncd.flows.purged import STRAGGLERS, Purged
from syncd.flows.purgesurvey import EMPTIED, Survey, secret_names
from syncd.ports.documents import Condition, Create, Query
from syncd.ports.queue import Complete, Delivery, Message, Release
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import Crash, CrashAt
from tests.integration.backends import Backend
from tests.integration.webhooks import World, github, issue, opened

#: What belongs to nobody in particular, and what is remembered of a purge on purpose.
KEPT = (AUDIT, PURGES, SCHEDULES, EXECUTIONS, SETTINGS, ROLLUPS)
ADMIN = Principal(name="admin", role="operate")
LARGE = "x" * 70_000


class Purging:
    """The purge as the composition root wires it, over a world."""

    def __init__(self, world: World, *, budget: float = BUDGET) -> None:
        self.purged = Purged(documents=world.documents, blobs=world.blobs, clock=world.clock, observe=world.seen)
        self.survey = Survey(
            documents=world.documents, queue=world.queue, vault=world.vault, clock=world.clock, queues=(QUEUE,)
        )
        self.purge = Purge(
            documents=world.documents,
            vault=world.vault,
            blobs=world.blobs,
            registrations=world.registrations,
            survey=self.survey,
            purged=self.purged,
            clock=world.clock,
            budget=budget,
        )
        audit = AuditTrail(documents=world.documents, clock=world.clock)
        self.flow = TenantsFlow(purge=self.purge, survey=self.survey, audit=audit)

    async def to_the_end(self, *, most: int = 500) -> list[Progress]:
        calls: list[Progress] = []
        for _ in range(most):
            calls.append(await self.purge.run("tenant"))
            if calls[-1].done:
                return calls
        raise AssertionError("it never ends")


async def settle(world: World, tenant: str, registration: str, connection: str) -> None:
    """Something of everything that a tenant can have."""
    await world.connect(connection, tenant=tenant)
    await world.register(registration, tenant_id=tenant, connection_id=connection)
    await world.registrations.rotate(registration, secret=Secret("another secret of the test"), overlap=3600)
    store = CredentialStore(documents=world.documents, vault=world.vault, clock=world.clock)
    await store.put(tenant, connection, {"kind": "bearer", "token": "t"})
    for name, body in (("1", issue(1)), ("2", issue(2, title=LARGE)), ("3", b'{"issue": {}}'), ("4", b" " * 70_000)):
        await world.send(body, github(body, f"{tenant}-{name}"), registration)
    await world.work()
    for collection, partition in (
        (TASKS, tenant),
        (CONFLICTS, tenant),
        (RESULTS, "github:202311"),
        (CURSORS, connection),
    ):
        data = {"tenantId": tenant, "createdAt": "2023-11-14T00:00:00.000Z"}
        await world.documents.write(collection, partition, [Create(f"{tenant}-{collection.name}", data)])


async def everything(world: World, tenant: str) -> dict[str, list[tuple[str, str]]]:
    """(id, etag) of all documents that are the tenant's, by collection, and the names of its blobs."""
    found: dict[str, list[tuple[str, str]]] = {}
    for collection in COLLECTIONS.values():
        if collection in KEPT:
            continue
        page = await world.documents.query(collection, Query(across=True, limit=1000))
        assert page.cursor is None
        for one in page.items:
            owner = one.data.get("tenantId") or one.partition.partition(":")[0]
            if owner == tenant:
                found.setdefault(collection.name, []).append((one.id, one.etag))
    blobs = [(blob.name, "") async for blob in world.blobs.list(f"webhooks/reg-{tenant}/")]
    return found | {"blobs": blobs} if blobs else found


async def secrets_in(world: World) -> set[tuple[str, str, str]]:
    """(tenant, name, version) of all that registrations and credentials keep in the vault."""
    found = set()
    for collection in (REGISTRATIONS, CREDENTIALS):
        for document in (await world.documents.query(collection, Query(across=True))).items:
            for name in secret_names(collection, document):
                found |= {(document.data["tenantId"], name, one) for one in await world.vault.versions(name)}
    return found


async def settle_both(world: World) -> None:
    await settle(world, "tenant", "reg-tenant", "gh-tenant")
    await settle(world, "other", "reg-other", "gh-other")


async def seeded(directory: Path) -> None:
    async with opened(directory, FrozenClock()) as world:
        await settle_both(world)


async def test_at_every_crash_point_a_resumed_purge_leaves_nothing_and_no_mark_on_its_neighbour(
    tmp_path: Path, backend: Backend
) -> None:
    origin, start = tmp_path / "origin", FrozenClock()
    origin.mkdir()
    async with opened(origin, start, backend=backend) as world:
        await settle_both(world)
        before, neighbour = await everything(world, "tenant"), await everything(world, "other")
        kept = await secrets_in(world)
    assert set(before) == {one.name for one in COLLECTIONS.values() if one not in KEPT} | {"blobs"}
    assert {name: len(items) for name, items in before.items()} == {
        name: len(items) for name, items in neighbour.items()
    }
    theirs = {one for one in kept if one[0] == "other"}
    assert (len(kept), len(theirs)) == (6, 3)
    runs = iter(range(1000))

    async def scenario(crash: CrashAt) -> None:
        directory, clock = tmp_path / str(next(runs)), FrozenClock(start.now())
        await backend.copy(origin, directory, clock)
        async with opened(directory, clock, backend=backend, crash=crash) as world:
            with contextlib.suppress(Crash):
                assert (await Purging(world).to_the_end())[-1].done
        async with opened(directory, clock, backend=backend, boot="two") as world:
            await Purging(world).to_the_end()
            assert await everything(world, "tenant") == {}
            assert await everything(world, "other") == neighbour
            assert await secrets_in(world) == theirs
            for _, name, _ in kept - theirs:
                assert await world.vault.versions(name) == []
        await asyncio.to_thread(shutil.rmtree, directory)

    await backend.at_port_calls(scenario, more_than=100)


async def test_a_request_does_a_bounded_amount_of_work_and_the_counts_add_up(tmp_path: Path) -> None:
    await seeded(tmp_path)
    async with opened(tmp_path, FrozenClock()) as world:
        there = await Purging(world).survey.counts("tenant", budget=5.0)
        assert there.whole
        calls = await Purging(world, budget=0.0).to_the_end()
        assert len(calls) > 10, "with no time at all each call makes one step"
        removed: Counter[str] = Counter()
        for one in calls:
            assert sum(one.removed.values()) <= 4
            removed.update(one.removed)
        assert {name: count for name, count in removed.items() if count and name != "bodies"} == there.counts
        assert there.counts == {
            "registrations": 1,
            "connections": 1,
            "credentials": 1,
            "vaultVersions": 3,
            "tasks": 1,
            "entities": 2,
            "aliases": 2,
            "conflicts": 1,
            "results": 1,
            "cursors": 1,
            "events": 4,
            "parked": 2,
        }
        assert removed["bodies"] == 2
        assert set((await Purging(world).survey.counts("tenant", budget=5.0)).counts.values()) == {0}


async def test_more_than_a_batch_of_one_partition_goes(tmp_path: Path) -> None:
    async with opened(tmp_path, FrozenClock()) as world:
        for tenant, start in (("tenant", 0), ("other", 1)):
            for batch in range(3):
                writes = [
                    Create(f"{batch}-{number}", {"tenantId": tenant, "createdAt": "2023-11-14T00:00:00.000Z"})
                    for number in range(start, 200, 2)
                ]
                await world.documents.write(RESULTS, "github:202311", writes)
        [last] = await Purging(world).to_the_end()
        assert last.removed == {"results": 300, "aliases": 0}
        left = await world.documents.query(RESULTS, Query(partition="github:202311", limit=1000))
        assert [one.data["tenantId"] for one in left.items] == ["other"] * 300


async def waiting(world: World, count: int = 1) -> Sequence[Delivery]:
    await world.connect("gh-tenant", tenant="tenant")
    await world.register("reg-tenant", connection_id="gh-tenant")
    for number in range(count):
        body = issue(number, title=LARGE)
        await world.send(body, github(body, f"d-{number}"), "reg-tenant")
    return await world.lease()


async def test_it_is_not_done_while_a_message_of_the_tenant_is_being_worked_on(tmp_path: Path) -> None:
    async with opened(tmp_path, FrozenClock()) as world:
        [delivery] = await waiting(world)
        purging = Purging(world)
        first = await purging.purge.run("tenant")
        assert (first.done, first.waiting.queued, first.waiting.leased) == (False, 1, 1)
        # The handler had read its connection before it went: what it writes now is found, because nobody said done.
        await world.documents.write(
            ENTITIES, "tenant:issue", [Create("tenant:issue.late", {"tenantId": "tenant", "deleted": False})]
        )
        await world.queue.settle([Complete(delivery)])
        last = await purging.purge.run("tenant")
        assert (last.done, last.waiting.queued, last.removed) == (True, 0, {"entities": 1, "aliases": 0})


async def test_a_message_that_waited_through_the_purge_ends_without_a_trace(tmp_path: Path) -> None:
    clock = FrozenClock()
    async with opened(tmp_path, clock) as world:
        await world.queue.settle([Release(delivery) for delivery in await waiting(world, 2)])
        purging = Purging(world)
        last = (await purging.to_the_end())[-1]
        assert (last.done, last.waiting.queued, last.waiting.leased) == (True, 2, 0)
        await clock.advance(5 * 86400)
        first, second = await world.lease()
        assert await purging.purged.takes(first.envelope, first.enqueued_at)
        # One that was begun before the purge was seen here: its row and what would be parked of it go too.
        outcome = await world.apply.handle(second.envelope, issue(1))
        assert isinstance(outcome, Park)
        assert await everything(world, "tenant") != {}
        assert await purging.purged.takes(second.envelope, second.enqueued_at, remembered=False)
        assert await everything(world, "tenant") == {}
        assert [facts["kind"] for facts in world.seen.named("purged_message_dropped")] == ["webhook"] * 2


@pytest.mark.parametrize(
    ("envelope", "enqueued_at", "taken"),
    [
        (Envelope(kind="k", origin_id="o", tenant_id="tenant", received_at=STRAGGLERS - 1), 1e6, True),
        (Envelope(kind="k", origin_id="o", tenant_id="tenant", received_at=STRAGGLERS), 0, False),
        (Envelope(kind="k", origin_id="o", tenant_id="tenant"), STRAGGLERS - 1, True),
        (Envelope(kind="k", origin_id="o", tenant_id="tenant"), STRAGGLERS, False),
        (Envelope(kind="k", origin_id="o", tenant_id="tenant", hop=3, expires_at=7 * 86400), 1e6, True),
        (Envelope(kind="k", origin_id="o", tenant_id="other", received_at=0), 0, False),
        (Envelope(kind="k", origin_id="o", received_at=0), 0, False),
    ],
)
async def test_what_came_in_before_the_purge_is_its_and_what_came_later_is_a_new_tenants(
    tmp_path: Path, envelope: Envelope, enqueued_at: float, taken: bool
) -> None:
    clock = FrozenClock(0.0)
    async with opened(tmp_path, clock) as world:
        purged = Purging(world).purged
        assert not await purged.takes(envelope, enqueued_at), "nothing was purged yet"
        await purged.mark("tenant")
        assert await purged.takes(envelope, enqueued_at) is taken


async def test_a_body_of_another_registration_is_never_removed(tmp_path: Path) -> None:
    async with opened(tmp_path, FrozenClock()) as world:
        await world.blobs.put("webhooks/reg-other/abc", b"theirs")
        await world.blobs.put("backups/of-ours", b"ours")
        purged = Purging(world).purged
        await purged.mark("tenant")
        for name in ("webhooks/reg-other/abc", "backups/of-ours", "claims/../backups/of-ours"):
            forged = Envelope(kind="k", origin_id="o", tenant_id="tenant", registration_id="reg-tenant", body_ref=name)
            assert await purged.takes(forged, 0.0)
        assert [blob.name async for blob in world.blobs.list()] == ["backups/of-ours", "webhooks/reg-other/abc"]


async def test_parked_messages_go_with_the_bodies_of_before_their_edits(tmp_path: Path) -> None:
    async with opened(tmp_path, FrozenClock()) as world:
        envelope = Envelope(kind="task", origin_id="o", tenant_id="tenant", body_ref="claims/20231114/a")
        await world.blobs.put("claims/20231114/a", b"body")
        await world.queue.send(QUEUE, [Message(envelope)])
        [delivery] = await world.lease()
        identifier = await world.parked.park(delivery, "poison", "test")
        await world.queue.settle([Complete(delivery)])
        await world.parked.edit(identifier, b"{}")
        [last] = await Purging(world).to_the_end()
        assert (last.removed["parked"], last.removed["bodies"]) == (1, 1)
        assert [blob.name async for blob in world.blobs.list()] == []
        assert (await world.parked.list(Filter())).items == []


async def test_every_call_has_its_audit_row_and_the_trail_stays(tmp_path: Path) -> None:
    await seeded(tmp_path)
    async with opened(tmp_path, FrozenClock()) as world:
        purging = Purging(world)
        assert (await purging.flow.purge(ADMIN, "tenant"))["done"]
        assert (await purging.flow.purge(ADMIN, "tenant"))["removed"] == {}
        rows = (await world.documents.query(AUDIT, Query(across=True))).items
        assert [(row.data["action"], row.data["subject"], row.data["tenantId"]) for row in rows] == [
            ("tenant.purge", "tenant", "tenant")
        ] * 2
        assert sorted(len(row.data["after"]["removed"]) > 0 for row in rows) == [False, True]
        assert [row.data["outcome"] for row in rows] == ["done"] * 2


def test_every_collection_is_emptied_or_said_to_be_kept() -> None:
    emptied = {one.name for one in (*EMPTIED.values(), REGISTRATIONS, CONNECTIONS, CREDENTIALS)}
    assert emptied | {one.name for one in KEPT} == set(COLLECTIONS)
    for name in emptied:
        one = COLLECTIONS[name]
        assert one.partition == "tenantId" or "tenantId" in (*one.paths, *one.scanned), name


@pytest.mark.may_block
async def test_a_store_of_a_release_that_knew_no_scanned_paths_is_opened_and_searched(tmp_path: Path) -> None:
    file = sqlite3.connect(tmp_path / FILE_NAME)
    before = [replace(one, scanned=()) for one in COLLECTIONS.values() if one is not PURGES]
    for collection in before:
        # The table of a declaration is found by the declaration itself.
        COLLECTIONS[collection.name], today = collection, COLLECTIONS[collection.name]
        try:
            create_tables(file, [collection])
        finally:
            COLLECTIONS[collection.name] = today
    file.execute(
        "INSERT INTO doc_entities (partition, id, etag, body) VALUES (?, ?, ?, ?)",
        ("tenant:issue", "tenant:issue.1", "e", '{"tenantId":"tenant","deleted":false,"schema":1}'),
    )
    file.execute("PRAGMA application_id=0x73796E63")
    file.execute("PRAGMA user_version=1")
    file.commit()
    file.close()
    for _ in range(2):  # and again by the next start, which finds the columns there
        async with open_store(tmp_path, clock=FrozenClock(), durable=False) as store:
            found = await store.documents.query(
                ENTITIES, Query(across=True, where=[Condition("tenantId", "eq", "tenant")])
            )
            assert [one.id for one in found.items] == ["tenant:issue.1"]
    file = sqlite3.connect(tmp_path / FILE_NAME)
    indexes = {row[0] for row in file.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    file.close()
    assert "doc_entities_deleted" in indexes
    assert "doc_entities_tenantId" not in indexes, "no write is dearer for it"
