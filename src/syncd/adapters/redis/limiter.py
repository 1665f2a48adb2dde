"""The rate limiter that all replicas share."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial

from syncd.adapters.redis.commands import Commands, Plan, microseconds
from syncd.adapters.redis.fallback import TOKEN_MEMORY, Fallback
from syncd.adapters.redis.leases import LEASE, Leases
from syncd.adapters.redis.link import CutOff, Greeting, Link
from syncd.adapters.redis.memory import Beat, Memory, server_facts
from syncd.domain.errors import Invalid, ServerFault
from syncd.ports.clock import Clock
from syncd.ports.control import Component
from syncd.ports.limiter import Decision, Level
from syncd.ports.observe import Observe

#: How often an idle limiter looks whether Redis is there and remembers. Seconds.
BEAT = 2.0
#: Bookings of one window; beyond it a refusal books nothing. Planning a turn is linear in them.
MOST_TURNS = 10_000
#: For how long the answer to a call without a token is kept, for when the connection breaks before it is read. Seconds.
_RESEND = 10.0
#: Sets of levels that are kept ready, and sets that are owed for.
_READY = 10_000
#: Added to every wait that is told, so that rounding does not bring a caller back too early. Seconds.
_MARGIN = 2e-6


class RedisLimiter:
    """Implements the port `Limiter`. Raises Invalid for a cost that can never pass: more than what Redis admits, which is the limit
    without the part that is left free for replicas that are cut off.

    Without Redis, and while it may have forgotten what was charged, each replica decides by its `Fallback`. A `block` above 1 takes
    units ahead; see `leases`. Open it with `open_redis_limiter`.
    """

    def __init__(
        self,
        *,
        url: str,
        clock: Clock,
        observe: Observe,
        fallback: Fallback,
        tag: str,
        timeout: float,
        connecting: float,
        block: int,
        time_source: Callable[[], float] | None,
    ) -> None:
        self._clock, self._observe, self._fallback = clock, observe, fallback
        self._commands = Commands(tag=tag)
        self._memory = Memory()
        self._time_source = time_source
        self._link = Link(
            url=url,
            clock=clock,
            timeout=timeout,
            connecting=connecting,
            greet=self._greet,
            lost=self._when_lost,
            returned=self._when_returned,
        )
        self._leases = Leases(block=block, clock=clock) if block > 1 else None
        self._boot = secrets.token_hex(6).encode()
        self._calls = 0
        self._plans: dict[tuple[Level, ...], Plan] = {}
        self._owed: dict[tuple[Level, ...], int] = {}
        self._away: tuple[float, str] | None = (clock.monotonic(), "not connected yet")
        self._told = False
        self._doubt: tuple[float, str] | None = None

    async def take(
        self,
        levels: Sequence[Level],
        *,
        cost: int = 1,
        reserve: bool = False,
        reservation: str | None = None,
        token: str | None = None,
    ) -> Decision:
        plan = self._plan(levels)
        if not 1 <= cost <= plan.least:
            self._refuse_cost(plan, cost)
        if self._leases is not None and token is None and reservation is None:
            return await self._leases.take(
                plan.levels, cost, lambda block: self._ask(plan, cost, reserve, None, None, block)
            )
        return (await self._ask(plan, cost, reserve, reservation, token, 0))[0]

    async def charge(self, levels: Sequence[Level], cost: int) -> None:
        plan = self._plan(levels)
        if cost < 0:
            raise Invalid(f"what was spent is at least 0; it is {cost}")
        if cost == 0:
            return
        try:
            command = self._commands.charge(plan, now=self._now(), call=self._call(), cost=cost, memory=_RESEND)
            await self._link.post(command)
        except CutOff:
            self._fallback.charge(plan.levels, cost)
            self._owe(plan.levels, cost)

    async def release(self, reservation: str) -> None:
        with contextlib.suppress(CutOff):  # it lapses by itself
            await self._link.post(self._commands.release(reservation, now=self._now()))

    def health(self) -> Component:
        if self._away is not None:
            return Component(
                "limiter",
                "degraded",
                f"Redis does not decide ({self._away[1]}): this replica spends only its own share",
            )
        if self._doubt is not None and self._clock.monotonic() < self._doubt[0]:
            return Component("limiter", "degraded", self._doubt[1])
        return Component("limiter", "ok")

    async def run(self) -> None:
        """What `open_redis_limiter` keeps running."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._link.run())
            group.create_task(self._beat())

    async def tried(self) -> None:
        """Until the first attempt to connect has ended, either way."""
        await self._link.tried.wait()

    async def _ask(
        self, plan: Plan, cost: int, reserve: bool, reservation: str | None, token: str | None, block: int
    ) -> tuple[Decision, int]:
        """And how many units were granted: more than `cost` only where a `block` was asked for."""
        command = self._commands.take(
            plan,
            now=self._now(),
            call=self._call(),
            cost=cost,
            reserve=reserve,
            reservation=reservation,
            token=token,
            block=block,
            lease=LEASE if block > cost else 0.0,
            most=MOST_TURNS,
            memory=_RESEND if token is None else TOKEN_MEMORY,
        )
        try:
            status, remaining, wait, charges, granted, turn = (await self._link.post(command)).split(b" ")
        except CutOff:
            return self._alone(plan, cost, token, None), cost
        if int(charges) > self._memory.charges:
            self._memory.charges = int(charges)
        seconds = int(wait) / 1e6
        if status == b"1":
            return Decision(True, int(remaining), self._clock.now() + seconds), int(granted)
        if status == b"2":
            return self._alone(plan, cost, token, seconds), cost
        seconds += _MARGIN
        return Decision(False, int(remaining), self._clock.now() + seconds, seconds, turn.decode() or None), cost

    def _alone(self, plan: Plan, cost: int, token: str | None, back_in: float | None) -> Decision:
        return self._fallback.take(plan.levels, cost, token=token, back_in=back_in)

    def _plan(self, levels: Sequence[Level]) -> Plan:
        key = tuple(levels)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _READY:
                self._plans.clear()
            plan = self._plans[key] = self._commands.plan(key, self._fallback.shared)
        return plan

    def _refuse_cost(self, plan: Plan, cost: int) -> None:
        if cost < 1:
            raise Invalid(f"a cost is at least 1; it is {cost}")
        level = plan.tightest
        kept = f", {level.limit - plan.least} of them kept for replicas cut off from Redis" * (plan.least < level.limit)
        raise Invalid(
            f"{cost} units can never pass {level.key!r}, which allows {level.limit} in {level.window:g} s{kept}"
        )

    def _call(self) -> bytes:
        self._calls += 1
        return b"%b-%x" % (self._boot, self._calls)

    def _now(self) -> bytes:
        return b"" if self._time_source is None else b"%d" % microseconds(self._time_source())

    def _owe(self, levels: tuple[Level, ...], cost: int) -> None:
        """Redis hears of it when it is back: what is waited off there must not be less than what was spent."""
        if levels in self._owed or len(self._owed) < _READY:
            self._owed[levels] = self._owed.get(levels, 0) + cost

    async def _greet(self, greeting: Greeting) -> None:
        run, uptime = server_facts(await greeting.info("server"))
        await self._look(greeting.run, run=run, uptime=uptime)

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(BEAT)
            with contextlib.suppress(CutOff, ServerFault):
                await self._look(self._link.post)

    async def _look(
        self, ask: Callable[[bytes], Awaitable[bytes]], *, run: bytes = b"", uptime: float = 0.0, doubted: bool = False
    ) -> None:
        """See whether Redis remembers, and have it wait where it may not."""
        asked = self._clock.monotonic()
        memory = self._memory
        command = self._commands.beat(
            now=self._now(),
            call=self._call(),
            run=run,
            uptime=uptime,
            life=memory.life,
            charges=memory.charges,
            doubted=doubted,
        )
        beat = Beat.read(await ask(command))
        leapt = memory.leaps(beat, self._clock.monotonic())
        memory.heard(beat, asked)
        if leapt:
            await self._look(ask, run=run, uptime=uptime, doubted=True)
            return
        window = max((plan.window for plan in self._plans.values()), default=60.0) + LEASE
        if beat.change == "failed_over":
            self._doubt = (
                asked + window,
                "another Redis took over: what it had not heard of may be admitted once more",
            )
            self._observe("limiter_failed_over")
        elif beat.change:
            self._observe("limiter_forgot", reason="clock" if doubted else beat.change, seconds=window - beat.age)
        if beat.age < window:
            self._doubt = (
                asked + window - beat.age,
                "Redis may have forgotten charges: this replica spends its own share",
            )

    def _when_lost(self, reason: str) -> None:
        if self._away is None or not self._told:
            self._told = True
            self._observe("limiter_lost", reason=reason)
        self._away = (self._clock.monotonic() if self._away is None else self._away[0], reason)

    def _when_returned(self) -> None:
        if self._away is not None and self._told:
            self._observe("limiter_returned", seconds=self._clock.monotonic() - self._away[0])
        self._away, self._told = None, False
        owed, self._owed = self._owed, {}
        for levels, cost in owed.items():
            command = self._commands.charge(
                self._plan(levels), now=self._now(), call=self._call(), cost=cost, memory=_RESEND
            )
            self._link.post(command).add_done_callback(partial(self._when_paid, levels, cost))

    def _when_paid(self, levels: tuple[Level, ...], cost: int, answer: asyncio.Future[bytes]) -> None:
        if not answer.cancelled() and answer.exception() is not None:
            self._owe(levels, cost)


