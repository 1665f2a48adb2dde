"""Maintenance has no lease that a purge could wait for: what it had read of the tenant before makes nothing after."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from syncd.bootstrap.purging import parking
from syncd.domain.collections import CONFLICTS, ENTITIES
from syncd.domain.conflicts import ConflictRecord, carrying
from syncd.domain.merge import Resolution, Rule
from syncd.domain.records import blank
from syncd.domain.times import HOUR
from syncd.flows.accept import QUEUE
from syncd.flows.conflicts import ConflictLog
from syncd.flows.debts import Debts
from syncd.flows.maintain_deadletters import DrainDeadLetters
from syncd.flows.parked import Filter
from syncd.ports.documents import Create, Query
from syncd.testing.clock import FrozenClock
from tests.integration.backends import Backend
from tests.integration.test_dead_letters import Graveyard, die
from tests.integration.test_debts import Watched
from tests.integration.test_purge import Purging
from tests.integration.webhooks import World, opened

RESOLUTION = Resolution(
    field="name", rule=Rule.LAST_WRITE_WINS, taken="theirs", base="a", ours="b", theirs="c", result="c"
)


async def carry_conflicts(world: World, count: int) -> None:
    """As merges leave them whose process died before it wrote them down."""
    for number in range(count):
        identifier = f"tenant:issue.{number}"
        record = ConflictRecord(
            entity_id=identifier, entity_type="issue", connection_id="gh", remote_version="1", resolutions=(RESOLUTION,)
        )
        entity = carrying(blank("tenant", "issue", world.clock.now()), record, world.clock.now())
        await world.documents.write(ENTITIES, "tenant:issue", [Create(identifier, entity)])


def at_write(documents: Watched, number: int, do: Callable[[], Awaitable[object]]) -> None:
    """Let `do` run just before the write of that number."""

    async def before() -> None:
        await (at_write_next() if number else do())

    async def at_write_next() -> None:
        at_write(documents, number - 1, do)

    documents.before = before


@pytest.mark.parametrize("write", range(3))
async def test_a_purge_in_the_middle_of_maintenance_leaves_no_conflict_behind(
    tmp_path: Path, backend: Backend, write: int
) -> None:
    async with opened(tmp_path, FrozenClock(), backend=backend) as world:
        await carry_conflicts(world, 2)
        await world.clock.advance(HOUR)
        documents = Watched(world.documents, [])
        conflicts = ConflictLog(documents=documents, clock=world.clock, observe=world.seen)
        debts = Debts(documents=documents, queue=world.queue, conflicts=conflicts, clock=world.clock)
        at_write(documents, write, Purging(world).to_the_end)
        await debts.remind()
        assert documents.before is None
        for collection in (ENTITIES, CONFLICTS):
            assert (await world.documents.query(collection, Query(across=True))).items == []


async def test_dead_letters_of_a_purged_tenant_are_not_parked(tmp_path: Path, backend: Backend) -> None:
    async with opened(tmp_path, FrozenClock(), backend=backend) as world:
        await die(world)
        purging = Purging(world)
        await purging.to_the_end()
        drain = DrainDeadLetters(
            dead_letters=Graveyard(world),
            queue=world.queue,
            queues=(QUEUE,),
            park=parking(world.parked.park, purging.purged),
        )
        assert await drain.drain() == 3
        assert (await world.parked.list(Filter())).items == []
        assert (await world.queue.depth(QUEUE)).ready == 0
