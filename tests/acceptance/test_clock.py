"""A wall clock that is set back, or forward, under a running daemon.

Clocks of services are right, or were set forward with the daemon's. They refuse who is a quarter of an hour off.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.domain.times import parse
from tests.acceptance import embedding
from tests.acceptance.process import Daemon, eventually
from tests.acceptance.reading import component, events, logged, metric, pages
from tests.acceptance.services import services_of
from tests.shims.clockshift import ClockShift

pytestmark = pytest.mark.timeout(300)

BACK = {"embedded": 3600, "azure": 600}


@pytest.fixture
def clock(tmp_path: Path) -> ClockShift:
    return ClockShift(tmp_path / "clock")


def ticking(tmp_path: Path, clock: ClockShift) -> Daemon:
    """With a job that is due each second."""
    command = embedding.command(tmp_path / "journal", "--schedule", "every 1s", "--seconds", "0.05")
    return Daemon(tmp_path / "data", command=command, environment={**clock.environment, **embedding.ENVIRONMENT})


@pytest.fixture
async def daemon(tmp_path: Path, clock: ClockShift) -> AsyncIterator[Daemon]:
    async with ticking(tmp_path, clock) as daemon:
        yield daemon


async def runs(daemon: Daemon) -> list[float]:
    return sorted(
        parse(tick["at"])
        for tick in await pages(daemon, f"/jobs/{embedding.JOB}/history")
        if tick["status"] == "succeeded"
    )


async def more_runs(daemon: Daemon, count: int) -> list[float]:
    before = len(await runs(daemon))

    async def there() -> bool:
        return len(await runs(daemon)) >= before + count

    # The ticker finds out at its next pass that the clock was set; a pass is each 30 s.
    await eventually(there, within=110, what=f"{count} more runs")
    return await runs(daemon)


@pytest.mark.slow
async def test_a_clock_that_is_set_back_repeats_no_run_and_stops_no_work(
    daemon: Daemon, clock: ClockShift, backend: str
) -> None:
    back = BACK[backend]
    registration = await daemon.register_github()
    await more_runs(daemon, 2)
    clock.set(-back)
    answer = (await daemon.post_webhook(registration, b'{"zen":"z"}', event="ping", delivery="d-1")).ok()
    assert answer["status"] == "accepted"
    await daemon.drained("sync-outbound")
    again = (await daemon.post_webhook(registration, b'{"zen":"z"}', event="ping", delivery="d-1")).ok()
    assert again["eventId"] == answer["eventId"]
    if backend == "embedded":
        assert again["status"] == "duplicate"
    at = await more_runs(daemon, 3)
    assert len(at) == len(set(at)), "no instant twice"
    assert at[-1] - at[0] < back / 2, "our own time went on"
    shown = await component(daemon, "clock")
    assert shown is not None
    assert shown["status"] == "degraded"
    told = re.search(r"set back by (\d+) s", shown["detail"])
    assert told
    assert int(told[1]) == pytest.approx(back, abs=2)
    assert (await daemon.request("GET", "/readyz")).status == 200
    assert await metric(daemon, "clock_stepped_back") == 1
    [line] = logged(daemon, "clock_stepped_back")
    assert line["level"] == "warning"
    clock.set(0)

    async def well() -> bool:
        shown = await component(daemon, "clock")
        return shown is not None and bool(shown["status"] == "ok")

    await eventually(well, what="a clock that is right again")


@pytest.mark.embedded  # its store goes by the same clock
async def test_a_restart_after_the_clock_was_set_back_goes_on_working(daemon: Daemon, clock: ClockShift) -> None:
    registration = await daemon.register_github()
    await more_runs(daemon, 1)
    await daemon.kill9()
    clock.set(-BACK["embedded"])
    await daemon.start()
    answer = await daemon.post_webhook(registration, b'{"zen":"z"}', event="ping")
    assert answer.ok()["status"] == "accepted"
    await daemon.drained("sync-outbound")
    assert [row["status"] for row in await events(daemon)] == ["processed"]


@pytest.mark.azure
async def test_a_daemon_that_starts_with_a_clock_that_is_minutes_off_says_so_and_works_once_it_is_right(
    daemon: Daemon, clock: ClockShift
) -> None:
    registration = await daemon.register_github()
    await more_runs(daemon, 1)
    assert await daemon.terminate() == 0
    clock.set(-BACK["azure"])
    await daemon.start()
    assert (await daemon.post_webhook(registration, b'{"zen":"z"}', event="ping")).ok()["status"] == "accepted"
    before = await runs(daemon)

    async def stopped() -> bool:
        return bool(logged(daemon, "clock_skewed"))

    await eventually(stopped, what="the end of leasing")
    assert "behind the broker's" in logged(daemon, "clock_skewed")[-1]["reason"]
    shown = await component(daemon, "clock")
    assert shown is not None
    assert shown["status"] == "degraded"
    assert "s behind the documents'" in shown["detail"]
    assert (await daemon.request("GET", "/readyz")).status == 200
    assert await events(daemon) == [], "leases of a clock that is off would be worth nothing"
    assert await runs(daemon) == before
    clock.set(0)
    await daemon.drained("sync-outbound")
    assert [row["status"] for row in await events(daemon)] == ["processed"]
    at = await more_runs(daemon, 2)
    assert len(at) == len(set(at))


async def test_a_clock_that_jumps_ahead_makes_what_it_jumped_over_due_once(tmp_path: Path, clock: ClockShift) -> None:
    services_of(tmp_path / "data", environment=clock.environment)
    async with ticking(tmp_path, clock) as daemon:
        before = (await more_runs(daemon, 1))[-1]
        clock.set(20)
        at = await more_runs(daemon, 21)
    assert at[-1] >= before + 20
    assert {later - earlier for earlier, later in itertools.pairwise(at)} == {1.0}, "each instant, and each once"
