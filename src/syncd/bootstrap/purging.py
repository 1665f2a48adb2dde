"""Where every message passes: one of a purged tenant ends before its handler, and is never parked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from syncd.domain.errors import Bin
from syncd.domain.outcomes import DONE, Outcome
from syncd.flows.purged import Purged
from syncd.ports.queue import Delivery
from syncd.runtime.work import Handle, Handler, Work

Park = Callable[[Delivery, Bin, str], Awaitable[object]]


def guarded(handlers: Mapping[str, Handler], purged: Purged) -> dict[str, Handler]:
    return {kind: replace(handler, handle=_guarded(handler.handle, purged)) for kind, handler in handlers.items()}


def _guarded(handle: Handle, purged: Purged) -> Handle:
    async def checked(work: Work) -> Outcome:
        if await purged.takes(work.envelope, work.delivery.enqueued_at):
            return DONE
        return await handle(work)

    return checked


def parking(park: Park, purged: Purged) -> Park:
    """As `park`, for whoever sets messages aside that no handler saw: the worker, and what drains a broker's dead letters."""

    async def checked(delivery: Delivery, where: Bin, reason: str) -> None:
        if not await purged.takes(delivery.envelope, delivery.enqueued_at, remembered=False):
            await park(delivery, where, reason)

    return checked
