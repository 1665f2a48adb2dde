"""`python -m tests.benchmarks.cosmos_records`: a page of 100 new records (an entity and an alias each) into one partition of Cosmos DB,
the way a pull stores it, with 5 ms to the service.

Beside it, in the same rounds on the same double: the SDK upserting the same 200 documents one by one, all at once.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from azure.cosmos.aio import CosmosClient

from syncd.adapters.azure.cosmos import Options, check_cosmos, open_cosmos
from syncd.adapters.embedded.clock import SystemClock
from syncd.adapters.embedded.store import open_store
from syncd.domain.receiving import Incoming, order_of
from syncd.flows.conflicts import ConflictLog
from syncd.flows.hints import PushHints
from syncd.flows.intake import Intake
from syncd.flows.subscriptions import Subscriptions
from syncd.ports.observe import ignore
from tests.wire.cosmos import KEY, CosmosDouble

RECORDS = 100
LATENCY = 0.005
ROUNDS = 7


def page(first: int, now: float) -> list[Incoming]:
    return [
        Incoming(
            connection_id="crm",
            external_id=f"c{number}",
            operation="update",
            data={"name": f"Contact {number}", "email": f"c{number}@example.com", "note": "x" * 400},
            occurred_at=now,
            order=order_of(now, "update", now),
        )
        for number in range(first, first + RECORDS)
    ]


async def measure() -> dict[str, float]:
    """Medians: `trips` and `seconds` of a page; `single trips` and `single seconds` of the same documents one by one; `ratio`."""
    clock = SystemClock()
    options = Options(enable_endpoint_discovery=False, most_in_flight=100)
    found: dict[str, list[float]] = {"trips": [], "seconds": [], "single trips": [], "single seconds": []}
    with tempfile.TemporaryDirectory() as directory:
        async with CosmosDouble(clock=clock) as service, open_store(Path(directory), clock=clock) as store:
            account = {"endpoint": service.endpoint, "credential": KEY, "database": "syncd", "clock": clock}
            assert await check_cosmos(**account, options=options, create=True) == []
            async with (
                open_cosmos(**account, options=options) as documents,
                CosmosClient(service.endpoint, KEY, enable_endpoint_discovery=False) as client,
            ):
                container = client.get_database_client("syncd").get_container_client("entities")
                intake = Intake(
                    documents=documents,
                    subscriptions=Subscriptions(documents=documents, clock=clock),
                    conflicts=ConflictLog(documents=documents, clock=clock, observe=ignore),
                    hints=PushHints(queue=store.queue, clock=clock),
                    clock=clock,
                )
                for turn in range(ROUNDS + 1):
                    service.calls.clear()
                    service.latency = LATENCY
                    now = clock.now()
                    began = time.perf_counter()
                    await intake.receive_page("tenant", "contact", page(turn * RECORDS, now), said_at=now)
                    found["seconds"].append(time.perf_counter() - began)
                    found["trips"].append(len(service.requests()))
                    items = service.store.databases["syncd"]["entities"].partitions['["tenant:contact"]']
                    newest = [dict(one.body) for name, one in items.items() if not name.startswith("1-")][
                        -2 * RECORDS :
                    ]
                    assert len(newest) == 2 * RECORDS
                    service.calls.clear()
                    began = time.perf_counter()
                    await asyncio.gather(*(container.upsert_item({**one, "id": f"1-{one['id']}"}) for one in newest))
                    found["single seconds"].append(time.perf_counter() - began)
                    found["single trips"].append(len(service.requests()))
                    service.latency = 0.0
    # The first turn opens connections and reads what a process reads once.
    figures = {name: statistics.median(values[1:]) for name, values in found.items()}
    return {**figures, "ratio": figures["single seconds"] / figures["seconds"]}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure()), indent=2))
