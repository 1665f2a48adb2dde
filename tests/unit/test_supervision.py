"""Supervision, autoscaling, loop watch and health: pure or on a frozen clock."""

from __future__ import annotations

import asyncio

from syncd.ports.control import Component
from syncd.runtime.autoscaling import IDLE_AFTER, Receivers
from syncd.runtime.health import HealthBoard
from syncd.runtime.loopwatch import LoopWatch
from syncd.runtime.supervision import MOST_FAULTS, Supervisor
from syncd.runtime.work import WorkerLimits
from syncd.testing.clock import FrozenClock


class Log:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def __call__(self, event: str, /, **facts: object) -> None:
        self.events.append((event, facts))

    def named(self, event: str) -> list[dict[str, object]]:
        return [facts for name, facts in self.events if name == event]


async def test_a_service_that_fails_is_started_again_with_a_growing_pause() -> None:
    clock, log = FrozenClock(), Log()
    supervisor = Supervisor(clock=clock, observe=log)
    starts: list[float] = []

    async def shaky() -> None:
        starts.append(clock.monotonic())
        raise ValueError("no")

    supervisor.start("shaky", shaky)
    await clock.advance(4)
    assert starts == [0.0, 0.5, 1.5, 3.5]
    assert len(log.named("service_failed")) == 4
    await supervisor.stop()


async def test_a_service_that_ends_without_an_error_has_failed_too() -> None:
    clock, log = FrozenClock(), Log()
    supervisor = Supervisor(clock=clock, observe=log)

    async def brief() -> None:
        return

    supervisor.start("brief", brief)
    await clock.advance(0.1)
    assert "ended although" in str(supervisor.services["brief"].last_error)
    await supervisor.stop()


async def test_too_many_faults_in_ten_minutes_end_the_daemon() -> None:
    clock, log = FrozenClock(), Log()
    supervisor = Supervisor(clock=clock, observe=log)

    async def hopeless() -> None:
        raise ValueError("no")

    supervisor.start("hopeless", hopeless)
    await clock.advance(60)
    assert supervisor.failed.is_set()
    assert len(log.named("service_failed")) == MOST_FAULTS + 1
    assert log.named("service_given_up") == [{"service": "hopeless"}]
    await supervisor.stop()


async def test_faults_that_are_far_apart_are_forgiven() -> None:
    clock, log = FrozenClock(), Log()
    supervisor = Supervisor(clock=clock, observe=log)

    async def hourly() -> None:
        await clock.sleep(3600)
        raise ValueError("no")

    supervisor.start("hourly", hourly)
    await clock.advance(20 * 3601)
    assert not supervisor.failed.is_set()
    assert len(log.named("service_failed")) == 20
    await supervisor.stop()


async def test_stopping_cancels_in_the_reverse_order_of_the_start() -> None:
    supervisor = Supervisor(clock=FrozenClock(), observe=Log())
    ended: list[str] = []

    def lasting(name: str) -> None:
        async def run() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)

        supervisor.start(name, run)

    for name in ("first", "second", "third"):
        lasting(name)
    await asyncio.sleep(0)
    await supervisor.stop("second")
    await supervisor.stop()
    assert ended == ["second", "third", "first"]


def test_receivers_double_while_leases_come_back_full() -> None:
    receivers = Receivers(WorkerLimits(minimum=1, maximum=50), now=0.0)
    targets = []
    for _ in range(7):
        receivers.leased(asked=receivers.target, got=receivers.target, in_flight=receivers.target, now=1.0)
        targets.append(receivers.target)
    assert targets == [2, 4, 8, 16, 32, 50, 50]


def test_receivers_do_not_grow_while_the_loop_is_crowded() -> None:
    receivers = Receivers(WorkerLimits(minimum=2, maximum=50), now=0.0)
    receivers.leased(asked=2, got=2, in_flight=2, now=1.0, loop_lag=0.3)
    assert receivers.target == 2


def test_receivers_halve_after_a_minute_in_which_a_quarter_was_enough() -> None:
    receivers = Receivers(WorkerLimits(minimum=1, maximum=50), now=0.0)
    receivers.target = 32
    for second in range(0, 130, 10):
        receivers.leased(asked=32, got=1, in_flight=4, now=float(second))
    assert receivers.target == 8


def test_after_ten_idle_minutes_one_receiver_is_left_and_work_brings_the_minimum_back() -> None:
    receivers = Receivers(WorkerLimits(minimum=4, maximum=50), now=0.0)
    receivers.leased(asked=4, got=0, in_flight=0, now=IDLE_AFTER)
    assert receivers.target == 1
    receivers.leased(asked=1, got=1, in_flight=1, now=IDLE_AFTER + 1)
    assert receivers.target == 4


def test_new_limits_are_adopted_within_their_bounds() -> None:
    receivers = Receivers(WorkerLimits(minimum=1, maximum=50), now=0.0)
    receivers.target = 40
    receivers.adopt(WorkerLimits(minimum=2, maximum=10))
    assert receivers.target == 10


async def test_the_loop_watch_measures_how_late_it_is_woken() -> None:
    clock, log = FrozenClock(), Log()
    watch = LoopWatch(clock=clock, observe=log)
    task = asyncio.create_task(watch.run())
    await clock.advance(0.5)
    assert watch.lag == 0.0
    clock.stall(2.0)
    await clock.advance(0.1)
    assert watch.lag == 1.5
    await clock.advance(10)
    assert (watch.lag, watch.worst) == (0.0, 1.5)
    task.cancel()


async def test_health_is_ready_only_while_running_and_shows_a_refused_reload() -> None:
    clock = FrozenClock()
    supervisor = Supervisor(clock=clock, observe=Log())
    board = HealthBoard(
        version="1", roles=("webhooks",), supervisor=supervisor, loop=LoopWatch(clock=clock, observe=Log())
    )
    assert (board.health().live, board.health().ready) == (True, False)
    board.phase = "running"
    assert board.health().ready
    board.add(lambda: Component("broker", "degraded", "away for 3 s"))
    assert board.health().ready
    board.last_reload_error = "line 3"
    assert [c.name for c in board.health().components if c.status == "degraded"] == ["broker", "configuration"]
    board.add(lambda: Component("store", "failed", "damaged"))
    assert (board.health().live, board.health().ready) == (True, False)
    board.phase = "draining"
    assert not board.health().ready
    supervisor.failed.set()
    assert not board.health().live
    assert await board.stuck() == ["services: given up: "]
