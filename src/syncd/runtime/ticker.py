"""Waking up at the right times. APScheduler wakes us; it decides nothing.

Each job is armed for its next instant as our own schedules compute it, and armed again when that has come. A pass over all jobs
each 30 s finds what a wake cannot: missed and abandoned ticks, a clock that was set, a machine that slept. Whoever is woken asks
the store (`Wakeup.run`), which says whether there is anything to do; being woken too often, or by several replicas, is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apscheduler.schedulers.asyncio import AsyncIOScheduler

    from syncd.domain.schedules import Schedule
    from syncd.ports.clock import Clock
    from syncd.ports.observe import Observe

#: Seconds between two passes over all jobs.
PASS_EVERY = 30.0
#: APScheduler's own timetable ends with what `datetime` can say; a schedule beyond this is armed by a later pass.
_FARTHEST = 366 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wakeup:
    """A job as the ticker sees it."""

    name: str
    schedule: Schedule | None
    """When to wake it; None: only by passes and nudges (a job that does not run by itself may still be asked for)."""
    run: Callable[[], Awaitable[bool]]
    """Claim and run one tick; False where there was none. Called again until then."""


class Ticker:
    """One task per job at most: a job that is woken while it runs is looked at once more afterwards.

    `assign` takes up another generation's jobs at any time. What runs goes on with what it began with; the next tick is the new
    generation's.
    """

    def __init__(self, *, clock: Clock, observe: Observe, pass_every: float = PASS_EVERY) -> None:
        self._clock = clock
        self._observe = observe
        self._pass_every = pass_every
        self._wakeups: dict[str, Wakeup] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._scheduler: AsyncIOScheduler | None = None
        self._open = False

    @property
    def running(self) -> tuple[str, ...]:
        """Names of the jobs under way here."""
        return tuple(self._running)

    async def serve(self) -> None:
        """Wake jobs until cancelled. Runs under way are cancelled with it: their leases run out and they are taken over."""
        # Here and not above: 40 ms of a command line that never schedules anything.
        from apscheduler.schedulers.asyncio import AsyncIOScheduler

        # Defaults that would lose runs: a grace time of 1 s drops a wake that a busy loop delays.
        scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )
        scheduler.start()
        self._scheduler = scheduler
        self._open = True
        try:
            while True:
                # Not a job of the scheduler: it goes by the wall clock, and would sleep for an hour when that is set back by one.
                self._pass()
                await self._clock.sleep(self._pass_every)
        finally:
            self.close()
            scheduler.shutdown(wait=False)
            self._scheduler = None
            for task in (tasks := tuple(self._running.values())):
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    def assign(self, wakeups: Iterable[Wakeup]) -> None:
        """Replace the jobs. Nothing is missed: what came due meanwhile is found by looking at each once, now."""
        fresh = {wakeup.name: wakeup for wakeup in wakeups}
        gone = self._wakeups.keys() - fresh.keys()
        self._wakeups = fresh
        if self._scheduler is None:
            return
        for name in gone:
            if self._scheduler.get_job(name):
                self._scheduler.remove_job(name)
        for wakeup in fresh.values():
            self._arm(wakeup)
            self._wake(wakeup.name)

    def nudge(self, name: str | None = None) -> None:
        """Look at one job now, or at all. Never blocks; unknown names are ignored."""
        for known in self._wakeups if name is None else (name,):
            self._wake(known)

    def close(self) -> None:
        """Begin nothing more; what runs goes on."""
        self._open = False
        if self._scheduler is not None and self._scheduler.running:
            self._scheduler.pause()

    async def idle(self) -> None:
        """Wait until nothing runs here; the caller bounds the time."""
        while self._running:
            await asyncio.wait(tuple(self._running.values()))

    def _arm(self, wakeup: Wakeup) -> None:
        scheduler = self._scheduler
        if scheduler is None:
            return
        now = self._clock.now()
        at = wakeup.schedule.next_after(now) if wakeup.schedule is not None else None
        if at is None or at - now > _FARTHEST:
            if scheduler.get_job(wakeup.name):
                scheduler.remove_job(wakeup.name)
            return
        scheduler.add_job(
            self._fired,
            "date",
            # In the scheduler's time: ours goes on where the wall clock was set back.
            run_date=datetime.now(UTC) + timedelta(seconds=at - now),
            args=(wakeup.name, at),
            id=wakeup.name,
            replace_existing=True,
        )

    async def _fired(self, name: str, at: float) -> None:
        # Our clock may be a little behind the one that APScheduler reads; before its time there would be nothing to claim.
        await self._clock.sleep(max(0.0, at - self._clock.now()))
        wakeup = self._wakeups.get(name)
        if wakeup is not None:
            self._arm(wakeup)
            self._wake(name)

    def _pass(self) -> None:
        for wakeup in tuple(self._wakeups.values()):
            self._arm(wakeup)
            self._wake(wakeup.name)

    def _wake(self, name: str) -> None:
        if not self._open or name not in self._wakeups:
            return
        if name in self._running:
            self._again.add(name)
            return
        self._running[name] = asyncio.create_task(self._run(name), name=f"job:{name}")

    async def _run(self, name: str) -> None:
        try:
            while True:
                self._again.discard(name)
                wakeup = self._wakeups.get(name)  # looked up each time: the next tick belongs to the generation of now
                if not self._open or wakeup is None:
                    return
                if not await wakeup.run() and name not in self._again:
                    return
        except Exception as error:  # noqa: BLE001 - the store was away, or a bug: the next pass looks again
            self._observe("job_pass_failed", job=name, error=error)
        finally:
            del self._running[name]
