"""Maintenance over the embedded store: duties do their work, and one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.adapters.embedded.blobs import open_blobs
from syncd.adapters.embedded.store import Store, open_store
from syncd.domain.collections import PARKED, ROLLUPS
from syncd.domain.times import DAY, day, parse
from syncd.flows.maintain import Duty, Maintain, remove_orphaned_bodies, store_duties
from syncd.ports.blobs import Blobs
from syncd.ports.documents import Create
from syncd.ports.observe import ignore
from syncd.testing.clock import FrozenClock

NOW = parse("2026-05-20T12:00:00")


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(NOW)


@pytest.fixture
async def store(tmp_path: Path, clock: FrozenClock) -> AsyncIterator[Store]:
    async with open_store(tmp_path, clock=clock, durable=False) as store:
        yield store


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[Blobs]:
    async with open_blobs(tmp_path / "blobs") as blobs:
        yield blobs


async def names(blobs: Blobs) -> list[str]:
    return [blob.name async for blob in blobs.list()]


async def test_one_failing_duty_is_told_and_does_not_stop_the_others() -> None:
    events: list[tuple[str, object]] = []

    def observe(event: str, /, **facts: object) -> None:
        events.append((event, facts["duty"]))

    async def broken() -> int:
        raise OSError("disk full")

    async def works() -> int:
        return 3

    result = await Maintain(duties=[Duty("a", broken), Duty("b", works)], observe=observe).run()
    assert result.status == "failed"
    assert "a: OSError: disk full" in result.reason
    assert result.evidence == {"done": {"b": 3}}
    assert events == [("duty_failed", "a"), ("duty_done", "b")]


async def test_a_pass_removes_what_has_expired(store: Store, blobs: Blobs, clock: FrozenClock) -> None:
    await store.documents.write(ROLLUPS, "x", [Create("old", {"n": 1}, ttl=60), Create("new", {"n": 1}, ttl=DAY)])
    await blobs.put(f"claims/{day(NOW - 9 * DAY)}/a", b"x")
    clock.step_wall(61)
    duties = store_duties(documents=store.documents, queue=store.queue, blobs=blobs, clock=clock)
    maintain = Maintain(duties=duties, observe=ignore)
    result = await maintain.run()
    assert result.status == "succeeded"
    assert result.evidence == {"done": {"expired_documents": 1, "expired_dedupe_ids": 0, "orphaned_bodies": 1}}
    assert (await maintain.run()).evidence["done"] == {
        "expired_documents": 0,
        "expired_dedupe_ids": 0,
        "orphaned_bodies": 0,
    }


async def test_bodies_of_long_ago_are_removed_unless_a_parked_message_refers_to_them(
    store: Store, blobs: Blobs
) -> None:
    old, older, edge = day(NOW - 9 * DAY), day(NOW - 40 * DAY), day(NOW - 8 * DAY)
    kept = [f"claims/{older}/parked", f"claims/{old}/inside", f"claims/{edge}/young", f"claims/{day(NOW)}/new"]
    others = ["webhooks/reg/abc", "claims/not-a-day/x", "reports/1.html"]
    gone = [f"claims/{older}/a", f"claims/{old}/b"]
    for name in (*kept, *others, *gone):
        await blobs.put(name, b"x")
    for number, data in enumerate(({"bodyRef": kept[0]}, {"envelope": {"bodyRef": kept[1]}}, {"envelope": None})):
        await store.documents.write(PARKED, f"q:20260{number + 1}", [Create(f"q:20260{number + 1}.{number}", data)])
    assert await remove_orphaned_bodies(documents=store.documents, blobs=blobs, now=NOW) == 2
    assert await names(blobs) == sorted([*kept, *others])
    assert await remove_orphaned_bodies(documents=store.documents, blobs=blobs, now=NOW) == 0
