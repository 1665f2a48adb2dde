"""When to plan beside the ticks of `sync-scheduler`: soon after somebody made or retried a task, and when a task's own time has come.

The hourly tick is the net. What is asked for is coalesced: one plan, then at most one each `EVERY` seconds. A start plans nothing: what
came due while nothing ran is for the tick, which knows what is missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import SCHEDULES
from syncd.domain.ticks import BOOK

if TYPE_CHECKING:
    from syncd.flows.plan import Plan
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents

JOB_NAME = "sync-scheduler"
#: Seconds between two plans that were asked for.
EVERY = 1.0


class Planner:
    """Also the calendar by which it is woken: the next time of any task. `enabled`: whether the job runs by itself; where it does not,
    or is paused, tasks wait. `by_time`: whether this replica minds the tasks' own times."""

    text = "the next time of any task"

    def __init__(
        self, *, plan: Plan, documents: Documents, clock: Clock, enabled: bool = True, by_time: bool = True
    ) -> None:
        self._plan = plan
        self._documents = documents
        self._clock = clock
        self._enabled = enabled
        self._by_time = by_time
        self._asked = False
        self._due: float | None = None
        self._planned_at: float | None = None

    @property
    def asked(self) -> bool:
        """Somebody said that there is work, and it was not looked for yet."""
        return self._asked

    def ask(self) -> None:
        self._asked = True

    def next_after(self, t: float) -> float | None:
        return self._due if self._due is not None and self._due > t else None

    async def look(self) -> bool:
        """Plan where there is a reason to. False: until the next wake there is nothing more to look for."""
        if not self._enabled:
            return False
        if self._asked or self._has_come():
            if await self._paused():
                return False  # what was asked for stays so: the first look after the pause finds it
            await self._rest()
            self._asked = False  # before the plan: what is asked for during it is looked for again
            try:
                await self._plan.run()
            except BaseException:
                self._asked = True
                raise
            self._planned_at = self._clock.monotonic()
        if self._by_time:
            self._due = await self._plan.next_due()
        return self._asked

    def _has_come(self) -> bool:
        return self._due is not None and self._due <= self._clock.now()

    async def _paused(self) -> bool:
        book = await self._documents.get(SCHEDULES, JOB_NAME, BOOK)
        return book is not None and bool(book.data.get("paused"))

    async def _rest(self) -> None:
        if self._planned_at is not None:
            await self._clock.sleep(max(0.0, self._planned_at + EVERY - self._clock.monotonic()))
