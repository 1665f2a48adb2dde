"""`python -m tests.benchmarks.cosmos_pulls`: a pull of 10,000 records, and the same again unchanged, by a daemon whose documents are in
Cosmos DB, with 5 ms to the service; beside it the same with 0 ms. Everything else is on the daemon's own disk.

Each latency has a daemon and an account of its own, in turn, for each round; medians are shown. The account is the double, in this
process.

    python -m tests.benchmarks.cosmos_pulls [records] [rounds]
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys

from syncd.adapters.azure.cosmos import Options, check_cosmos
from syncd.adapters.embedded.clock import SystemClock
from tests.benchmarks.pulls import PAGE, pulled
from tests.benchmarks.systems import system
from tests.wire.cosmos import KEY, CosmosDouble

LATENCY = 0.005


async def measure(records: int = 10_000, rounds: int = 3) -> dict[str, float]:
    """Of the pull and of the same `again`: records/s near and far, the `ratio` of the two, and requests and request units (far)."""
    found: dict[str, list[float]] = {}
    async with system("list", records, PAGE) as (port, _lines):
        for _ in range(rounds):
            near = await _pulls(port, records, 0.0)
            far = await _pulls(port, records, LATENCY)
            for name in ("", "again "):
                figures = {
                    f"{name}near/s": near[f"{name}rate"],
                    f"{name}far/s": far[f"{name}rate"],
                    f"{name}ratio": far[f"{name}rate"] / near[f"{name}rate"],
                    f"{name}trips": far[f"{name}trips"],
                    f"{name}units": far[f"{name}units"],
                }
                for figure, value in figures.items():
                    found.setdefault(figure, []).append(value)
    return {name: statistics.median(values) for name, values in found.items()}


async def _pulls(port: int, records: int, latency: float) -> dict[str, float]:
    clock = SystemClock()
    async with CosmosDouble(clock=clock) as service:
        options = Options(enable_endpoint_discovery=False)
        account = {"endpoint": service.endpoint, "credential": KEY, "database": "syncd", "clock": clock}
        assert await check_cosmos(**account, options=options, create=True) == []
        environment = {
            "SYNCD_COSMOS__ENDPOINT": service.endpoint,
            "SYNCD_COSMOS__KEY": KEY,
            "SYNCD_COSMOS__EMULATOR": "true",
            # What is not in Cosmos DB is on this daemon's own disk.
            "SYNCD_DAEMON__DATA_DIR_DURABLE": "true",
            "SYNCD_LIMITS__MAX_REPLICAS": "1",
            "SYNCD_DAEMON__LAME_DUCK": "0",
            "SYNCD_HTTP__OUTGOING_ALLOW": "127.0.0.1",  # the system that is pulled
        }
        service.latency = latency
        figures: dict[str, float] = {}

        def count(name: str) -> None:
            calls = service.requests()
            figures.update({f"{name}trips": len(calls), f"{name}units": sum(call.charge for call in calls)})
            service.calls.clear()

        first, again = await pulled(port, records, environment=environment, between=lambda: count(""))
        count("again ")
        return {**figures, "rate": first.rate, "again rate": again.rate}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(*(int(argument) for argument in sys.argv[1:]))), indent=2))
