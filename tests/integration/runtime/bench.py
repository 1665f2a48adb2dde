"""A worker and its executor over the embedded store, on a clock that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from syncd.adapters.embedded.blobs import open_blobs
from syncd.adapters.embedded.store import open_store
from syncd.domain.errors import Bin
from syncd.domain.messages import Envelope
from syncd.domain.outcomes import Outcome
from syncd.ports.observe import Observe
from syncd.ports.queue import Delivery, Depth, Message, Release, Settlement
from syncd.runtime.claimcheck import ClaimCheckedQueue
from syncd.runtime.executor import Executor
from syncd.runtime.work import Handle, Handler, Work, WorkerLimits, Workload
from syncd.runtime.worker import Worker
from syncd.testing.clock import FrozenClock

Q = "sync-outbound"


class WatchedQueue(ClaimCheckedQueue):
    given_back = 0

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        self.given_back += sum(isinstance(one, Release) for one in settlements)
        return await super().settle(settlements)


@dataclass
class Bench:
    queue: WatchedQueue
    worker: Worker
    executor: Executor
    clock: FrozenClock
    parked: list[tuple[Bin, str, bytes]] = field(default_factory=list)
    seen: list[Work] = field(default_factory=list)
    observed: list[str] = field(default_factory=list)

    async def send(self, name: str = "m", body: bytes = b"{}", **facts: object) -> None:
        await self.queue.send(Q, [Message(Envelope(kind="test", origin_id=name, **facts), body)])  # type: ignore[arg-type]  # facts of the envelope by name

    async def until(self, condition: Callable[[], bool]) -> None:
        """Give the loop and the writer thread turns until it is so; the test's own timeout bounds it."""
        while not condition():
            await asyncio.sleep(0)

    async def depth(self) -> Depth:
        return await self.queue.depth(Q)

    async def quiet(self) -> None:
        """Until nothing runs and nothing is ready."""
        while True:
            await self.until(lambda: self.worker.in_flight == 0)
            depth = await self.depth()
            if not depth.ready and not depth.leased:
                return


@asynccontextmanager
async def bench(
    tmp_path: Path, handle: Handle, *, limits: WorkerLimits | None = None, inline_bytes: int = 65536, **times: float
) -> AsyncIterator[Bench]:
    clock = FrozenClock()
    async with open_store(tmp_path, clock=clock, durable=False) as store, open_blobs(tmp_path / "blobs") as blobs:
        queue = WatchedQueue(store.queue, blobs, inline_bytes=inline_bytes, clock=clock)
        parked: list[tuple[Bin, str, bytes]] = []
        seen: list[Work] = []
        observed: list[str] = []

        def observe(event: str, /, **facts: object) -> None:
            observed.append(event)

        async def park(delivery: Delivery, where: Bin, reason: str) -> None:
            parked.append((where, reason, delivery.body))

        async def watched(work: Work) -> Outcome:
            seen.append(work)
            return await handle(work)

        observer: Observe = observe
        executor = Executor(queue=queue, blobs=blobs, park=park, clock=clock, observe=observer)
        workload = Workload(
            handlers={"test": Handler(handle=watched, **times)},  # type: ignore[arg-type]  # limits by name
            limits={Q: limits or WorkerLimits(minimum=4, maximum=16)},
        )
        worker = Worker(
            name=Q, queue=queue, executor=executor, workload=lambda: workload, clock=clock, observe=observer
        )
        tasks = [asyncio.create_task(worker.run()), asyncio.create_task(worker.patrol())]
        try:
            yield Bench(queue, worker, executor, clock, parked, seen, observed)
        finally:
            worker.stop_leasing()
            await worker.drain(clock.monotonic())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def answering(*outcomes: Outcome | Exception) -> Handle:
    """A handler that ends in these ways, one a call; the last repeats."""
    rest = list(outcomes)

    async def handle(work: Work) -> Outcome:
        outcome = rest.pop(0) if len(rest) > 1 else rest[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return handle
