from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from syncd.adapters.embedded.documents import EmbeddedDocuments
from syncd.adapters.embedded.store import open_store
from syncd.domain.collections import AUDIT, CONFLICTS
from syncd.domain.conflicts import RESOLVED_TTL, Choice
from syncd.domain.errors import Conflict, Forbidden, Invalid, NotFound
from syncd.domain.merge import ABSENT, Rule
from syncd.domain.principal import LOCAL, Principal
from syncd.flows.conflicts import ConflictLog
from syncd.flows.operate.audit import AuditTrail
from syncd.flows.operate.conflicts import ConflictsFlow
from syncd.ports.documents import Document, Query
from syncd.testing.clock import FrozenClock
from tests.integration.conflicts import ENTITY, Holding, field, record, written_down


@dataclass
class World:
    documents: EmbeddedDocuments
    clock: FrozenClock
    log: ConflictLog
    entities: Holding
    flow: ConflictsFlow
    observed: list[tuple[str, dict[str, object]]]

    async def all(self) -> list[Document]:
        return (await self.documents.query(CONFLICTS, Query(partition="t", limit=1000))).items


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[World]:
    clock = FrozenClock()
    observed: list[tuple[str, dict[str, object]]] = []
    async with open_store(directory, clock=clock, durable=False) as store:
        entities = Holding(store.documents)
        yield World(
            store.documents,
            clock,
            ConflictLog(
                documents=store.documents,
                clock=clock,
                observe=lambda event, /, **facts: observed.append((event, facts)),
            ),
            entities,
            ConflictsFlow(
                documents=store.documents,
                entities=entities,
                audit=AuditTrail(documents=store.documents, clock=clock),
                clock=clock,
            ),
            observed,
        )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path) as world:
        yield world


async def test_recording_twice_is_one_and_counts_once(world: World) -> None:
    records = [record(field("a"), entity=f"t:contact.{number}") for number in range(250)]
    ids = await written_down(world.log, records)
    again = await written_down(world.log, [*records, record(field("b"), entity="t:contact.new")])
    assert again[:250] == ids
    assert {one.id for one in await world.all()} == set(again)
    assert world.observed == [("conflict_recorded", {"entity_type": "contact", "status": "open"})] * 251


async def test_large_records_go_in_batches_that_the_store_takes(world: World) -> None:
    large = [field(f"f{number}", theirs="x" * 90_000) for number in range(8)]
    await written_down(world.log, [record(*large, version=str(number)) for number in range(7)])
    assert len(await world.all()) == 7


async def test_a_merge_done_again_replaces_what_it_said_before_unless_a_person_decided(world: World) -> None:
    [one] = await written_down(world.log, [record(field("a", rule=Rule.SOURCE_WINS))])
    await written_down(world.log, [record(field("a"), field("b"))])
    [stored] = await world.all()
    assert (stored.id, stored.data["status"]) == (one, "open")
    assert "resolvedAt" not in stored.data
    await world.entities.hold({"a": "ours", "b": "ours"}, {"a": one, "b": one})
    await world.flow.resolve(LOCAL, one, {"a": Choice("theirs")})
    [before] = await world.all()
    await written_down(world.log, [record(field("a"), field("b"), field("c"))])
    assert await world.all() == [before]


async def test_open_records_stay_and_resolved_ones_go_after_ninety_days(world: World) -> None:
    rule, waiting = await written_down(
        world.log, [record(field("a", rule=Rule.LAST_WRITE_WINS)), record(field("a"), version="2")]
    )
    await world.clock.advance(RESOLVED_TTL - 1)
    assert {one.id for one in await world.all()} == {rule, waiting}
    await world.clock.advance(2)
    assert {one.id for one in await world.all()} == {waiting}
    await world.entities.hold({"a": "ours"}, {"a": waiting})
    await world.flow.resolve(LOCAL, waiting, {"a": Choice("ours")})
    await world.clock.advance(RESOLVED_TTL - 1)
    assert {one.id for one in await world.all()} == {waiting}
    await world.clock.advance(2)
    assert await world.all() == []


async def test_a_person_decides_field_by_field_and_the_entity_is_written(world: World) -> None:
    [one] = await written_down(
        world.log, [record(field("a"), field("b", theirs=ABSENT), field("c"), field("d", rule=Rule.SOURCE_WINS))]
    )
    await world.entities.hold(dict.fromkeys("abcd", "ours"), dict.fromkeys("abc", one))
    half = await world.flow.resolve(LOCAL, one, {"c": Choice("value", None)})
    assert half["status"] == "open"
    whole = await world.flow.resolve(LOCAL, one, {"a": Choice("ours")}, others=Choice("theirs"))
    assert (whole["status"], whole["resolvedBy"]) == ("resolved", "local")
    assert [(one["field"], one["taken"], one.get("result", "absent")) for one in whole["fields"]] == [
        ("a", "ours", "ours"),
        ("b", "theirs", "absent"),
        ("c", "value", None),
        ("d", "theirs", "theirs"),
    ]
    entity = (await world.entities.stored()).data
    assert (entity["data"], entity["held"]) == ({"a": "ours", "c": None, "d": "ours"}, {})
    rows = (await world.documents.query(AUDIT, Query(across=True))).items
    assert [(row.data["action"], row.data["outcome"]) for row in rows] == [("conflict.resolve", "done")] * 2
    with pytest.raises(Conflict, match="was resolved at"):
        await world.flow.resolve(LOCAL, one, {"a": Choice("theirs")})


