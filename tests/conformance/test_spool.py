"""What every spool keeps: the order, the bytes, the bound, and all of it across a start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from syncd.adapters.embedded.spool import ROW_BYTES, EmbeddedSpool, open_spool
from syncd.domain.errors import Overloaded, Unavailable
from syncd.domain.messages import Envelope
from syncd.ports.queue import Message
from syncd.ports.spool import Spool
from syncd.testing.clock import FrozenClock

ROOM = 1024 * 1024


def opened(
    directory: Path, *, clock: FrozenClock | None = None, max_bytes: int = ROOM
) -> AbstractAsyncContextManager[EmbeddedSpool]:
    return open_spool(directory, max_bytes=max_bytes, clock=clock or FrozenClock(), durable=False)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def spool(tmp_path: Path, clock: FrozenClock) -> AsyncIterator[Spool]:
    async with opened(tmp_path, clock=clock) as spool:
        yield spool


def message(name: str = "m", body: bytes = b"{}", *, window: float = 600.0) -> Message:
    envelope = Envelope(
        kind="webhook",
        origin_id=f"reg/{name}/0",
        tenant_id="t",
        registration_id="reg",
        event_id=f"reg:0.{name}",
        received_at=1_700_000_000.0,
        expires_at=1_700_600_000.0,
        headers={"x-github-event": "issues"},
    )
    return Message(envelope, body, dedupe_id=f"id-{name}", dedupe_window=window)


async def names(spool: Spool) -> list[str]:
    return [str(one.message.dedupe_id) for one in await spool.read(limit=1000)]


async def test_a_message_comes_out_as_it_went_in(spool: Spool) -> None:
    body = bytes(range(256)) * 1000
    sent = Message(message(body=body).envelope, body, 1_700_000_100.0, "id", 60.0)
    assert await spool.append("reg", sent)
    [found] = await spool.read()
    assert (found.tail, found.message) == ("reg", sent)
    assert found.message.envelope.broker_id == sent.envelope.broker_id


async def test_messages_come_out_in_the_order_in_which_they_went_in(spool: Spool) -> None:
    for number in range(150):
        await spool.append(f"reg-{number % 3}", message(str(number)))
    assert await names(spool) == [f"id-{number}" for number in range(150)]
    assert await spool.tails() == {"reg-0": 50, "reg-1": 50, "reg-2": 50}
    positions = [one.position for one in await spool.read(limit=1000)]
    assert positions == sorted(positions)


async def test_many_at_once_are_all_there(spool: Spool) -> None:
    stored = await asyncio.gather(*(spool.append("reg", message(str(number))) for number in range(300)))
    assert all(stored)
    assert (spool.messages, len(await names(spool))) == (300, 300)


async def test_a_page_ends_at_its_number_and_at_its_bytes_and_holds_at_least_one(spool: Spool) -> None:
    for number in range(5):
        await spool.append("reg", message(str(number), b"x" * 10_000))
    assert len(await spool.read(limit=3)) == 3
    assert len(await spool.read(at_most=25_000)) == 2
    assert len(await spool.read(at_most=1)) == 1


async def test_tails_can_be_left_out(spool: Spool) -> None:
    for number, tail in enumerate("abab"):
        await spool.append(tail, message(str(number)))
    found = await spool.read(without=["a"])
    assert [one.tail for one in found] == ["b", "b"]


async def test_what_is_removed_is_gone_and_removing_it_again_is_harmless(spool: Spool) -> None:
    for number in range(4):
        await spool.append("reg", message(str(number)))
    gone = [one.position for one in await spool.read(limit=2)]
    await spool.remove(gone)
    await spool.remove(gone)
    assert await names(spool) == ["id-2", "id-3"]
    assert (spool.messages, await spool.tails()) == (2, {"reg": 2})


async def test_a_position_is_never_used_twice(spool: Spool) -> None:
    await spool.append("reg", message("1"))
    [first] = await spool.read()
    await spool.remove([first.position])
    await spool.append("reg", message("2"))
    [second] = await spool.read()
    assert second.position > first.position


async def test_the_same_message_is_stored_once_for_its_window(spool: Spool, clock: FrozenClock) -> None:
    answers = await asyncio.gather(*(spool.append("reg", message(window=60.0)) for _ in range(5)))
    assert sorted(answers) == [False] * 4 + [True]
    await clock.advance(59)
    assert not await spool.append("reg", message(window=60.0))
    await clock.advance(2)
    assert await spool.append("reg", message(window=60.0)), "it may be meant by now"
    assert spool.messages == 2


async def test_without_a_window_nothing_is_taken_for_the_same(spool: Spool) -> None:
    assert [await spool.append("reg", message(window=0.0)) for _ in range(2)] == [True, True]


async def test_what_is_set_aside_is_kept_and_handed_out_after_the_next_start(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        for number in range(3):
            await spool.append("reg", message(str(number)))
        [first] = await spool.read(limit=1)
        await spool.set_aside([first.position])
        await spool.set_aside([first.position])
        assert await names(spool) == ["id-1", "id-2"]
        assert (spool.messages, spool.aside, await spool.tails()) == (3, 1, {"reg": 2})
    async with opened(tmp_path) as spool:
        assert await names(spool) == ["id-0", "id-1", "id-2"]
        assert (spool.messages, spool.aside, await spool.tails()) == (3, 0, {"reg": 3})


async def test_a_full_spool_refuses_and_takes_again_once_something_has_gone(tmp_path: Path) -> None:
    async with opened(tmp_path, max_bytes=10 * (1000 + ROW_BYTES)) as spool:
        offered = [spool.append("reg", message(str(number), b"x" * 1000)) for number in range(30)]
        answers = await asyncio.gather(*offered, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, Overloaded)]
        assert 0 < spool.messages < 10
        assert len(refused) == 30 - spool.messages
        assert refused[0].retry_after is not None
        assert spool.bytes <= spool.max_bytes
        held = spool.bytes
        await spool.remove([one.position for one in await spool.read(limit=1)])
        assert await spool.append("reg", message("late", b"x" * 1000))
        assert abs(spool.bytes - held) < 100
    async with opened(tmp_path, max_bytes=1) as smaller:
        assert smaller.bytes > smaller.max_bytes, "what is there stays, whatever the bound is now"
        assert len(await names(smaller)) == smaller.messages
        with pytest.raises(Overloaded):
            await smaller.append("reg", message("more"))


async def test_the_figures_are_those_of_the_disk_after_a_start(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        for number in range(20):
            await spool.append("reg", message(str(number)))
        await spool.append("reg", message("0"))
        figures = (spool.messages, spool.bytes)
    async with opened(tmp_path) as spool:
        assert (spool.messages, spool.bytes) == figures


async def test_a_refused_write_takes_no_room(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(spool, EmbeddedSpool)

    async def failing(*args: object, **kwargs: object) -> bool:
        raise Unavailable("the disk answers with errors")

    with monkeypatch.context() as patched:
        patched.setattr(spool._engine, "write", failing)
        with pytest.raises(Unavailable):
            await spool.append("reg", message())
    assert (spool.messages, spool.bytes) == (0, 0)
    assert await spool.append("reg", message())
