"""Of each conflict there is one record, however many merge it at once and whatever call they are killed at (G9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from syncd.adapters.embedded.store import open_store
from syncd.domain.collections import CONFLICTS, CONNECTIONS, ENTITIES, Collection
from syncd.domain.edits import edit
from syncd.domain.errors import Unavailable
from syncd.domain.merge import Rule, Rules
from syncd.domain.receiving import Incoming, order_of
from syncd.flows.conflicts import ConflictLog
from syncd.flows.debts import Debts
from syncd.flows.hints import PushHints
from syncd.flows.intake import Intake
from syncd.flows.subscriptions import Subscriptions
from syncd.ports.documents import Create, Document, Documents, Query, Replace, Write
from syncd.ports.observe import ignore
from syncd.ports.queue import Complete, Queue
from syncd.testing.clock import FrozenClock
from tests.integration.backends import Backend
from tests.integration.syncing.crashing import staged, with_two_hops_at_once
from tests.integration.syncing.systems import Telling, telling, webhook
from tests.integration.syncing.world import TENANT, World, at_start

PARTITION = f"{TENANT}:contact"
LATER_WINS, A_PERSON = Rules(), Rules(Rule.MANUAL)


async def records(documents: Documents) -> list[Document]:
    return (await documents.query(CONFLICTS, Query(partition=TENANT))).items


async def entity(documents: Documents) -> Document:
    [found] = [one for one in (await documents.query(ENTITIES, Query(partition=PARTITION))).items if "data" in one.data]
    return found


# -- whatever call they are killed at --


@pytest.fixture
async def crm() -> AsyncIterator[Telling]:
    double = telling("page", at_start())
    async with double.serving():
        yield double


@pytest.mark.parametrize("rule", ["last_write_wins", "manual"])
async def test_a_push_and_a_webhook_that_meet_record_one_conflict_whatever_call_they_are_killed_at(
    tmp_path: Path, backend: Backend, crm: Telling, rule: str
) -> None:
    async def prepare(world: World) -> None:
        crm.put("contact", 1)
        await world.connect("crm", crm, conflict=rule)
        await world.pull("crm")
        await world.clock.advance(300)
        crm.told.clear()
        [found] = await world.entities()
        await world.flows.entities.edit(TENANT, "contact", found.id, {**found.data["data"], "name": "Ours"})
        await world.ports.queue.settle([Complete(hint) for hint in await world.lease(10)])
        await world.clock.advance(1)
        crm.edit("contact", *crm.live(), {"name": "Theirs"})
        await world.clock.advance(130)

    async def act(world: World) -> None:
        await world.ports.queue.send("sync-outbound", [webhook("crm", crm.told[0], "first", world.clock.now())])
        assert await world.remind() == 1
        await with_two_hops_at_once(world)

    async def check(world: World) -> None:
        await world.ports.queue.send("sync-outbound", [webhook("crm", crm.told[0], "again", world.clock.now())])
        await world.work()
        found = await entity(world.ports.documents)
        [record] = await records(world.ports.documents)
        [field] = record.data["fields"]
        assert (field["field"], field["ours"], field["theirs"]) == ("name", "Ours", "Theirs")
        assert "conflicts" not in found.data
        assert "dirtySince" not in found.data
        if rule == "manual":
            assert record.data["status"] == "open"
            assert found.data["links"]["crm"]["open"] == {"name": record.id}
        else:
            assert (record.data["resolvedBy"], field["taken"]) == ("rule", "theirs")
            assert found.data["data"]["name"] == "Theirs"

    async with staged(tmp_path, backend, prepare, crm=crm) as stage:
        await stage.at_port_calls(act, check, more_than=12)


# -- a compare-and-set that is lost --


class Quicker:
    """The store, where somebody else is quicker than the first write of an entity."""

    def __init__(self, documents: Documents, other: Callable[[], Awaitable[object]]) -> None:
        self._documents = documents
        self._other: Callable[[], Awaitable[object]] | None = other

    def __getattr__(self, name: str) -> Any:  # whatever the port has
        return getattr(self._documents, name)

    async def write(self, collection: Collection, partition: str, writes: Sequence[Write]) -> list[Document | None]:
        if collection is ENTITIES and self._other is not None:
            other, self._other = self._other, None
            await other()
        return await self._documents.write(collection, partition, writes)


class Away:
    """The store, where conflicts cannot be written just now."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def __getattr__(self, name: str) -> Any:  # whatever the port has
        return getattr(self._documents, name)

    async def write(self, collection: Collection, partition: str, writes: Sequence[Write]) -> list[Document | None]:
        if collection is CONFLICTS:
            raise Unavailable("conflicts cannot be written")
        return await self._documents.write(collection, partition, writes)


