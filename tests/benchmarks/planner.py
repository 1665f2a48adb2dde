"""One tick of the planner: 100 due tasks, queued by compare-and-set and sent, beside 100,000 that have ended.

python -m tests.benchmarks.planner [ended]
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from syncd.adapters.embedded.clock import SystemClock
from syncd.adapters.embedded.store import open_store
from syncd.bootstrap.process import SWITCH_INTERVAL
from syncd.domain.collections import TASKS
from syncd.domain.times import HOUR, iso
from syncd.flows.plan import Plan
from syncd.ports.documents import Create
from syncd.ports.observe import ignore

DUE = 100
_PRIORITIES = ("high", "normal", "low")


async def measure(ended: int = 100_000, ticks: int = 30) -> tuple[float, float]:
    """Milliseconds: the median tick with 100 due tasks, and one with none."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    directory = Path(tempfile.mkdtemp(prefix="syncd-bench-", dir=Path(__file__).parents[3]))
    clock = SystemClock()
    try:
        async with open_store(directory, clock=clock) as store:

            def task(identifier: str, status: str, **fields: object) -> Create:
                base = {"tenantId": "t", "integrationId": "github", "connectionId": "c", "syncMode": "pull"}
                stamps = {"createdAt": iso(clock.now()), "updatedAt": iso(clock.now())}
                return Create(identifier, {**base, **stamps, "status": status, "generation": 0, **fields})

            for start in range(0, ended, 5000):
                # Half of them wait for their next time, as tasks with a schedule do.
                batches = [
                    [
                        task(
                            f"t.ended{n}",
                            "succeeded",
                            nextScheduled=iso(clock.now() + HOUR) if n % 2 else None,
                            priority="normal",
                        )
                        for n in range(first, first + 100)
                    ]
                    for first in range(start, start + 5000, 100)
                ]
                await asyncio.gather(*(store.documents.write(TASKS, "t", batch) for batch in batches))
            plan = Plan(documents=store.documents, queue=store.queue, clock=clock, observe=ignore)
            busy, idle = [], []
            for tick in range(ticks):
                due = [task(f"t.{tick}-{n}", "pending", priority=_PRIORITIES[n % 3]) for n in range(DUE)]
                await store.documents.write(TASKS, "t", due)
                began = time.perf_counter()
                if await plan.queue_due() != DUE:
                    raise AssertionError("the tick left due tasks behind")
                busy.append((time.perf_counter() - began) * 1000)
                began = time.perf_counter()
                await plan.queue_due()
                idle.append((time.perf_counter() - began) * 1000)
            return statistics.median(busy), statistics.median(idle)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    with_due, without = asyncio.run(measure(*(int(one) for one in sys.argv[1:2])))
    sys.stdout.write(f"{DUE} due: {with_due:.1f} ms, none due: {without:.2f} ms\n")
