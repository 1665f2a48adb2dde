"""Named, eternal tasks. One that ends is a fault: it is started again with back-off, and too many faults end the daemon."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from syncd.ports.clock import Clock
from syncd.ports.observe import Observe

#: A service that failed more often than this within FAULT_WINDOW seconds is given up, and the daemon with it.
MOST_FAULTS = 5
FAULT_WINDOW = 600.0
#: Seconds before the first restart; doubles with each fault of the window.
FIRST_RESTART = 0.5


@dataclass(slots=True)
class Service:
    name: str
    run: Callable[[], Awaitable[None]]
    task: asyncio.Task[None] | None = None
    faults: deque[float] = field(default_factory=deque)
    last_error: str | None = None

    @property
    def status(self) -> str:
        return "running" if self.task is not None and not self.task.done() else "stopped"


class Supervisor:
    """`failed` is set when a service was given up; the daemon then stops with exit code 1."""

    def __init__(self, *, clock: Clock, observe: Observe) -> None:
        self._clock = clock
        self._observe = observe
        self.services: dict[str, Service] = {}
        self.failed = asyncio.Event()

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        service = self.services[name] = Service(name, run)
        service.task = asyncio.create_task(self._guard(service), name=name)

    async def stop(self, *names: str) -> None:
        """Cancel and await; without names all, in the reverse order of their start."""
        chosen = [
            self.services.pop(name) for name in (names or tuple(reversed(self.services))) if name in self.services
        ]
        for service in chosen:
            if service.task is not None:
                service.task.cancel()
                await asyncio.wait([service.task])

    async def _guard(self, service: Service) -> None:
        while True:
            try:
                await service.run()
                fault = "ended although it should run for ever"
            except Exception as error:  # noqa: BLE001 - that is what a supervisor is for; the error is observed and counted
                fault = f"{type(error).__name__}: {error}"
                self._observe("service_failed", service=service.name, error=error)
            else:
                self._observe("service_failed", service=service.name, error=RuntimeError(fault))
            service.last_error = fault
            now = self._clock.monotonic()
            service.faults.append(now)
            while service.faults and service.faults[0] < now - FAULT_WINDOW:
                service.faults.popleft()
            if len(service.faults) > MOST_FAULTS:
                self._observe("service_given_up", service=service.name)
                self.failed.set()
                return
            await self._clock.sleep(FIRST_RESTART * 2 ** (len(service.faults) - 1))
