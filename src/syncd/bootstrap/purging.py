"""Where every message passes: one of a purged tenant ends before its handler, and is never parked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from syncd.domain.outcomes import DONE, Outcome
from syncd.flows.purged import Purged
from syncd.runtime.work import Handle, Handler, Work


def guarded(handlers: Mapping[str, Handler], purged: Purged) -> dict[str, Handler]:
    return {kind: replace(handler, handle=_guarded(handler.handle, purged)) for kind, handler in handlers.items()}


def _guarded(handle: Handle, purged: Purged) -> Handle:
    async def checked(work: Work) -> Outcome:
        if await purged.takes(work.envelope, work.delivery.enqueued_at):
            return DONE
        return await handle(work)

    return checked
