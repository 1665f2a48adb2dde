"""Jobs through the engine: enqueue (own commit, fsync'd) -> lease -> no-op handler -> complete.

python -m tests.benchmarks.jobs [single|batch|deep|idle]
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable

from syncd.domain.ids import ulid
from syncd.domain.outcomes import DONE, Outcome
from syncd.ports.queue import Complete
from syncd.runtime.work import Handler, Work
from tests.benchmarks.world import QUEUE, Counter, job, ports_and_worker, run

PRODUCERS = 64


async def single(jobs: int = 20_000) -> float:
    """Jobs/s end to end: 64 producers, each awaiting its own commit."""
    counter = Counter()
    async with ports_and_worker(Handler(handle=counter.handle)) as ports:
        left = iter(range(jobs))

        async def produce() -> None:
            for _ in left:
                await ports.queue.send(QUEUE, [job(time.time(), ulid(time.time()))])

        began = time.perf_counter()
        await asyncio.gather(*(produce() for _ in range(PRODUCERS)), counter.reach(jobs))
        return jobs / (time.perf_counter() - began)


async def batch(jobs: int = 100_000, size: int = 100, producers: int = 8) -> float:
    """Jobs/s end to end: producers that enqueue batches."""
    counter = Counter()
    async with ports_and_worker(Handler(handle=counter.handle)) as ports:
        left = iter(range(jobs // size))

        async def produce() -> None:
            for _ in left:
                await ports.queue.send(QUEUE, [job(time.time(), ulid(time.time())) for _ in range(size)])

        began = time.perf_counter()
        await asyncio.gather(*(produce() for _ in range(producers)), counter.reach(jobs))
        return jobs / (time.perf_counter() - began)


async def deep(waiting: tuple[int, ...] = (10_000, 1_000_000), measured: int = 10_000) -> dict[int, float]:
    """Microseconds of store time per job (enqueue, lease, complete, in batches of 100) with so many waiting."""
    figures: dict[int, float] = {}
    async with ports_and_worker(Handler(handle=Counter().handle), work=False) as ports:
        queue, present = ports.queue, 0
        for target in waiting:
            while present < target:
                await queue.send(QUEUE, [job(time.time(), ulid(time.time())) for _ in range(1000)])
                present += 1000
            rounds = []
            for _ in range(3):
                spent = 0.0
                for _ in range(measured // 100):
                    messages = [job(time.time(), ulid(time.time())) for _ in range(100)]
                    began = time.perf_counter()
                    await queue.send(QUEUE, messages)
                    deliveries = await queue.lease(QUEUE, 100, duration=60.0)
                    await queue.settle([Complete(delivery) for delivery in deliveries])
                    spent += time.perf_counter() - began
                    assert len(deliveries) == 100
                rounds.append(spent / measured * 1e6)
            figures[target] = statistics.median(rounds)
    return figures


async def idle(samples: int = 400) -> tuple[float, float]:
    """Milliseconds from calling send to the handler's start on an idle daemon: (median, p99)."""
    started: dict[str, float] = {}
    arrived = asyncio.Event()

    async def handle(work: Work) -> Outcome:
        started[work.envelope.origin_id] = time.perf_counter()
        arrived.set()
        return DONE

    delays = []
    async with ports_and_worker(Handler(handle=handle)) as ports:
        for n in range(samples):
            arrived.clear()
            began = time.perf_counter()
            await ports.queue.send(QUEUE, [job(time.time(), f"idle-{n}")])
            await arrived.wait()
            delays.append((started[f"idle-{n}"] - began) * 1000)
            await asyncio.sleep(0.005)  # idle means idle: the outcome of the last is recorded meanwhile
    delays.sort()
    return statistics.median(delays), delays[int(len(delays) * 0.99)]


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["single", "batch", "deep", "idle"]
    for name in chosen:
        measure: Callable[[], object] = {"single": single, "batch": batch, "deep": deep, "idle": idle}[name]
        print(name, run(measure))  # type: ignore[arg-type] - each is a coroutine function of its own result
