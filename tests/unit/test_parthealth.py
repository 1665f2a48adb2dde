from __future__ import annotations

import asyncio

import pytest

from syncd.domain.errors import Conflict, Failure, Unavailable
from syncd.runtime.parthealth import PATIENCE, PartHealth
from syncd.testing.clock import FrozenClock


class Store:
    kind = "a store"

    def __init__(self) -> None:
        self.raises: Exception | None = None
        self.asked: list[tuple[object, ...]] = []
        self.asking = asyncio.Event()

    async def get(self, *args: object, **kwargs: object) -> str:
        self.asked.append((*args, *kwargs.items()))
        if self.raises is not None:
            raise self.raises
        return "answer"

    async def hang(self, *, wait: float = 0.0) -> None:
        self.asking.set()
        await asyncio.Event().wait()

    def abandon(self) -> str:
        return "not a coroutine"


async def test_a_part_is_degraded_from_its_first_failure_to_its_next_answer() -> None:
    store, part = Store(), PartHealth("documents", FrozenClock())
    watched = part.watch(store)
    assert await watched.get(1, key=2) == "answer"
    assert store.asked == [(1, ("key", 2))]
    assert part.look().status == "ok"
    store.raises = Unavailable("the account does not answer")
    with pytest.raises(Failure):
        await watched.get()
    assert (part.look().name, part.look().status) == ("documents", "degraded")
    assert part.look().detail == "the account does not answer"
    store.raises = None
    await watched.get()
    assert part.look().status == "ok"


async def test_an_answer_that_refuses_is_an_answer() -> None:
    store, part = Store(), PartHealth("documents", FrozenClock())
    watched = part.watch(store)
    store.raises = Conflict("somebody was faster")
    with pytest.raises(Conflict):
        await watched.get()
    assert part.look().status == "ok"


@pytest.mark.parametrize(
    ("wait", "given_up_after", "status"),
    [
        (0.0, PATIENCE + 0.1, "degraded"),
        (0.0, PATIENCE - 0.1, "ok"),  # as when a request ends because its client has gone
        (20.0, 20.0, "ok"),  # it was to wait for that long
        (20.0, 20.1 + PATIENCE, "degraded"),
    ],
)
async def test_a_call_that_its_caller_gave_up_had_no_answer(wait: float, given_up_after: float, status: str) -> None:
    clock = FrozenClock()
    store, part = Store(), PartHealth("queue", clock)
    call = asyncio.create_task(part.watch(store).hang(wait=wait))
    await store.asking.wait()
    await clock.advance(given_up_after)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert part.look().status == status
    await part.watch(store).get()
    assert part.look().status == "ok"


def test_other_attributes_are_those_of_the_port() -> None:
    watched = PartHealth("documents", FrozenClock()).watch(Store())
    assert (watched.kind, watched.abandon()) == ("a store", "not a coroutine")
