"""What the probes say: the phase, the supervised services, and whatever parts registered a look at themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from syncd.ports.control import Component, Health
from syncd.runtime.loopwatch import LoopWatch
from syncd.runtime.supervision import Supervisor

Phase = Literal["starting", "running", "draining"]
#: A loop that answers later than this is shown as degraded, and past the second figure as not alive. Seconds.
SLOW_LOOP = 1.0
DEAD_LOOP = 30.0


class HealthBoard:
    def __init__(self, *, version: str, roles: tuple[str, ...], supervisor: Supervisor, loop: LoopWatch) -> None:
        self.phase: Phase = "starting"
        self.generation = 1
        self.last_reload_error: str | None = None
        self._version = version
        self._roles = roles
        self._supervisor = supervisor
        self._loop = loop
        self._looks: list[Callable[[], Component]] = []

    def add(self, look: Callable[[], Component]) -> None:
        """`look` answers at once, from what it already knows: a probe must not wait for a dependency."""
        self._looks.append(look)

    def health(self) -> Health:
        components = [self._services(), self._event_loop(), *(look() for look in self._looks)]
        if self.last_reload_error is not None:
            components.append(
                Component("configuration", "degraded", f"the last reload was refused: {self.last_reload_error}")
            )
        live = all(component.status != "failed" for component in components[:2])
        return Health(
            live=live,
            ready=live and self.phase == "running" and all(component.status != "failed" for component in components),
            phase=self.phase,
            version=self._version,
            generation=self.generation,
            roles=self._roles,
            components=tuple(components),
            last_reload_error=self.last_reload_error,
        )

    async def stuck(self) -> list[str]:
        """For the watchdog: what makes no progress. That this runs at all shows that the loop does."""
        return [f"{c.name}: {c.detail}" for c in self.health().components[:2] if c.status == "failed"]

    def _services(self) -> Component:
        services = self._supervisor.services.values()
        down = [f"{service.name} ({service.last_error})" for service in services if service.status != "running"]
        if self._supervisor.failed.is_set():
            return Component("services", "failed", "given up: " + ", ".join(down))
        recent = [f"{service.name}: {service.last_error}" for service in services if service.faults]
        return Component("services", "degraded" if recent else "ok", "; ".join(recent))

    def _event_loop(self) -> Component:
        lag = self._loop.lag
        status: Literal["ok", "degraded", "failed"] = (
            "ok" if lag < SLOW_LOOP else "degraded" if lag < DEAD_LOOP else "failed"
        )
        return Component("event-loop", status, f"{lag * 1000:.0f} ms late" if status != "ok" else "")
