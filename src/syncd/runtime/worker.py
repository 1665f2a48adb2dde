"""Leases messages of one queue and runs them, as many as its receivers and group caps allow."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from syncd.domain.errors import Overloaded, Unavailable
from syncd.domain.groups import GroupCap, full_groups
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


class _Unit(NamedTuple):
    """What a receiver works on. Times by the monotonic clock."""

    work: Work
    workload: Workload
    began: float
    soft: float
    hard: float


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
        self._units: dict[asyncio.Task[None], _Unit] = {}
        #: How many of them have let go of their receivers and only wait for the store.
        self._let_go = 0
        self._groups: Counter[str] = Counter()
        self._abandoned: set[asyncio.Task[None]] = set()
        self._waiting: deque[Delivery] = deque()
        self._changed = asyncio.Event()
        self._leasing: asyncio.Future[list[Delivery]] | None = None
        #: Groups whose messages the lease under way leaves where they are.
        self._passed_over: frozenset[str] = frozenset()
        self._returning: asyncio.Task[None] | None = None
        self._stopping = False
        self.receivers = Receivers(self._limits(), clock.monotonic())
        executor.when_recorded(self._changed.set)

    @property
    def stopping(self) -> bool:
        return self._stopping

    @property
    def in_flight(self) -> int:
        return len(self._units)

    @property
    def _busy(self) -> int:
        """Receivers that have a unit."""
        return len(self._units) - self._let_go

    def _limits(self) -> WorkerLimits:
        return self._workload().limits.get(self.name, WorkerLimits())

    async def run(self) -> None:
        while not self._stopping:
            self.receivers.adopt(self._limits())
            room = self.receivers.target + ahead(self.receivers.target, self.receivers.handling)
            free = room - self._busy - len(self._waiting) - self._executor.recording
            if free <= 0 or free < room // 4:
                # Leasing a slot at a time would cost a commit each; a quarter free keeps the others busy meanwhile.
                self._changed.clear()
                await self._changed.wait()
                continue
            deliveries = await self._lease(free)
            if self.stopping:  # meanwhile
                await self._give_back(deliveries)
                break
            self._waiting.extend(deliveries)
            self._start()
            got = len(deliveries)
            self.receivers.leased(
                # What waits for a receiver says that there is more to do also where caps kept the lease from being full.
                asked=min(free, got) if self._waiting else free,
                got=got,
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
            for task, unit in list(self._units.items()):
                work = unit.work
                if work.recording:
                    continue
                if now >= unit.hard + CANCEL_GRACE:
                    self._abandon(task, work)
                elif now >= unit.hard:
                    if not task.cancelling():
                        self._observe(
                            "hard_limit", queue=self.name, kind=work.envelope.kind, originId=work.envelope.origin_id
                        )
                        task.cancel()
                elif now >= unit.soft:
                    work.stopping = True

    def stop_leasing(self) -> None:
        self._stopping = True
        for unit in self._units.values():
            unit.work.stopping = True
        self._changed.set()
        self._interrupt()

    async def drain(self, deadline: float) -> int:
        """Wait for the units until `deadline` (monotonic), then cancel them; each gives its message back. How many were cut."""
        if self._waiting:
            waiting, self._waiting = list(self._waiting), deque()
            await self._give_back(waiting)
        while self._units and (rest := deadline - self._clock.monotonic()) > 0:
            await asyncio.wait(list(self._units), timeout=rest)
        cut = [task for task, unit in self._units.items() if not unit.work.recording]
        for task in cut:
            task.cancel()
        if self._units:
            await asyncio.wait(list(self._units), timeout=CANCEL_GRACE)
        for task in list(self._units):
            self._abandon(task, self._units[task].work)
        await self._executor.flush()
        return len(cut)

    async def _lease(self, free: int) -> list[Delivery]:
        """Lease; interrupted when the worker stops or a capped group has room again."""
        cap = self._cap()
        self._passed_over = full_groups(cap)
        duration = self.receivers.limits.lease
        self._leasing = leasing = asyncio.ensure_future(
            self._queue.lease(self.name, free, duration=duration, wait=LONG_POLL, cap=cap)
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

    def _cap(self) -> GroupCap | None:
        """Only what could begin is leased of a group: on a service each message that goes back costs two operations. None where the
        receivers run out before a group does."""
        limits = self.receivers.limits
        if limits.per_group >= limits.maximum:
            return None
        waiting = Counter(group for one in self._waiting if (group := one.envelope.group) is not None)
        return GroupCap(limits.per_group, self._groups + waiting)

    def _interrupt(self) -> None:
        if self._leasing is not None:
            self._leasing.cancel()

    def _start(self) -> None:
        """Begin what waits, as far as receivers and group caps allow."""
        while self._busy < self.receivers.target and (unit := self._take()) is not None:
            task = asyncio.create_task(self._receive(unit))
            self._units[task] = unit
            task.add_done_callback(self._ended)

    def _take(self) -> _Unit | None:
        """The next unit that may begin; those of groups that are full (a reload has lowered the cap) go back to the queue."""
        cap = self.receivers.limits.per_group
        surplus: list[Delivery] = []
        unit: _Unit | None = None
        while self._waiting and unit is None and not self._stopping:
            delivery = self._waiting.popleft()
            group = delivery.envelope.group
            if group is not None:
                if self._groups[group] >= cap:
                    surplus.append(delivery)
                    continue
                self._groups[group] += 1
            workload = self._workload()
            limits = workload.handlers.get(delivery.envelope.kind, UNKNOWN)
            now = self._clock.monotonic()
            work = Work(delivery, delivery.body, self._clock, now + limits.slice)
            unit = _Unit(work, workload, now, now + limits.soft_limit, now + limits.hard_limit)
            work.answered = partial(self._answered, unit)
        if surplus:
            self._returning = asyncio.create_task(self._give_back(surplus), name=f"{self.name}:surplus")
        return unit

    async def _receive(self, unit: _Unit | None) -> None:
        """One receiver: a unit after the other while there are any. It ends when it is cancelled, or has nothing to do."""
        task = asyncio.current_task()
        assert task is not None
        while unit is not None:
            work = unit.work
            try:
                await self._executor.execute(work, unit.workload)
            except Exception as error:  # noqa: BLE001 - the store would not take the outcome: told, and the message comes again
                self._observe("outcome_not_recorded", queue=self.name, error=error)
                self._queue.abandon(work.delivery)
            if work.abandoned:
                return  # its place was given away long ago
            if not work.let_go:
                self.receivers.handled(self._clock.monotonic() - unit.began)
            self._leave(work)
            unit = self._take() if self._busy <= self.receivers.target else None
            if unit is not None:
                self._units[task] = unit
        del self._units[task]
        self._changed.set()

    async def _give_back(self, deliveries: list[Delivery]) -> None:
        if deliveries:
            await self._queue.settle([Release(delivery) for delivery in deliveries])

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._abandoned.discard(task)
        unit = self._units.pop(task, None)
        if unit is not None:  # cancelled
            self._leave(unit.work)
            if not unit.work.recording:  # before it had run at all
                self._returning = asyncio.create_task(self._give_back([unit.work.delivery]))
        self._start()
        self._changed.set()

    def _answered(self, unit: _Unit) -> None:
        """Its receiver takes the next unit now. Only of as many as there are receivers: a store that is slower than the other systems
        holds them up."""
        work = unit.work
        if work.let_go or work.recording or work.abandoned or self._let_go >= self.receivers.target:
            return
        self.receivers.handled(self._clock.monotonic() - unit.began)
        self._leave(work)
        work.let_go = True
        self._let_go += 1
        self._start()
        self._changed.set()

    def _leave(self, work: Work) -> None:
        """Its place is free; of one that has let go it was before."""
        if work.let_go:
            self._let_go -= 1
            return
        group = work.envelope.group
        if group is not None:
            self._groups[group] -= 1
            if not self._groups[group]:
                del self._groups[group]
            if group in self._passed_over:
                self._interrupt()

    def _abandon(self, task: asyncio.Task[None], work: Work) -> None:
        """It swallowed its cancellation: give up its slot and its lease, and keep the task from being collected."""
        self._observe("unit_abandoned", queue=self.name, kind=work.envelope.kind, originId=work.envelope.origin_id)
        work.abandoned = True
        del self._units[task]
        self._leave(work)
        self._abandoned.add(task)
        self._queue.abandon(work.delivery)
        self._changed.set()
