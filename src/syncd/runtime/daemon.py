"""The daemon's life: start in the order data flows, run until told otherwise, stop in the order data flows.

    starting -> running -> draining -> gone
    SIGHUP: reload (a bad file changes nothing)      SIGTERM, SIGINT: drain, exit 0      a second one: exit at once

Stop: readiness 503 -> lame duck -> intake (listener, ticker) -> leasing -> drain with a deadline -> cancel -> flush outcomes -> close.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from syncd.domain.errors import SyncdError
from syncd.domain.jsontypes import JsonObject
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe
from syncd.runtime.health import HealthBoard
from syncd.runtime.notify import Notifier
from syncd.runtime.supervision import Supervisor
from syncd.runtime.ticker import Ticker
from syncd.runtime.worker import Worker

#: Seconds that requests under way get to end, of the whole drain.
REQUESTS_DRAIN = 2.0


class Listener(Protocol):
    @property
    def address(self) -> str: ...

    async def start(self) -> None: ...

    async def drain(self, timeout: float) -> None: ...

    async def stop(self, timeout: float = ...) -> None: ...


class Daemon:
    """Services are started by name in the order given; the listener last, then READY."""

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        services: Sequence[tuple[str, Callable[[], Awaitable[None]]]],
        workers: Sequence[Worker],
        ticker: Ticker,
        listener: Listener,
        health: HealthBoard,
        notifier: Notifier,
        reload: Callable[[], Awaitable[JsonObject]],
        clock: Clock,
        observe: Observe,
        drain_timeout: float,
        lame_duck: float,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._supervisor = supervisor
        self._services = services
        self._workers = workers
        self._ticker = ticker
        self._listener = listener
        self._health = health
        self._notifier = notifier
        self._reload = reload
        self._clock = clock
        self._observe = observe
        self._drain_timeout = drain_timeout
        self._lame_duck = lame_duck
        self._on_ready = on_ready
        self._stop = asyncio.Event()
        self._reload_wanted = asyncio.Event()

    async def run(self) -> int:
        """Until a signal or a given-up service; the process's exit code."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # held back while we started
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop_signal, number)
        try:
            try:
                await self._start()
            except BaseException:
                await self._end_work(self._clock.monotonic())  # what was begun already must not outlive the store
                raise
            given_up = asyncio.ensure_future(self._supervisor.failed.wait())
            stopped = asyncio.ensure_future(self._stop.wait())
            await asyncio.wait((given_up, stopped), return_when=asyncio.FIRST_COMPLETED)
            failed = given_up.done()
            given_up.cancel()
            stopped.cancel()
            await self._shutdown()
            return 1 if failed else 0
        finally:
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        self._stop.set()

    def _on_stop_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            self._observe("stopped_at_once", signal=number.name)
            os._exit(
                128 + number
            )  # the second signal says: now. What is leased comes again; nothing that was answered is lost
        self._observe("stop_requested", signal=number.name)
        self._stop.set()

    async def _start(self) -> None:
        for name, run in self._services:
            self._supervisor.start(name, run)
        for worker in self._workers:
            self._supervisor.start(f"worker {worker.name}", worker.run)
            self._supervisor.start(f"patrol {worker.name}", worker.patrol)
        self._supervisor.start("ticker", self._ticker.serve)
        self._supervisor.start("reload", self._reload_on_demand)
        await self._listener.start()
        self._health.phase = "running"
        self._on_ready()
        self._notifier.ready()
        self._observe("ready", address=self._listener.address, version=self._health.health().version)

    async def _reload_on_demand(self) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            self._notifier.reloading()
            try:
                await self._reload()
            except SyncdError as error:
                self._notifier.ready(status=f"reload refused, everything runs on as before: {error}")
            else:
                self._notifier.ready(status=f"generation {self._health.generation}")

    async def _shutdown(self) -> None:
        self._health.phase = "draining"
        self._notifier.stopping()
        if self._lame_duck:
            await self._clock.sleep(self._lame_duck)
        deadline = self._clock.monotonic() + self._drain_timeout
        await self._supervisor.stop("reload")
        await self._listener.drain(min(REQUESTS_DRAIN, self._drain_timeout))
        cut = await self._end_work(deadline)
        await self._listener.stop(0.0)
        self._observe("stopped", cut=cut)

    async def _end_work(self, deadline: float) -> int:
        """Take up no more work, and end what runs by `deadline` (monotonic). How many units were cut short."""
        self._ticker.close()
        for worker in self._workers:
            worker.stop_leasing()
        cut = await asyncio.gather(*(worker.drain(deadline) for worker in self._workers), self._ticks_end(deadline))
        await self._supervisor.stop(
            *[name for name in self._supervisor.services if name.startswith(("worker", "patrol", "ticker"))]
        )
        await self._supervisor.stop()
        return sum(cut)

    async def _ticks_end(self, deadline: float) -> int:
        """Ticks that do not end in time are cancelled with the ticker; their leases run out and they are taken over."""
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
                await self._ticker.idle()
        except TimeoutError:
            return len(self._ticker.running)
        return 0
