from __future__ import annotations

import pytest

from syncd.domain.errors import Conflict, Failure, Unavailable
from syncd.runtime.parthealth import PartHealth


class Store:
    kind = "a store"

    def __init__(self) -> None:
        self.raises: Exception | None = None
        self.asked: list[tuple[object, ...]] = []

    async def get(self, *args: object, **kwargs: object) -> str:
        self.asked.append((*args, *kwargs.items()))
        if self.raises is not None:
            raise self.raises
        return "answer"

    def abandon(self) -> str:
        return "not a coroutine"


async def test_a_part_is_degraded_from_its_first_failure_to_its_next_answer() -> None:
    store, part = Store(), PartHealth("documents")
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
    store, part = Store(), PartHealth("documents")
    watched = part.watch(store)
    store.raises = Conflict("somebody was faster")
    with pytest.raises(Conflict):
        await watched.get()
    assert part.look().status == "ok"


def test_other_attributes_are_those_of_the_port() -> None:
    watched = PartHealth("documents").watch(Store())
    assert (watched.kind, watched.abandon()) == ("a store", "not a coroutine")
