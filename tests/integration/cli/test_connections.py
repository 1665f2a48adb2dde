"""`syncd connections` and `syncd entities` where they ask providers, show what would change, or follow what goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from syncd.domain.collections import ENTITIES, RESULTS, TASKS
from syncd.domain.records import alias_id
from syncd.domain.tasks import result_partition
from syncd.ports.documents import Create, Query, Replace
from tests.doubles.contract import Fault
from tests.doubles.rest import RestDouble
from tests.integration.cli.kit import Syncd
from tests.integration.http.connecting import connect, crm_double
from tests.integration.http.test_edit_preview import DATA, ID, PARTITION, known
from tests.integration.http.world import World

RESULT = "rest:202311.result~0"


@pytest.fixture
async def crm() -> AsyncIterator[RestDouble]:
    async with crm_double() as double:
        yield double


async def test_a_connection_is_tried_and_a_refusal_is_one_line_with_its_reason(
    world: World, syncd: Syncd, crm: RestDouble
) -> None:
    await connect(world, crm)
    works = await syncd("connections", "test", "crm")
    assert (works.code, "GET /contacts" in works.out) == (0, True), works.err
    crm.faults.extend([Fault(status=429, headers={"Retry-After": "21"}), Fault(status=401)])
    throttled, refused = [await syncd("connections", "test", "crm") for _ in range(2)]
    assert (throttled.code, refused.code) == (1, 1)
    assert "crm cannot be asked now" in throttled.err
    assert throttled.err.endswith("; try again in 21 s\n")
    assert "syncd: the credential of crm is refused" in refused.err


async def test_a_dry_run_is_a_line_for_each_field_that_would_change(
    world: World, syncd: Syncd, crm: RestDouble
) -> None:
    crm.put("contact", 1)
    crm.put("contact", 2)
    await connect(world, crm)
    await known(world)
    stored = {**DATA, "name": "Ana 1", "mail": "old@example.com"}
    [entity] = (await world.store.documents.query(ENTITIES, Query(partition=PARTITION))).items
    link = {**entity.data["links"]["crm"], "base": stored}
    changed = {**entity.data, "data": stored, "links": {"crm": link}}
    alias = {"kind": "alias", "connectionId": "crm", "externalId": "1", "entityId": ID}
    await world.store.documents.write(
        ENTITIES, PARTITION, [Replace(ID, changed, entity.etag), Create(alias_id("crm", "1"), alias)]
    )
    await world.clock.advance(1)
    crm.now = world.clock.now()
    crm.edit("contact", "1", {"name": "Ana 1"})
    shown = await syncd("connections", "pull", "crm", "--dry-run")
    assert shown.code == 0, shown.err
    assert "contact: 2 read: 1 created, 1 updated" in shown.out or "contact: 2 read: 1 updated, 1 created" in shown.out
    lines = [line.split() for line in shown.out.splitlines()]
    assert ["1", "updated", "mail", "old@example.com", "ana1@example.com"] in lines
    assert ["2", "created", "name", "-", "Ana", "2"] in lines
    assert shown.err.endswith("nothing was written\n")
    whole = await syncd("connections", "pull", "crm", "--dry-run", "--output", "json")
    assert whole.json["types"][0]["fetched"] == 2
    assert (await syncd("connections", "pull", "crm", "--full", "--from", "2h")).code == 2


async def end(world: World, **fields: Any) -> None:
    """Wait for the one task, and end it as a daemon would."""
    while not (found := (await world.store.documents.query(TASKS, Query(partition="tenant-1"))).items):
        await asyncio.sleep(0)
    [task] = found
    result = {"tenantId": "tenant-1", "counts": {"fetched": 3, "created": 2}, "durationMs": 5, **fields}
    await world.store.documents.write(RESULTS, result_partition(RESULT), [Create(RESULT, result)])
    ended = {**task.data, **fields, "resultId": RESULT}
    await world.store.documents.write(TASKS, "tenant-1", [Replace(task.id, ended, task.etag)])


@pytest.mark.parametrize(
    ("command", "status", "code", "words"),
    [
        ("pull", "succeeded", 0, ""),
        ("pull", "partial", 0, f"some records were kept aside: `syncd results show {RESULT}` says why"),
        ("pull", "failed", 1, "failed: the provider is away"),
        ("backfill", "cancelled", 1, "cancelled: the provider is away"),
        ("backfill", "parked", 1, "begins it anew"),
    ],
)
async def test_what_was_begun_is_followed_to_its_end_and_fails_with_it(
    world: World, syncd: Syncd, crm: RestDouble, command: str, status: str, code: int, words: str
) -> None:
    await connect(world, crm)
    fields = {"status": status} | ({} if code == 0 else {"error": "the provider is away"})
    ending = asyncio.create_task(end(world, **fields))
    result = await syncd("connections", command, "crm")
    await ending
    assert result.code == code, result.err
    assert words in result.err
    assert "task tenant-1." in result.err
    assert [status, "3", "2", "5"] in [line.split() for line in result.out.splitlines()]


async def test_a_task_need_not_be_waited_for(world: World, syncd: Syncd, crm: RestDouble) -> None:
    await connect(world, crm)
    made = await syncd("connections", "pull", "crm", "--no-wait", "--from", "2026-01-01", "--output", "json")
    assert (made.code, made.json["status"], made.json["since"]) == (0, "pending", "2026-01-01T00:00:00.000Z")


async def test_deletions_are_let_through(world: World, syncd: Syncd, crm: RestDouble) -> None:
    await connect(world, crm)
    allowed = await syncd("connections", "allow-deletes", "crm", "--entity", "contact")
    assert allowed.out == "crm: the next run may delete contact, however many\n"
    assert (await syncd("connections", "allow-deletes", "crm", "--entity", "deal")).code == 1


async def test_a_connection_is_changed_only_in_what_is_named(world: World, syncd: Syncd, crm: RestDouble) -> None:
    made = await connect(world, crm)
    options = ("--setting", 'headers={"X-Client":"b"}', "--entity", "contact:push", "--disable", "--output", "json")
    changed = await syncd("connections", "edit", "crm", *options)
    assert changed.code == 0, changed.err
    assert changed.json["settings"] == {**made.json["settings"], "headers": {"X-Client": "b"}}
    assert changed.json["entities"]["contact"] == {**made.json["entities"]["contact"], "direction": "push"}
    assert (changed.json["enabled"], changed.json["credential"]["configured"]) == (False, True)
    again = await syncd("connections", "edit", "crm", "--enable", "--output", "json")
    assert again.json["catchUpTaskId"].startswith("tenant-1.")
    assert (await syncd("connections", "edit", "crm")).code == 2
    await world.store.documents.write(
        ENTITIES, PARTITION, [Create(alias_id("crm", "1"), {"kind": "alias", "connectionId": "crm"})]
    )
    moved = ("connections", "edit", "crm", "--setting", "baseUrl=https://crm.example")
    refused = await syncd(*moved)
    assert (refused.code, f"linked to objects at {crm.url}/api: 1." in refused.err) == (1, True)
    assert (await syncd(*moved, "--force")).code == 0


async def test_an_edit_is_shown_before_it_is_made(world: World, syncd: Syncd, crm: RestDouble) -> None:
    await connect(world, crm)
    await known(world)
    shown = await syncd("entities", "edit", ID, "--set", "name=Änne", "--set", "mail=null", "--dry-run")
    assert shown.code == 0, shown.err
    assert f"{ID}: updated, version 2" in shown.out
    lines = [line.split() for line in shown.out.splitlines()]
    assert ["name", "Ana", "Änne"] in lines
    assert ["crm", "update", "1", "mail", "ana@example.com", "-"] in lines
    assert ["crm", "update", "1", "name", "Ana", "Änne"] in lines
    assert (await syncd("entities", "show", ID, "--output", "json")).json["version"] == 1


async def test_an_entity_shows_what_each_connection_is_owed_and_waits_for(
    world: World, syncd: Syncd, crm: RestDouble
) -> None:
    await connect(world, crm)
    await known(world)
    [entity] = (await world.store.documents.query(ENTITIES, Query(partition=PARTITION))).items
    held = {"bin": "tenant_must_act", "reason": "it is not there (any more)", "at": "2026-01-01T00:00:00.000Z"}
    links = {
        "crm": {**entity.data["links"]["crm"], "want": 2, "held": held, "open": {"name": "tenant-1.abc"}},
        "mail": {"want": 2, "pushed": 1, "pushedAt": "2026-01-02T00:00:00.000Z", "checkAt": "2026-01-03T00:00:00.000Z"},
    }
    await world.store.documents.write(
        ENTITIES, PARTITION, [Replace(ID, {**entity.data, "version": 2, "links": links}, entity.etag)]
    )
    shown = await syncd("entities", "show", ID)
    crm_line, mail_line = [line for line in shown.out.splitlines() if line.split()[:1] in (["crm"], ["mail"])]
    assert "tenant_must_act: it is not there (any more)" in crm_line
    assert "name (tenant-1.abc)" in crm_line
    assert mail_line.split() == [
        "mail",
        "-",
        "1",
        "2",
        "2026-01-02T00:00:00.000Z",
        "2026-01-03T00:00:00.000Z",
        "-",
        "-",
        "-",
    ]
