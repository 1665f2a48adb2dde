from __future__ import annotations

import asyncio

import pytest

from syncd.flows.deadlines import Deadlines


async def test_a_wait_within_its_limit_is_left_alone() -> None:
    deadlines = Deadlines(10.0)
    with deadlines.one():
        await asyncio.sleep(0)


async def test_a_wait_beyond_its_limit_times_out_and_the_task_goes_on() -> None:
    deadlines = Deadlines(0.01)
    for _ in range(2):
        with pytest.raises(TimeoutError), deadlines.one():
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_each_of_many_waits_has_its_own_limit() -> None:
    deadlines = Deadlines(0.02)

    async def wait(ends: bool) -> str:
        try:
            with deadlines.one():
                await (asyncio.sleep(0) if ends else asyncio.Event().wait())
        except TimeoutError:
            return "late"
        return "done"

    assert await asyncio.gather(*(wait(bool(n % 2)) for n in range(10))) == ["late", "done"] * 5


async def test_a_cancellation_from_outside_stays_one() -> None:
    deadlines = Deadlines(10.0)

    async def wait() -> None:
        with deadlines.one():
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_body_comes_through() -> None:
    with pytest.raises(KeyError), Deadlines(10.0).one():
        raise KeyError("mine")
