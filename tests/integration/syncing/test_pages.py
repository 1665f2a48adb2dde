"""A page on its way into the store, where the store does not take it as it comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncd.adapters.embedded.store import Store, open_store
from syncd.domain.collections import ENTITIES
from syncd.domain.errors import Overloaded
from syncd.domain.receiving import Incoming, order_of
from syncd.flows.conflicts import ConflictLog
from syncd.flows.hints import PushHints
from syncd.flows.intake import Intake
from syncd.flows.steps import Stored
from syncd.flows.subscriptions import Subscriptions
from syncd.ports.documents import Condition, Query
from syncd.ports.observe import ignore
from syncd.testing.clock import FrozenClock

#: Entity and alias each: more than one atomic batch.
RECORDS = 60


def intake_of(store: Store, clock: FrozenClock) -> Intake:
    documents = store.documents
    return Intake(
        documents=documents,
        subscriptions=Subscriptions(documents=documents, clock=clock),
        conflicts=ConflictLog(documents=documents, clock=clock, observe=ignore),
        hints=PushHints(queue=store.queue, clock=clock),
        clock=clock,
    )


def page(clock: FrozenClock) -> list[Incoming]:
    now = clock.now()
    return [
        Incoming(
            connection_id="crm",
            external_id=f"c{number}",
            operation="update",
            data={"name": f"Contact {number}"},
            occurred_at=now,
            order=order_of(now, "update", now),
        )
        for number in range(RECORDS)
    ]


async def test_a_page_that_the_store_cannot_take_now_is_refused_in_the_stores_own_words(tmp_path: Path) -> None:
    clock = FrozenClock()
    async with open_store(tmp_path, clock=clock, durable=False, inbox_operations=1) as store:
        intake = intake_of(store, clock)
        with pytest.raises(Overloaded, match="are waiting for the disk"):
            await intake.receive_page("tenant", "contact", page(clock), said_at=clock.now())


async def test_the_entities_of_a_page_are_listed_in_its_order(tmp_path: Path) -> None:
    clock = FrozenClock()
    async with open_store(tmp_path, clock=clock, durable=False) as store:
        answers = await intake_of(store, clock).receive_page("tenant", "contact", page(clock), said_at=clock.now())
        assert all(isinstance(one, Stored) and one.effect == "created" for one in answers)
        listed = await store.documents.query(
            ENTITIES, Query(partition="tenant:contact", where=[Condition("deleted", "eq", False)])
        )
        assert [one.data["data"]["name"] for one in listed.items] == [f"Contact {n}" for n in range(RECORDS)]
