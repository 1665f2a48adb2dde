"""1,000 changes pushed over four connections to a system that takes 20 ms for each, by 50 receivers: the daemon's own worker, store
and client. Each type has one connection, so that every change is one push of one entity.

    python -m tests.benchmarks.pushes [changes] [rounds]
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time

import aiohttp

from syncd.domain.collections import CONNECTIONS, ENTITIES
from syncd.domain.receiving import Incoming, order_of
from syncd.domain.records import entity_partition, owed_pushes
from syncd.flows.conflicts import ConflictLog
from syncd.flows.hints import PushHints
from syncd.flows.intake import Intake
from syncd.ports.documents import Condition, Create, Query
from syncd.ports.observe import ignore
from tests.benchmarks.pulls import UNLIMITED
from tests.benchmarks.systems import contact, system
from tests.benchmarks.world import built_daemon, run

LATENCY = 0.020
RECEIVERS = 50
TENANT = "tenant-1"
CONNECTIONS_OF = {f"contact{number}": f"system-{number}" for number in range(4)}
_FLAGS = {
    "queues.sync-outbound.min_receivers": RECEIVERS,
    "queues.sync-outbound.max_receivers": RECEIVERS,
    "queues.sync-outbound.group_cap": RECEIVERS,
}


async def once(changes: int = 1000) -> float:
    """Seconds from the start of the receivers until every push is recorded."""
    async with (
        system("write", LATENCY, "id") as (port, lines),
        built_daemon(environ=UNLIMITED, flags=_FLAGS) as (built, start),
    ):
        ports, flows = built.control.ports, built.control.current.flows
        documents, clock = ports.documents, ports.clock
        for kind, connection in CONNECTIONS_OF.items():
            shape = {"get": f"/{kind}/{{id}}", "update": f"/{kind}/{{id}}"}
            document = {
                "tenantId": TENANT,
                "integrationId": "rest",
                "settings": {"baseUrl": f"http://127.0.0.1:{port}", "types": {kind: shape}},
                "entities": {kind: {"direction": "both"}},
                "enabled": True,
            }
            await documents.write(CONNECTIONS, connection, [Create(connection, document)])
        intake = Intake(
            documents=documents,
            subscriptions=flows.subscriptions,
            conflicts=ConflictLog(documents=documents, clock=clock, observe=ignore),
            hints=PushHints(queue=ports.queue, clock=clock),
            clock=clock,
        )
        share = changes // len(CONNECTIONS_OF)
        for kind, connection in CONNECTIONS_OF.items():
            for first in range(0, share, 50):
                now = clock.now()
                page = [
                    Incoming(
                        connection_id=connection,
                        external_id=str(number),
                        operation="update",
                        data={name: value for name, value in contact(number).items() if name != "id"},
                        occurred_at=now,
                        order=order_of(now, "update", now),
                    )
                    for number in range(first, min(first + 50, share))
                ]
                stored = await intake.receive_page(TENANT, kind, page, said_at=now)
                for one, incoming in zip(stored, page, strict=True):
                    assert not isinstance(one, Exception)
                    await flows.entities.edit(
                        TENANT, kind, one.entity_id, {**incoming.data, "name": f"Another {one.entity_id}"}
                    )
        # As in a daemon that is ready.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        began = time.perf_counter()
        start()
        async with asyncio.timeout(60):
            for _ in range(share * len(CONNECTIONS_OF)):
                await lines.readline()
            owed = Query(across=True, where=(Condition("dirtySince", "present"),), limit=1)
            while (await documents.query(ENTITIES, owed)).items:
                await asyncio.sleep(0.002)  # the last answers are on their way to the store
        spent = time.perf_counter() - began
        for kind in CONNECTIONS_OF:
            live = Query(
                partition=entity_partition(TENANT, kind), where=(Condition("deleted", "eq", False),), limit=1000
            )
            found = (await documents.query(ENTITIES, live)).items
            if len(found) != share or any(owed_pushes(one.data) or one.data["version"] != 2 for one in found):
                raise AssertionError(f"not every change of {kind} was pushed once")
        return spent


async def bare(changes: int = 1000) -> float:
    """Seconds in which a program that does nothing else makes the same calls with the same HTTP client, as many at once."""
    async with system("write", LATENCY, "id") as (port, _), aiohttp.ClientSession() as session:
        numbers = iter(range(changes))

        async def receiver() -> None:
            for number in numbers:
                kind = list(CONNECTIONS_OF)[number % len(CONNECTIONS_OF)]
                change = json.dumps({"name": f"Another {number}"})
                url = f"http://127.0.0.1:{port}/{kind}/{number // len(CONNECTIONS_OF)}"
                async with session.patch(url, data=change) as answer:
                    await answer.json()

        began = time.perf_counter()
        await asyncio.gather(*(receiver() for _ in range(RECEIVERS)))
        return time.perf_counter() - began


def measure(changes: int = 1000, rounds: int = 5) -> tuple[float, float, float]:
    """Seconds of syncd, of the bare client, and of the bound that the latency sets; medians of rounds in turn."""
    spent, alone = [], []
    for _ in range(rounds):
        spent.append(run(lambda: once(changes)))
        alone.append(run(lambda: bare(changes)))
    return statistics.median(spent), statistics.median(alone), changes * LATENCY / RECEIVERS


if __name__ == "__main__":
    ours, theirs, bound = measure(*(int(argument) for argument in sys.argv[1:]))
    print(
        f"{ours:.3f} s, {bound / ours:.2f} of the bound; the bare client {theirs:.3f} s, {bound / theirs:.2f} of the bound"
    )
