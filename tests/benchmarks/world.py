"""A daemon without its HTTP side and signals, in this process: the shipped defaults, telemetry on, a real directory, real fsync."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import structlog

from syncd.bootstrap.ports import Ports
from syncd.bootstrap.process import SWITCH_INTERVAL, Built, build_daemon
from syncd.domain.messages import Envelope
from syncd.domain.outcomes import DONE, Outcome
from syncd.domain.times import DAY
from syncd.ports.queue import Message
from syncd.runtime.work import Handler, Work
from syncd.settings import load
from syncd.telemetry.log import Logs

QUEUE = "sync-outbound"
T = TypeVar("T")


class Counter:
    """A no-op handler that counts, and wakes whoever waits for a number."""

    def __init__(self) -> None:
        self.done = 0
        self.started: list[float] = []
        self._target = 0
        self._reached = asyncio.Event()

    async def handle(self, work: Work) -> Outcome:
        self.done += 1
        if self.done >= self._target:
            self._reached.set()
        return DONE

    async def reach(self, number: int) -> None:
        self._target = number
        if self.done < number:
            self._reached.clear()
            await self._reached.wait()


def job(now: float, origin: str) -> Message:
    """What a producer sends: 200 bytes of JSON, a connection's work."""
    body = (
        b'{"integrationId":"github","tenantId":"tenant-1","connectionId":"conn-1","syncMode":"pull","padding":"%b"}'
        % (b"x" * 100)
    )
    return Message(Envelope(kind="noop", origin_id=origin, tenant_id="tenant-1", expires_at=now + 7 * DAY), body)


@asynccontextmanager
async def ports_and_worker(handler: Handler, *, work: bool = True) -> AsyncIterator[Ports]:
    """The ports of a daemon in a fresh directory, with its own worker of QUEUE running."""
    async with built_daemon(extra_handlers={"noop": handler}) as (built, start):
        if work:
            start()
        yield built.control.ports


@asynccontextmanager
async def built_daemon(
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    extra_handlers: Mapping[str, Handler] | None = None,
) -> AsyncIterator[tuple[Built, Callable[[], None]]]:
    """All of a daemon in a fresh directory, and what starts its workers."""
    directory = Path(tempfile.mkdtemp(prefix="syncd-bench-", dir=_disk()))
    logs = Logs()
    logs.configure(level="warning")
    loaded = load(None, environ=environ or {}, flags={"daemon.data_dir": str(directory), **(flags or {})})
    tasks: list[asyncio.Task[None]] = []
    try:
        async with build_daemon(loaded, logs=logs, boot="bench", extra_handlers=extra_handlers) as built:

            def start() -> None:
                tasks.extend(
                    asyncio.create_task(run()) for worker in built.workers for run in (worker.run, worker.patrol)
                )

            try:
                yield built, start
            finally:
                for worker in built.workers:
                    worker.stop_leasing()
                await asyncio.gather(*(worker.drain(asyncio.get_running_loop().time() + 5) for worker in built.workers))
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        structlog.reset_defaults()
        shutil.rmtree(directory, ignore_errors=True)


def _disk() -> str:
    """Beside the checkout: the temporary directory is often memory, which makes fsync free."""
    return str(Path(__file__).parents[3])


def run(main: Callable[[], Coroutine[None, None, T]]) -> T:
    """On the daemon's own event loop and thread settings."""
    import sys

    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())
