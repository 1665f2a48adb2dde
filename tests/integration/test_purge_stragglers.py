"""What works on a tenant without a message that a purge could wait for leaves nothing behind: maintenance, and refreshes of tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from syncd.bootstrap.purging import parking
from syncd.domain.collections import CONFLICTS, CREDENTIALS, ENTITIES
from syncd.domain.conflicts import ConflictRecord, carrying
from syncd.domain.merge import Resolution, Rule
from syncd.domain.records import blank
from syncd.domain.times import HOUR, iso
from syncd.flows.accept import QUEUE
from syncd.flows.conflicts import ConflictLog
from syncd.flows.debts import Debts
from syncd.flows.maintain_deadletters import DrainDeadLetters
from syncd.flows.parked import Filter
from syncd.ports.documents import Create, Query
from syncd.testing.clock import FrozenClock
from tests.integration.backends import Backend
from tests.integration.refreshing import Endpoint, shown
from tests.integration.refreshing import World as Refreshing
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


async def test_what_a_refresh_is_granted_while_its_tenant_is_purged_stays_in_no_vault(
    tmp_path: Path, backend: Backend
) -> None:
    endpoint = Endpoint()
    endpoint.hold = asyncio.Event()
    async with opened(tmp_path, FrozenClock(), backend=backend) as world:
        refreshing = Refreshing(world.documents, world.vault, endpoint, world.clock)
        identifier = await refreshing.add()
        name = (await refreshing.document(identifier))["vaultName"]
        purging = Purging(world)
        call = asyncio.create_task(shown(refreshing.process(), identifier))
        await endpoint.entered.wait()
        assert not (await purging.purge.run("tenant")).done
        endpoint.hold.set()
        assert await call == "a2"
        await purging.to_the_end()
        assert await world.vault.versions(name) == []
        assert (await world.documents.query(CREDENTIALS, Query(partition="tenant"))).items == []


async def test_a_refresh_whose_process_died_holds_a_purge_up_until_its_time_is_over(
    tmp_path: Path, backend: Backend
) -> None:
    async with opened(tmp_path, FrozenClock(), backend=backend) as world:
        refreshing = Refreshing(world.documents, world.vault, Endpoint(), world.clock)
        until = iso(world.clock.now() + 30)
        await refreshing.edit(await refreshing.add(), refresh={"owner": "the dead", "since": until, "until": until})
        purging = Purging(world)
        assert not (await purging.purge.run("tenant")).done
        await world.clock.advance(31)
        assert (await purging.purge.run("tenant")).done
