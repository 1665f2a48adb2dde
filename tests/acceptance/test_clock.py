"""A wall clock that is set back, or forward, under a running daemon."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.domain.times import parse
from tests.acceptance import embedding
from tests.acceptance.process import Daemon, eventually
from tests.acceptance.reading import component, events, logged, metric, pages
from tests.shims.clockshift import ClockShift

# A service refuses requests of a clock that is far off; what then becomes of leases is told by tests on the wire.
pytestmark = pytest.mark.embedded

HOUR = 3600


@pytest.fixture
def clock(tmp_path: Path) -> ClockShift:
    return ClockShift(tmp_path / "clock")


@pytest.fixture
async def daemon(tmp_path: Path, clock: ClockShift) -> AsyncIterator[Daemon]:
    """With a job that is due each second."""
    command = embedding.command(tmp_path / "journal", "--schedule", "every 1s", "--seconds", "0.05")
    environment = {**clock.environment, **embedding.ENVIRONMENT}
    async with Daemon(tmp_path / "data", command=command, environment=environment) as daemon:
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
async def test_a_clock_that_is_set_back_repeats_no_run_and_stops_no_work(daemon: Daemon, clock: ClockShift) -> None:
    registration = await daemon.register_github()
    await more_runs(daemon, 2)
    clock.set(-HOUR)
    answer = (await daemon.post_webhook(registration, b'{"zen":"z"}', event="ping", delivery="d-1")).ok()
    assert answer["status"] == "accepted"
    await daemon.drained("sync-outbound")
    again = (await daemon.post_webhook(registration, b'{"zen":"z"}', event="ping", delivery="d-1")).ok()
    assert again["status"] == "duplicate"
    at = await more_runs(daemon, 3)
    assert len(at) == len(set(at)), "no instant twice"
    assert at[-1] - at[0] < HOUR / 2, "our own time went on"
    shown = await component(daemon, "clock")
    assert shown is not None
    assert shown["status"] == "degraded"
    assert f"set back by {HOUR} s" in shown["detail"]
    assert (await daemon.request("GET", "/readyz")).status == 200
    assert await metric(daemon, "clock_stepped_back") == 1
    [line] = logged(daemon, "clock_stepped_back")
    assert line["level"] == "warning"
    clock.set(0)

    async def well() -> bool:
        shown = await component(daemon, "clock")
        return shown is not None and bool(shown["status"] == "ok")

    await eventually(well, what="a clock that is right again")


async def test_a_restart_after_the_clock_was_set_back_goes_on_working(daemon: Daemon, clock: ClockShift) -> None:
    registration = await daemon.register_github()
    await more_runs(daemon, 1)
    await daemon.kill9()
    clock.set(-HOUR)
    await daemon.start()
    answer = await daemon.post_webhook(registration, b'{"zen":"z"}', event="ping")
    assert answer.ok()["status"] == "accepted"
    await daemon.drained("sync-outbound")
    assert [row["status"] for row in await events(daemon)] == ["processed"]


async def test_a_clock_that_jumps_ahead_makes_what_it_jumped_over_due_once(daemon: Daemon, clock: ClockShift) -> None:
    before = (await more_runs(daemon, 1))[-1]
    clock.set(20)
    at = await more_runs(daemon, 21)
    assert at[-1] >= before + 20
    assert {later - earlier for earlier, later in itertools.pairwise(at)} == {1.0}, "each instant, and each once"
