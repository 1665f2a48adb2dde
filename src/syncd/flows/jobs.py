"""What a scheduled job is, and what one of its runs sees and says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from syncd.domain.ids import digest
from syncd.domain.jsontypes import JsonObject
from syncd.domain.schedules import Schedule
from syncd.domain.ticks import Missed, Overlap, Trigger
from syncd.domain.times import DAY

TickStatus = Literal["succeeded", "failed", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TickResult:
    """How a run ended. `unknown`: it may have had its effect, and nobody could say."""

    status: TickStatus = "succeeded"
    reason: str = ""
    evidence: JsonObject = field(default_factory=dict)
    """Small; what a person needs to believe the status."""


class Marks(Protocol):
    """What a running tick may write into its own document."""

    async def mark_sent(self, tick: Tick, facts: JsonObject) -> None: ...

    async def clear_sent(self, tick: Tick) -> None: ...


@dataclass(slots=True, kw_only=True)
class Tick:
    """One run in the hands of its runner."""

    job: str
    id: str
    at: float
    """Nominal time, Unix seconds: what the run is for, however late it starts."""
    term: int
    """1 for the first runner; more where an earlier one died."""
    trigger: Trigger
    execution_id: str
    sent_at: float | None
    """When an earlier runner, or this one, was about to make the outgoing call. None: it was certainly not made."""
    sent: JsonObject
    """Facts that were kept with `sent_at`."""
    marks: Marks

    @property
    def correlation_id(self) -> str:
        """The same for every runner of this tick."""
        return digest("tick", self.job, self.id)

    async def sending(self, **facts: object) -> None:
        """Record durably that the call is about to be made. Raises LeaseLost: then it must not be made."""
        await self.marks.mark_sent(self, facts)

    async def not_sent(self) -> None:
        """Record that the call certainly had no effect: a next runner may make it. Raises LeaseLost."""
        await self.marks.clear_sent(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A named unit of scheduled work."""

    name: str
    schedule: Schedule
    run: Callable[[Tick], Awaitable[TickResult]]
    timezone: str = "UTC"
    enabled: bool = True
    """False: it does not run by itself; ticks that were asked for still run."""
    refusal: str | None = None
    """Why a run must not even be asked for; None: it may be."""
    missed: Missed = "skip"
    missed_window: float = DAY
    """Seconds within which a missed tick is still worth running."""
    timeout: float = 300.0
    """Seconds; a run is cancelled after so long and has then failed."""
    jitter: float = 0.0
    """Seconds over which replicas and jobs of the same minute are spread, applied after the claim."""
    overlap: Overlap = "skip"
    """What becomes of a tick that comes due while an earlier one runs."""
    guards_outgoing_call: bool = False
    """Its lease is always waited out, because the call of a dead runner may still be on its way."""
    loop: bool = False
    """A leased loop: passes without a calendar meaning, no document per tick, nothing to be missed."""

    @property
    def spec(self) -> str:
        """Changes where the job's calendar was edited, or it was switched on or off."""
        return digest(self.schedule.text, self.timezone, str(self.enabled))
