"""Running something while its lease is kept, within its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from syncd.domain.errors import Failure, LeaseLost
from syncd.flows.jobs import TickResult

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from syncd.ports.clock import Clock

#: Document leases and their renewal, in seconds: two renewals may be lost before the lease is.
LEASE = 90.0
RENEW_EVERY = 30.0
#: Between attempts to renew while the store does not answer.
RENEW_AGAIN = 5.0


async def run_leased(
    work: Callable[[], Awaitable[TickResult]], *, renew: Callable[[], Awaitable[None]], clock: Clock, timeout: float
) -> TickResult:
    """The result of `work`, renewing its lease meanwhile. An error of `work` and the end of `timeout` seconds are failed results.

    Raises LeaseLost once somebody else may own the work: it is cancelled and its result dropped. What is no Exception (a cancelled
    or killed process) passes through, and the lease runs out.
    """
    why: list[str] = []
    result: TickResult | None = None
    scope = anyio.CancelScope()

    async def keep() -> None:
        held_until = clock.monotonic() + LEASE
        pause = RENEW_EVERY
        while clock.monotonic() + pause < held_until:
            await clock.sleep(pause)
            asked = clock.monotonic()
            try:
                await renew()
            except LeaseLost:
                break
            except Failure:
                pause = RENEW_AGAIN
            else:
                held_until, pause = asked + LEASE, RENEW_EVERY
        why.append("lost")
        scope.cancel()

    async def limit() -> None:
        await clock.sleep(timeout)
        why.append("timeout")
        scope.cancel()

    try:
        async with anyio.create_task_group() as side:
            side.start_soon(keep)
            side.start_soon(limit)
            with scope:
                result = await _guarded(work)
            side.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # One thing went wrong; the group is how task groups say it.
        raise group.exceptions[0] from None
    if "lost" in why:
        raise LeaseLost("the lease ran out or was taken over; the outcome of this run is dropped")
    if result is None:
        result = TickResult(
            status="failed", reason=f"it ran longer than its timeout of {timeout:g} s and was cancelled"
        )
    return result


async def _guarded(work: Callable[[], Awaitable[TickResult]]) -> TickResult:
    try:
        return await work()
    except LeaseLost:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a job raises is how it failed; the reason is kept and shown
        return TickResult(status="failed", reason=f"{type(error).__name__}: {error}")
