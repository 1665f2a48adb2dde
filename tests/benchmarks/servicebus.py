"""`python -m tests.benchmarks.servicebus`: messages/s from Service Bus through the worker with a no-op handler, telemetry on.

Beside it, in the same run and against the same double (in a process of its own): the SDK alone in its best loop, which receives 50
and completes them together. Both find the same messages, with the same properties.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from azure.servicebus.aio import ServiceBusClient

from syncd.adapters.azure.servicebus.opening import open_service_bus
from syncd.adapters.azure.servicebus.queue import ServiceBusQueue
from syncd.adapters.embedded.blobs import open_blobs
from syncd.adapters.embedded.clock import SystemClock
from syncd.domain.errors import Bin
from syncd.domain.ids import ulid
from syncd.ports.queue import Delivery, Release
from syncd.runtime.claimcheck import ClaimCheckedQueue
from syncd.runtime.executor import Executor
from syncd.runtime.work import Handler, WorkerLimits, Workload
from syncd.runtime.worker import Worker
from syncd.telemetry.log import Logs, get_logger
from syncd.telemetry.observe import Telemetry
from tests.benchmarks.world import QUEUE, Counter, job, run

MESSAGES = 2_000
BATCH = 50
ROUNDS = 3


async def measure(messages: int = MESSAGES, rounds: int = ROUNDS) -> dict[str, float]:
    """Medians: `ours` and `sdk` messages a second, and their `ratio`."""
    ours, theirs = [], []
    async with _double() as connection_string:
        for _ in range(rounds):
            await _fill(connection_string, messages)
            theirs.append(await _sdk(connection_string, messages))
            await _fill(connection_string, messages)
            ours.append(await _worker(connection_string, messages))
    found = {"ours": statistics.median(ours), "sdk": statistics.median(theirs)}
    return {**found, "ratio": found["ours"] / found["sdk"]}


@asynccontextmanager
async def _double() -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.wire", "servicebus", "--queue", QUEUE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield str(json.loads(await process.stdout.readline())["connection_string"])
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def _queue(connection_string: str, telemetry: Telemetry) -> AsyncIterator[ServiceBusQueue]:
    clock = SystemClock()
    async with open_service_bus(
        connection_string=connection_string, queues=[QUEUE], lanes=False, clock=clock, observe=telemetry.observe
    ) as queue:
        yield queue


def _telemetry() -> Telemetry:
    Logs().configure(level="warning")
    return Telemetry(logger=get_logger())


async def _fill(connection_string: str, messages: int) -> None:
    async with _queue(connection_string, _telemetry()) as queue:
        for _ in range(messages // 250):
            await queue.send(QUEUE, [job(time.time(), ulid(time.time())) for _ in range(250)])


async def _sdk(connection_string: str, messages: int) -> float:
    async with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_receiver(QUEUE) as receiver,
    ):
        done, began = 0, time.perf_counter()
        while done < messages:
            batch = await receiver.receive_messages(BATCH, max_wait_time=5)
            await asyncio.gather(*(receiver.complete_message(message) for message in batch))
            done += len(batch)
        return messages / (time.perf_counter() - began)


async def _worker(connection_string: str, messages: int) -> float:
    counter, telemetry, clock = Counter(), _telemetry(), SystemClock()

    async def park(delivery: Delivery, where: Bin, reason: str) -> None:
        raise AssertionError(f"{delivery.envelope.origin_id} was parked as {where}: {reason}")

    with tempfile.TemporaryDirectory() as directory:
        async with _queue(connection_string, telemetry) as backend, open_blobs(Path(directory)) as blobs:
            queue = ClaimCheckedQueue(backend, blobs, inline_bytes=65536, clock=clock)
            executor = Executor(queue=queue, blobs=blobs, park=park, clock=clock, observe=telemetry.observe)
            workload = Workload(
                handlers={"noop": Handler(handle=counter.handle)},
                limits={QUEUE: WorkerLimits(minimum=BATCH, maximum=BATCH)},
            )
            worker = Worker(
                name=QUEUE,
                queue=queue,
                executor=executor,
                workload=lambda: workload,
                clock=clock,
                observe=telemetry.observe,
            )
            first = await queue.lease(
                QUEUE, 1, duration=60.0
            )  # connects, as the reference has done before it is measured
            await queue.settle([Release(delivery) for delivery in first])
            began = time.perf_counter()
            tasks = [asyncio.create_task(worker.run()), asyncio.create_task(worker.patrol())]
            await counter.reach(messages)
            await executor.flush()
            seconds = time.perf_counter() - began
            worker.stop_leasing()
            await worker.drain(clock.monotonic() + 5)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return messages / seconds


if __name__ == "__main__":
    print(json.dumps(run(measure), indent=1))
