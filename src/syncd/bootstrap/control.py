"""The generation in force: what the first one is made of, and how a reload puts another in its place."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass

from syncd.bootstrap.generation import Generation, Surroundings, build_generation
from syncd.bootstrap.jobs import PLANNER, planner_wakeup, wakeups
from syncd.bootstrap.ports import Ports
from syncd.bootstrap.references import awaited, with_vault
from syncd.bootstrap.secrets import secrets_in
from syncd.domain.errors import Failure, Invalid, SyncdError
from syncd.domain.jsontypes import JsonObject
from syncd.flows.overlay import Overlay
from syncd.http.starting import probes_while_starting
from syncd.ports.control import Health
from syncd.runtime.health import HealthBoard
from syncd.runtime.ticker import Ticker
from syncd.settings import Loaded, diff, shadowed_changes
from syncd.settings.effective import effective_json
from syncd.telemetry.log import Logs
from syncd.telemetry.observe import Telemetry

#: Between two looks at an overlay that could not be read at the start. Seconds.
OVERLAY_PAUSE = 2.0


@dataclass(slots=True)
class Control:
    """The port `Control` over one process; also the holder of the generation in force."""

    board: HealthBoard
    ports: Ports
    telemetry: Telemetry
    logs: Logs
    ticker: Ticker
    around: Surroundings | None = None
    generation: Generation | None = None
    overlay_unread: bool = False
    """The documents were away at the start, and with them the stored overlay."""

    @property
    def current(self) -> Generation:
        assert self.generation is not None
        return self.generation

    def health(self) -> Health:
        return self.board.health()

    def nudge(self, what: str) -> None:
        if what == "ticks":
            self.ticker.nudge()
        elif what == PLANNER:
            self.current.planner.ask()
            self.ticker.nudge(PLANNER)

    def effective_settings(self) -> JsonObject:
        return effective_json(self.current.loaded)

    async def reload(self) -> JsonObject:
        before = self.current
        assert self.around is not None
        try:
            overlaid = await Overlay(documents=self.ports.documents, clock=self.ports.clock).current()
            loaded = await asyncio.to_thread(
                before.loaded.again, overlay=overlaid.values, overlay_version=overlaid.version
            )
            loaded = await with_vault(loaded, self.ports.vault)
            # In a thread: time zones and providers are read from files.
            generation = await asyncio.to_thread(build_generation, before.number + 1, loaded, self.around)
        except SyncdError as error:  # Invalid, or that store or vault is away: whoever asked must hear of it
            self.board.last_reload_error = str(error)
            self.telemetry.observe("reload_failed", generation=before.number, error=str(error))
            raise
        changes = diff(before.settings, generation.settings)
        shadowed = shadowed_changes(before.loaded, generation.loaded)
        report: JsonObject = {
            "generation": generation.number,
            "changed": [{"key": c.key, "from": c.old, "to": c.new} for c in changes if not c.needs_restart],
            "needsRestart": [c.key for c in changes if c.needs_restart],
            "shadowed": [str(one) for one in shadowed],
        }
        self.take(generation)
        self.telemetry.observe("reload_ok", **report)
        return report

    async def read_overlay(self) -> None:
        """For the supervisor, where the start went on without the overlay: take it up as soon as it can be read."""
        while self.overlay_unread:
            await self.ports.clock.sleep(OVERLAY_PAUSE)
            with suppress(SyncdError):  # the documents are away still; what else is wrong has been told by the reload
                await Overlay(documents=self.ports.documents, clock=self.ports.clock).current()
                await self.reload()
                self.overlay_unread = False
        await asyncio.Event().wait()

    def take(self, generation: Generation) -> None:
        """Nothing here can fail: from now on requests and units begin with this generation."""
        assert self.around is not None
        if self.generation is not None and self.generation.planner.asked:
            generation.planner.ask()
        self.generation = generation
        self.board.generation = generation.number
        self.board.last_reload_error = None
        given = generation.settings.telemetry
        self.logs.known_secrets.add(*secrets_in(generation.settings))
        self.logs.set_level(given.log_level)
        self.telemetry.sample, self.telemetry.slow = given.sample, given.slow
        self.ticker.assign([*wakeups(generation.jobs, self.around.ticks), planner_wakeup(generation.planner)])


async def with_overlay(loaded: Loaded, control: Control) -> Loaded:
    """The stored overlay on top. One that has become wrong, or cannot be read now, must not keep the daemon down: it is left out, and
    health says so."""
    ports, board = control.ports, control.board
    try:
        overlaid = await Overlay(documents=ports.documents, clock=ports.clock).current()
    except Failure as error:
        control.overlay_unread = True
        board.last_reload_error = f"the stored overlay could not be read yet: {error}"
        ports.observe("overlay_left_out", version=None, error=str(error))
        return loaded
    try:
        if overlaid.values:
            loaded = loaded.again(overlay=overlaid.values, overlay_version=overlaid.version)
    except Invalid as error:
        board.last_reload_error = f"the stored overlay (version {overlaid.version}) was left out: {error}"
        ports.observe("overlay_left_out", version=overlaid.version, error=str(error))
    return loaded


async def with_references(loaded: Loaded, control: Control) -> Loaded:
    """Those into the vault filled in. While that is away it is waited for, and the probes answer."""
    http, ports = loaded.settings.http, control.ports

    def probes() -> AbstractAsyncContextManager[None]:
        return probes_while_starting(host=http.host, port=http.port, health=control.board.health)

    return await awaited(loaded, ports.vault, clock=ports.clock, observe=ports.observe, meanwhile=probes)
