"""Leases messages of one queue and runs them, as many as its receivers and group caps allow."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from syncd.domain.errors import Overloaded, Unavailable
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe
from syncd.ports.queue import Delivery, Queue, Release
from syncd.runtime.autoscaling import Receivers, ahead
from syncd.runtime.executor import Executor
from syncd.runtime.work import HandlerLimits, Work, WorkerLimits, Workload

#: Longest single wait for a message. Seconds.
LONG_POLL = 60.0
#: How often limits of running units are looked at. Seconds.
PATROL = 1.0
#: A unit that was cancelled and has not ended after this is abandoned: its lease runs out and the message comes again. Seconds.
CANCEL_GRACE = 5.0
#: Pause after the store refused a lease without saying for how long. Seconds.
REFUSED_PAUSE = 1.0
#: Limits of a message whose kind no handler knows; the executor snoozes it at once.
UNKNOWN = HandlerLimits()


class Worker:
    """`run` until `stop_leasing`; then `drain`."""

    def __init__(
        self,
        *,
        name: str,
        queue: Queue,
        executor: Executor,
        workload: Callable[[], Workload],
        clock: Clock,
        observe: Observe,
        loop_lag: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.name = name
        self._queue = queue
        self._executor = executor
        self._workload = workload
        self._clock = clock
        self._observe = observe
        self._loop_lag = loop_lag
        self._units: dict[asyncio.Task[None], tuple[Work, float, float, float]] = {}
        self._groups: Counter[str] = Counter()
        self._abandoned: set[asyncio.Task[None]] = set()
        self._waiting: deque[Delivery] = deque()
        self._handling = 0
        self._changed = asyncio.Event()
        self._leasing: asyncio.Future[list[Delivery]] | None = None
        self._returning: asyncio.Task[None] | None = None
        self._stopping = False
        self.receivers = Receivers(self._limits(), clock.monotonic())

    @property
    def in_flight(self) -> int:
        return len(self._units)

    def _limits(self) -> WorkerLimits:
        return self._workload().limits.get(self.name, WorkerLimits())

    async def run(self) -> None:
        while not self._stopping:
            self.receivers.adopt(self._limits())
            room = self.receivers.target + ahead(self.receivers.target, self.receivers.handling)
            free = room - len(self._units) - len(self._waiting)
            if free <= 0 or free < room // 4:
                # Leasing a slot at a time would cost a commit each; a quarter free keeps the others busy meanwhile.
                self._changed.clear()
                await self._changed.wait()
                continue
            deliveries = await self._lease(free)
            self._waiting.extend(deliveries)
            self._start()
            self.receivers.leased(
                asked=free,
                got=len(deliveries),
                in_flight=len(self._units) + len(self._waiting),
                now=self._clock.monotonic(),
                loop_lag=self._loop_lag(),
            )
        await asyncio.Event().wait()  # leasing is over; the supervisor ends this service when the drain is

    async def patrol(self) -> None:
        """The service beside `run` that enforces soft and hard limits."""
        while True:
            await self._clock.sleep(PATROL)
            now = self._clock.monotonic()
            for task, (work, soft, hard, given_up) in list(self._units.items()):
                if work.recording:
                    continue
                if now >= given_up:
                    self._abandon(task, work)
                elif now >= hard:
                    if not task.cancelling():
                        self._observe(
                            "hard_limit", queue=self.name, kind=work.envelope.kind, originId=work.envelope.origin_id
                        )
                        task.cancel()
                elif now >= soft:
                    work.stopping = True

    def stop_leasing(self) -> None:
        self._stopping = True
        for work, *_ in self._units.values():
            work.stopping = True
        self._changed.set()
        self._interrupt()

    async def drain(self, deadline: float) -> int:
        """Wait for the units until `deadline` (monotonic), then cancel them; each gives its message back. How many were cut."""
        if self._waiting:
            waiting, self._waiting = list(self._waiting), deque()
            await self._give_back(waiting)
        while self._units and (rest := deadline - self._clock.monotonic()) > 0:
            await asyncio.wait(list(self._units), timeout=rest)
        cut = [task for task, (work, *_) in self._units.items() if not work.recording]
        for task in cut:
            task.cancel()
        if self._units:
            await asyncio.wait(list(self._units), timeout=CANCEL_GRACE)
        for task in list(self._units):
            self._abandon(task, self._units[task][0])
        return len(cut)

    async def _lease(self, free: int) -> list[Delivery]:
        """Lease; interrupted when the worker stops or a capped group has room again."""
        limits = self.receivers.limits
        busy = tuple(group for group, count in self._groups.items() if count >= limits.per_group)
        self._leasing = leasing = asyncio.ensure_future(
            self._queue.lease(self.name, free, duration=limits.lease, wait=LONG_POLL, busy=busy)
        )
        try:
            return await leasing
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if leasing.cancelled() and not (task and task.cancelling()):
                return []  # what may have been leased meanwhile goes back by itself
            raise
        except (Overloaded, Unavailable) as error:
            self._observe("lease_refused", queue=self.name, error=error)
            await self._clock.sleep(error.retry_after or REFUSED_PAUSE)
            return []
        finally:
            self._leasing = None

    def _interrupt(self) -> None:
        if self._leasing is not None:
            self._leasing.cancel()

    def _start(self) -> None:
        """Begin what waits, as far as receivers and group caps allow."""
        workload = self._workload()
        now = self._clock.monotonic()
        surplus: list[Delivery] = []
        cap = self.receivers.limits.per_group
        while self._waiting and self._handling < self.receivers.target:
            delivery = self._waiting.popleft()
            group = delivery.envelope.group
            if self._stopping or (group is not None and self._groups[group] >= cap):
                surplus.append(delivery)
                continue
            handler = workload.handlers.get(delivery.envelope.kind, UNKNOWN)
            work = Work(delivery, delivery.body, self._clock, slice_ends=now + handler.slice)
            self._handling += 1
            task = asyncio.create_task(self._unit(work, workload, now))
            self._units[task] = (
                work,
                now + handler.soft_limit,
                now + handler.hard_limit,
                now + handler.hard_limit + CANCEL_GRACE,
            )
            if group is not None:
                self._groups[group] += 1
            task.add_done_callback(self._ended)
        if surplus:
            self._returning = asyncio.create_task(self._give_back(surplus), name=f"{self.name}:surplus")

    async def _unit(self, work: Work, workload: Workload, began: float) -> None:
        def handled() -> None:
            if work.abandoned:
                return  # it gave its receiver back long ago
            self._handling -= 1
            self.receivers.handled(self._clock.monotonic() - began)
            if self._waiting:
                self._start()

        await self._executor.execute(work, workload, handled)

    async def _give_back(self, deliveries: list[Delivery]) -> None:
        await self._queue.settle([Release(delivery) for delivery in deliveries])

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._abandoned.discard(task)
        unit = self._units.pop(task, None)
        if unit is not None:
            self._leave_group(unit[0])
            if not unit[0].recording:  # cancelled before it had run at all
                self._handling -= 1
                self._returning = asyncio.create_task(self._give_back([unit[0].delivery]))
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._observe("outcome_not_recorded", queue=self.name, error=error)
            if unit is not None:
                self._queue.abandon(unit[0].delivery)

    def _leave_group(self, work: Work) -> None:
        group = work.envelope.group
        if group is not None:
            full = self._groups[group] >= self.receivers.limits.per_group
            self._groups[group] -= 1
            if not self._groups[group]:
                del self._groups[group]
            if full:
                self._interrupt()

    def _abandon(self, task: asyncio.Task[None], work: Work) -> None:
        """It swallowed its cancellation: give up its slot and its lease, and keep the task from being collected."""
        self._observe("unit_abandoned", queue=self.name, kind=work.envelope.kind, originId=work.envelope.origin_id)
        work.abandoned = True
        if not work.recording:
            self._handling -= 1
        del self._units[task]
        self._leave_group(work)
        self._abandoned.add(task)
        self._queue.abandon(work.delivery)
        self._changed.set()