class Desk:
    """A contact of the CRM that was edited here."""

    def __init__(self, documents: Documents, queue: Queue, clock: FrozenClock) -> None:
        self.documents = documents
        self.queue = queue
        self.clock = clock

    def intake(self, documents: object | None = None) -> Intake:
        used = cast("Documents", documents or self.documents)
        return Intake(
            documents=used,
            subscriptions=Subscriptions(documents=used, clock=self.clock),
            conflicts=ConflictLog(documents=used, clock=self.clock, observe=ignore),
            hints=PushHints(queue=self.queue, clock=self.clock),
            clock=self.clock,
        )

    def debts(self) -> Debts:
        conflicts = ConflictLog(documents=self.documents, clock=self.clock, observe=ignore)
        return Debts(documents=self.documents, queue=self.queue, conflicts=conflicts, clock=self.clock)

    def said(self, name: str, *, at: float, heard: float = 0.0) -> Incoming:
        return Incoming(
            connection_id="crm",
            external_id="1",
            operation="update",
            data={"name": name},
            occurred_at=self.clock.now() + at,
            order=order_of(self.clock.now() + at, "update", self.clock.now() + at + heard),
        )

    async def hear(self, incoming: Incoming, rules: Rules = LATER_WINS, *, on: object | None = None) -> None:
        await self.intake(on).receive(TENANT, "contact", incoming, said_at=self.clock.now(), rules=rules)

    async def edit(self, name: str) -> None:
        found = await entity(self.documents)
        change = edit(
            found.data,
            {"name": name},
            tenant_id=TENANT,
            entity_type="contact",
            subscribers=(),
            now=self.clock.now(),
        )
        assert change.entity is not None
        await self.documents.write(ENTITIES, PARTITION, [Replace(found.id, change.entity, found.etag)])


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    clock = FrozenClock()
    async with open_store(tmp_path, clock=clock, durable=False) as store:
        desk = Desk(store.documents, store.queue, clock)
        entities = {"contact": {"direction": "pull"}}
        connection = {"tenantId": TENANT, "integrationId": "rest", "entities": entities, "enabled": True}
        await store.documents.write(CONNECTIONS, "crm", [Create("crm", connection)])
        await desk.hear(desk.said("Base", at=0))
        await clock.advance(10)
        await desk.edit("Ours")
        yield desk


async def test_the_same_word_by_two_ways_is_one_conflict(desk: Desk) -> None:
    word = desk.said("Theirs", at=1)
    again = replace(word, order=desk.said("Theirs", at=1, heard=0.5).order)
    assert again.remote_version != word.remote_version
    await desk.hear(word, on=Quicker(desk.documents, lambda: desk.hear(again)))
    [record] = await records(desk.documents)
    assert record.data["remoteVersion"] == again.remote_version


async def test_a_merge_that_lost_to_an_edit_without_a_conflict_records_none(desk: Desk) -> None:
    await desk.hear(desk.said("Theirs", at=1), on=Quicker(desk.documents, lambda: desk.edit("Theirs")))
    assert await records(desk.documents) == []
    assert "dirtySince" not in (await entity(desk.documents)).data


async def test_a_merge_that_lost_to_another_edit_records_what_it_came_to(desk: Desk) -> None:
    await desk.hear(desk.said("Theirs", at=1), on=Quicker(desk.documents, lambda: desk.edit("Ours too")))
    [record] = await records(desk.documents)
    assert record.data["fields"][0]["ours"] == "Ours too"


@pytest.mark.parametrize("rules", [LATER_WINS, A_PERSON], ids=["by rule", "by a person"])
async def test_a_conflict_that_could_not_be_written_down_is_by_whoever_hears_the_word_again(
    desk: Desk, rules: Rules
) -> None:
    word = desk.said("Theirs", at=1)
    with pytest.raises(Unavailable):
        await desk.hear(word, rules, on=Away(desk.documents))
    assert await records(desk.documents) == []
    assert list((await entity(desk.documents)).data["conflicts"])
    await desk.hear(word, rules)
    [record] = await records(desk.documents)
    found = (await entity(desk.documents)).data
    assert "conflicts" not in found
    assert "dirtySince" not in found
    assert found["links"]["crm"].get("open", {"name": record.id}) == {"name": record.id}


async def test_and_by_maintenance_where_nobody_does(desk: Desk) -> None:
    with pytest.raises(Unavailable):
        await desk.hear(desk.said("Theirs", at=1), on=Away(desk.documents))
    assert await desk.debts().remind() == 0, "whoever stored it may be at it"
    await desk.clock.advance(121)
    assert await desk.debts().remind() == 1
    assert len(await records(desk.documents)) == 1
    assert "conflicts" not in (await entity(desk.documents)).data
    await desk.clock.advance(121)
    assert await desk.debts().remind() == 0


async def test_two_conflicts_of_one_entity_are_both_written_down(desk: Desk) -> None:
    with pytest.raises(Unavailable):
        await desk.hear(desk.said("Theirs", at=1), on=Away(desk.documents))
    await desk.clock.advance(10)
    await desk.edit("Ours again")
    await desk.hear(desk.said("Theirs again", at=1))
    assert sorted(one.data["fields"][0]["ours"] for one in await records(desk.documents)) == ["Ours", "Ours again"]


async def test_many_who_hear_one_word_at_once_record_one_conflict(desk: Desk) -> None:
    words = [desk.said("Theirs", at=1, heard=number / 10) for number in range(8)]
    await asyncio.gather(*(desk.hear(word) for word in words))
    assert len(await records(desk.documents)) == 1
    assert "conflicts" not in (await entity(desk.documents)).data


async def test_a_record_too_large_for_its_entity_still_names_its_fields(desk: Desk) -> None:
    found = await entity(desk.documents)
    large = {f"f{number}": "x" * 90_000 for number in range(9)}
    data = {**found.data, "data": {**found.data["data"], **large}}
    data["links"] = {"crm": {**data["links"]["crm"], "base": {"name": "Base", **large}}}
    await desk.documents.write(ENTITIES, PARTITION, [Replace(found.id, data, found.etag)])
    theirs = {"name": "Theirs", **dict.fromkeys(large, "y" * 90000)}
    ours = {"name": "Ours", **dict.fromkeys(large, "z" * 90000)}
    found = await entity(desk.documents)
    await desk.documents.write(ENTITIES, PARTITION, [Replace(found.id, {**found.data, "data": ours}, found.etag)])
    await desk.hear(replace(desk.said("Theirs", at=1), data=theirs))
    [record] = await records(desk.documents)
    assert {one["field"] for one in record.data["fields"]} == {"name", *large}
    assert any("omitted" in one for one in record.data["fields"])
