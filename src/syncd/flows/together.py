"""Calls at the same moment, so that a store far away is waited for once and one on a disk makes one commit of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence


async def together(calls: Sequence[Callable[[], Coroutine[object, object, object]]], *, most: int = 1000) -> None:
    """`most`: under way at any moment; they begin in their order. Raises what the first that fails raises; the others are cancelled."""
    if len(calls) == 1:
        await calls[0]()
        return
    room = anyio.Semaphore(most)

    async def one(call: Callable[[], Coroutine[object, object, object]]) -> None:
        async with room:
            await call()

    try:
        async with anyio.create_task_group() as group:
            for call in calls:
                group.start_soon(one, call)
    except BaseExceptionGroup as found:
        raise found.exceptions[0] from None