async def test_killed_between_entity_and_record_it_is_closed_by_doing_it_again(world: World) -> None:
    [one] = await written_down(world.log, [record(field("a"))])
    await world.entities.hold({"a": "ours"}, {"a": one})
    world.entities.killed = True
    with pytest.raises(KeyboardInterrupt):
        await world.flow.resolve(LOCAL, one, {"a": Choice("theirs")})
    assert (await world.flow.get(LOCAL, one))["status"] == "open"
    done = await world.flow.resolve(LOCAL, one, {"a": Choice("theirs")})
    assert (done["status"], done["fields"][0]["taken"]) == ("resolved", "theirs")


async def test_of_two_who_decide_otherwise_the_second_is_told_and_the_record_says_what_stands(world: World) -> None:
    [one] = await written_down(world.log, [record(field("a"))])
    await world.entities.hold({"a": "ours"}, {"a": one})
    await world.entities.resolve("t", "contact", ENTITY, "crm", {"a": "first"}, one)
    with pytest.raises(Conflict, match="decided otherwise"):
        await world.flow.resolve(LOCAL, one, {"a": Choice("value", "second")})
    found = await world.flow.get(LOCAL, one)
    assert (found["status"], found["fields"][0]["taken"], found["fields"][0]["result"]) == (
        "resolved",
        "superseded",
        "first",
    )


async def test_what_the_other_side_changed_again_is_decided_in_the_newer_conflict(world: World) -> None:
    older, newer = await written_down(
        world.log,
        [record(field("a", theirs=1), field("b"), version="1"), record(field("a", theirs=2), version="2")],
    )
    await world.entities.hold({"a": "ours", "b": "ours"}, {"a": newer, "b": older})
    with pytest.raises(Conflict, match=newer):
        await world.flow.resolve(LOCAL, older, {}, others=Choice("theirs"))
    assert (await world.flow.resolve(LOCAL, newer, {"a": Choice("theirs")}))["status"] == "resolved"
    assert (await world.entities.stored()).data["data"] == {"a": 2, "b": "ours"}
    left = await world.flow.get(LOCAL, older)
    assert [(one["field"], one["taken"]) for one in left["fields"]] == [("a", "superseded"), ("b", "open")]
    assert (await world.flow.resolve(LOCAL, older, {}, others=Choice("ours")))["status"] == "resolved"


async def test_of_an_entity_that_is_gone_nothing_is_left_to_decide(world: World) -> None:
    [one] = await written_down(world.log, [record(field("a"))])
    done = await world.flow.resolve(LOCAL, one, {"a": Choice("theirs")})
    assert (done["status"], done["fields"][0]["taken"]) == ("resolved", "superseded")


@pytest.mark.parametrize(
    ("choices", "words"),
    [({}, "say what"), ({"x": Choice("ours")}, "does not wait"), ({"d": Choice("ours")}, "those that do: a")],
)
async def test_a_decision_that_cannot_be_taken_changes_nothing(
    world: World, choices: dict[str, Choice], words: str
) -> None:
    [one] = await written_down(world.log, [record(field("a"), field("d", rule=Rule.SOURCE_WINS))])
    await world.entities.hold({"a": "ours"}, {"a": one})
    with pytest.raises(Invalid, match=words):
        await world.flow.resolve(LOCAL, one, choices)
    assert (await world.entities.stored()).data["held"] == {"a": one}


async def test_conflicts_are_listed_newest_first_by_tenant_status_and_entity(world: World) -> None:
    [first] = await written_down(world.log, [record(field("a"))])
    await world.clock.advance(1)
    [second] = await written_down(world.log, [record(field("a", rule=Rule.SOURCE_WINS), entity="t:contact.2")])
    await world.clock.advance(1)
    [third] = await written_down(world.log, [record(field("a"), entity="u:contact.1")])

    async def ids(principal: Principal = LOCAL, **filters: Any) -> list[str]:
        return [one["id"] for one in (await world.flow.list(principal, **filters)).items]

    one = Principal(name="one", tenants=frozenset({"t"}))
    assert await ids() == [third, second, first]
    assert await ids(one) == await ids(tenant_id="t") == [second, first]
    assert await ids(one, tenant_id="u") == []
    assert await ids(status="open") == [third, first]
    assert await ids(tenant_id="t", entity_id="t:contact.2") == [second]
    with pytest.raises(Invalid, match="no status"):
        await ids(status="pending")
    for identifier in (third, "nonsense", "t.none"):
        with pytest.raises(NotFound):
            await world.flow.get(one, identifier)
    with pytest.raises(Forbidden):
        await world.flow.resolve(one, first, {"a": Choice("ours")})