@asynccontextmanager
async def open_redis_limiter(
    *,
    url: str,
    clock: Clock,
    observe: Observe,
    fallback_share: float = 0.1,
    max_replicas: int = 10,
    fail_closed: bool | Collection[str] = False,
    block: int = 0,
    tag: str = "syncd",
    timeout: float = 1.0,
    connecting: float = 5.0,
    time_source: Callable[[], float] | None = None,
) -> AsyncIterator[RedisLimiter]:
    """Opens also where Redis is away, and connects when it is there. Raises Invalid for an address that is none.

    `fallback_share` of each limit is left free for at most `max_replicas` replicas that are cut off, those of a rolling restart
    included; `fail_closed`: refuse instead, all or the keys that begin so. `block`: units taken ahead at once, 0 for none. `tag`:
    deployments that share a Redis differ in it. `timeout` for an answer and `connecting` for a connection, in seconds.
    `time_source` is for tests that own the time, in seconds; without it the time is Redis's.
    """
    limiter = RedisLimiter(
        url=url,
        clock=clock,
        observe=observe,
        fallback=Fallback(clock=clock, share=fallback_share, replicas=max_replicas, fail_closed=fail_closed),
        tag=tag,
        timeout=timeout,
        connecting=connecting,
        block=block,
        time_source=time_source,
    )
    running = asyncio.create_task(limiter.run(), name="redis-limiter")
    try:
        await limiter.tried()
        yield limiter
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
