"""GET by id over HTTP with a million documents in the store.

python -m tests.benchmarks.documents [documents]
"""

from __future__ import annotations

import asyncio
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from syncd.adapters.embedded.clock import SystemClock
from syncd.adapters.embedded.store import open_store
from syncd.domain.collections import ENTITIES
from syncd.domain.times import iso
from syncd.ports.documents import Create
from tests.acceptance.process import Daemon


async def by_id(documents: int = 1_000_000, samples: int = 2000) -> tuple[float, float]:
    """Milliseconds of one GET at a time: (median, p99)."""
    directory = Path(tempfile.mkdtemp(prefix="syncd-bench-", dir=Path(__file__).parents[3]))
    partition = "tenant-1:contact"
    try:
        (directory / "data").mkdir()
        clock = SystemClock()
        async with open_store(directory / "data", clock=clock, durable=False) as store:
            now = iso(clock.now())
            names = iter(range(documents))

            async def fill() -> None:
                while batch := [name for name, _ in zip(names, range(100), strict=False)]:
                    await store.documents.write(
                        ENTITIES, partition, [Create(f"{partition}.{n:026d}", _entity(n, now)) for n in batch]
                    )

            await asyncio.gather(*(fill() for _ in range(16)))
        delays = []
        async with Daemon(directory / "data") as running:
            chosen = random.Random(1)
            for _ in range(samples):
                path = f"/entities/contact/{partition}.{chosen.randrange(documents):026d}?tenantId=tenant-1"
                began = time.perf_counter()
                await running.api("GET", path)
                delays.append((time.perf_counter() - began) * 1000)
        delays.sort()
        return statistics.median(delays), delays[int(samples * 0.99)]
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _entity(number: int, now: str) -> dict[str, object]:
    return {
        "tenantId": "tenant-1",
        "type": "contact",
        "data": {"email": f"person{number}@example.org", "name": f"Person {number}"},
        "externalIds": {"conn-1": str(number)},
        "links": {},
        "version": 1,
        "createdAt": now,
        "updatedAt": now,
        "deleted": False,
    }


if __name__ == "__main__":
    print("GET by id ms (median, p99)", asyncio.run(by_id(*[int(argument) for argument in sys.argv[1:]])))
