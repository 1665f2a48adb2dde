"""Two systems kept in step by the product as its users have it: a process, its API, its command line."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.domain.jsontypes import JsonObject
from tests.acceptance.process import Daemon, eventually
from tests.acceptance.reading import pages, parked
from tests.acceptance.syncing import (
    TENANT,
    TYPE,
    System,
    assert_sums_up,
    begin,
    config,
    connect,
    edit,
    ended,
    entities,
    entity_named,
    in_step,
    in_step_but_for,
    register_hook,
    run,
    task,
    tell,
    told,
)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "data", environment=config(tmp_path)) as daemon:
        yield daemon


@pytest.fixture
async def crm() -> AsyncIterator[System]:
    async with System().at_work() as system:
        yield system


@pytest.fixture
async def mail() -> AsyncIterator[System]:
    async with System().at_work() as system:
        yield system


async def cli(daemon: Daemon, *args: str) -> str:
    code, out, err = await daemon.cli(*args)
    assert code == 0, err
    return out


@pytest.mark.both
async def test_a_pull_made_by_api_is_pushed_on_and_a_second_one_changes_nothing(
    daemon: Daemon, crm: System, mail: System
) -> None:
    crm.fill(250)
    await connect(daemon, "crm", crm)
    await connect(daemon, "mail", mail)
    identifier = await begin(daemon, "crm")
    result = await ended(daemon, identifier)
    assert result["status"] == "succeeded"
    assert told(result) == {"fetched": 250, "created": 250}
    assert_sums_up(result)
    assert (result["taskId"], result["connectionId"], result["syncMode"]) == (identifier, "crm", "pull")
    await in_step(daemon)
    assert mail.contents() == crm.contents()
    assert set(mail.made().values()) == {1}
    writes = len(mail.writes()), len(crm.writes())
    assert writes == (250, 0), "one create for each, and nothing back to where it came from"
    assert await run(daemon, "crm", full=True) == {"fetched": 250, "unchanged": 250}
    assert await run(daemon, "mail") == {"fetched": 250, "unchanged": 250}
    await in_step(daemon)
    assert (len(mail.writes()), len(crm.writes())) == writes
    for one in await entities(daemon):
        assert one["version"] == 1
        assert one["externalIds"].keys() == {"crm", "mail"}


async def test_what_changed_in_one_system_is_pulled_and_pushed_to_the_other(
    daemon: Daemon, crm: System, mail: System
) -> None:
    crm.fill(20)
    await connect(daemon, "crm", crm)
    await connect(daemon, "mail", mail)
    await run(daemon, "crm")
    await in_step(daemon)
    crm.edit_now("3", {"mail": "third@example.com"})
    crm.remove(TYPE, "7")
    counts = await run(daemon, "crm")
    assert (counts["updated"], counts["deleted"]) == (1, 1)
    await in_step(daemon)
    assert mail.contents() == crm.contents()
    assert [one.method for one in mail.writes()].count("PATCH") == 1
    assert [one.method for one in mail.writes()].count("DELETE") == 1


async def test_tasks_by_command_line_pull_push_and_go_both_ways(daemon: Daemon, crm: System, mail: System) -> None:
    crm.fill(30)
    await connect(daemon, "crm", crm)
    pulled = (await cli(daemon, "tasks", "add", "crm", "--priority", "high", "--entity", TYPE)).strip()
    assert told(await ended(daemon, pulled)) == {"fetched": 30, "created": 30}
    # The second system comes later: what is there already is not pushed to it until somebody says so.
    await connect(daemon, "mail", mail)
    await in_step(daemon)
    assert mail.ids(TYPE) == []
    pushed = (await cli(daemon, "tasks", "add", "mail", "--mode", "push")).strip()
    assert told(await ended(daemon, pushed)) == {"fetched": 30, "updated": 30}
    await in_step(daemon)
    assert mail.contents() == crm.contents()
    mail.put(TYPE, 100)
    both = (await cli(daemon, "tasks", "add", "mail", "--mode", "bidirectional", "--full")).strip()
    result = await ended(daemon, both)
    assert result["status"] == "succeeded"
    assert result["counts"]["created"] == 1
    await in_step(daemon)
    assert crm.contents() == mail.contents()
    assert len(crm.ids(TYPE)) == 31
    assert len(mail.writes("POST")) == 30
    shown = json.loads(await cli(daemon, "tasks", "show", both, "--output", "json"))
    assert shown["status"] == "succeeded"
    found = json.loads(await cli(daemon, "results", "show", shown["resultId"], "--output", "json"))
    assert found["counts"] == result["counts"]
    listed = json.loads(await cli(daemon, "tasks", "list", "--tenant", TENANT, "--output", "json"))
    assert {one["id"] for one in listed} >= {pulled, pushed, both}


@pytest.mark.both
async def test_a_webhook_of_one_system_reaches_the_other_and_no_one_twice(
    daemon: Daemon, crm: System, mail: System
) -> None:
    crm.fill(3)
    await connect(daemon, "crm", crm)
    await connect(daemon, "mail", mail)
    await register_hook(daemon, "hook", "crm")
    await run(daemon, "crm")
    await in_step(daemon)
    crm.edit_now("2", {"name": "Bea"})
    assert (await tell(daemon, "hook", crm, "2", delivery="d-1"))["status"] == "accepted"
    await tell(daemon, "hook", crm, "2", delivery="d-1")
    await in_step(daemon)

    async def known() -> bool:
        """A store that takes longer than a moment to say so leaves it to the consumer."""
        return (await tell(daemon, "hook", crm, "2", delivery="d-1"))["status"] == "duplicate"

    await eventually(known, what="a duplicate that is told")
    await in_step(daemon)
    [row] = await pages(daemon, "/webhooks/hook/events")
    assert row["status"] == "processed"
    assert mail.contents() == crm.contents()
    assert "Bea" in mail.contents()
    assert len(mail.writes("PATCH")) == 1
    assert crm.writes() == []
    # One that it hears of first by webhook.
    crm.put(TYPE, 50)
    await tell(daemon, "hook", crm, "4", delivery="d-2")
    await in_step(daemon)
    assert mail.contents() == crm.contents()
    assert len(mail.writes("POST")) == 4
    assert set((await run(daemon, "crm")).keys()) <= {"fetched", "unchanged"}


async def test_edits_by_api_and_by_command_line_are_pushed_to_both(daemon: Daemon, crm: System, mail: System) -> None:
    crm.fill(2)
    await connect(daemon, "crm", crm)
    await connect(daemon, "mail", mail)
    await run(daemon, "crm")
    await in_step(daemon)
    (await edit(daemon, await entity_named(daemon, "Ana 0"), {"name": "By API"})).ok()
    other = await entity_named(daemon, "Ana 1")
    await cli(daemon, "entities", "edit", other["id"], "--set", "name=By command line", "--set", "größe=null")
    await in_step(daemon)
    assert crm.contents().keys() == mail.contents().keys() == {"By API", "By command line"}
    assert crm.contents() == mail.contents()
    assert [len(one.writes("PATCH")) for one in (crm, mail)] == [2, 2]
    assert "größe" not in crm.contents()["By command line"], "only what was changed, and all of it"
    made = await daemon.api("POST", f"/entities/{TYPE}", {"tenantId": TENANT, "data": crm.sample(TYPE, 9)})
    assert made.status == 201
    await in_step(daemon)
    assert "Ana 9" in crm.contents()
    assert crm.contents() == mail.contents()
    (await daemon.api("DELETE", f"/entities/{TYPE}/{made.json()['id']}")).ok()
    await in_step(daemon)
    assert len(crm.ids(TYPE)) == len(mail.ids(TYPE)) == 2
    writes = len(crm.writes()), len(mail.writes())
    for name in ("crm", "mail"):
        assert set(await run(daemon, name, full=True)) <= {"fetched", "unchanged"}
    await in_step(daemon)
    assert (len(crm.writes()), len(mail.writes())) == writes, "an own write that comes back is known"


async def test_an_edit_while_the_one_before_is_pushed_follows_it_at_once(
    daemon: Daemon, crm: System, mail: System
) -> None:
    crm.fill(1)
    await connect(daemon, "crm", crm)
    await connect(daemon, "mail", mail, "push")
    await run(daemon, "crm")
    await in_step(daemon)
    gate = mail.gate_write(after=True)
    (await edit(daemon, await entity_named(daemon, "Ana 0"), {"name": "First"})).ok()
    async with gate:
        (await edit(daemon, await entity_named(daemon, "First"), {"name": "Second"})).ok()
        await in_step_but_for(daemon, 1)
        assert len(mail.writes("PATCH")) == 0, "pushes of one entity to one system never overlap"
    # It comes back after as long as it was held up, and does not wait for the end of the lease: 70 s.
    await in_step(daemon, within=20)
    assert crm.contents().keys() == mail.contents().keys() == {"Second"}
    assert [one.body.get("name") for one in mail.writes("PATCH")] == ["First", "Second"]


async def test_an_edit_against_an_older_state_is_refused(daemon: Daemon, crm: System) -> None:
    crm.fill(1)
    await connect(daemon, "crm", crm)
    await run(daemon, "crm")
    [found] = await entities(daemon)
    (await edit(daemon, found, {"name": "First"})).ok()
    body: JsonObject = {"tenantId": TENANT, "data": {"name": "Second"}}
    where = f"/entities/{TYPE}/{found['id']}"
    refused = await daemon.api("PUT", where, body, headers={"If-Match": f'"{found["etag"]}"'})
    assert refused.status in (409, 412), refused.body
    await in_step(daemon)
    assert crm.contents().keys() == {"First"}


async def test_a_conflict_waits_for_a_person_and_what_is_decided_reaches_both(
    daemon: Daemon, crm: System, mail: System
) -> None:
    crm.fill(1)
    rules = {"default": "last_write_wins", "fields": {"mail": "manual"}}
    await connect(daemon, "crm", crm, conflict=rules)
    await connect(daemon, "mail", mail)
    await run(daemon, "crm")
    await in_step(daemon)
    # Both sides change the same field before either hears of the other.
    gate = crm.gate_write()
    (await edit(daemon, await entity_named(daemon, "Ana 0"), {"mail": "ours@example.com"})).ok()
    async with gate:
        crm.edit_now("1", {"mail": "theirs@example.com"})
    await in_step(daemon)
    assert [one.status for one in crm.writes("PATCH")] == [412], "its conditional write was refused, and read again"
    [listed] = json.loads(await cli(daemon, "conflicts", "list", "--status", "open", "--output", "json"))
    shown = json.loads(await cli(daemon, "conflicts", "show", listed["id"], "--output", "json"))
    [field] = [one for one in shown["fields"] if one["field"] == "mail"]
    assert (field["ours"], field["theirs"], field["taken"]) == ("ours@example.com", "theirs@example.com", "open")
    assert crm.contents()["Ana 0"]["mail"] == "theirs@example.com", "nobody is overwritten before that"
    assert mail.contents()["Ana 0"]["mail"] == "ours@example.com"
    await cli(daemon, "conflicts", "resolve", listed["id"], "--value", "mail=decided@example.com")
    await in_step(daemon)
    assert {one.contents()["Ana 0"]["mail"] for one in (crm, mail)} == {"decided@example.com"}
    assert json.loads(await cli(daemon, "conflicts", "list", "--status", "open", "--output", "json")) == []
    again = await daemon.cli("conflicts", "resolve", listed["id"], "--take", "theirs")
    assert again[0] == 1
    assert "resolved" in again[2]
    assert await parked(daemon) == []


async def test_a_task_that_is_cancelled_in_the_middle_stops_and_keeps_what_it_has(daemon: Daemon, crm: System) -> None:
    crm.fill(2000)
    await connect(daemon, "crm", crm)
    gate = crm.gate_page(3)
    identifier = await begin(daemon, "crm")
    async with gate:
        assert (await task(daemon, identifier))["status"] == "running"
        out = await cli(daemon, "tasks", "cancel", identifier)
        assert "stops at its next checkpoint" in out
    result = await ended(daemon, identifier)
    assert result["status"] == "cancelled"
    assert_sums_up(result)
    assert 100 <= result["counts"]["fetched"] < 2000
    # Pages that were on their way may be stored behind what the result counts.
    assert result["counts"]["created"] <= len(await entities(daemon)) <= result["counts"]["created"] + 1000
    assert not any(one.query.get("page") == "20" for one in crm.log), "further than is fetched ahead"
    # Nothing of it stands in the way of the next.
    assert (await run(daemon, "crm"))["fetched"] == 2000
    assert len(await entities(daemon)) == 2000
