"""Each service that a daemon needs fails in turn: the daemon says which, goes on where it can, and uses it again without a restart."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from tests.acceptance.faulty import BROKER, DOCUMENTS, OTHERS, Fault, Site, site
from tests.acceptance.process import SECRET, Registration, eventually
from tests.acceptance.reading import logged, metric, readiness

#: Each test brings its own services, whatever the others run on.
pytestmark = [pytest.mark.embedded, pytest.mark.slow, pytest.mark.timeout(400)]

#: The promise is 10 s after the service is back. A machine that is busy with other tests gets as much again.
RECOVERY = 20.0
#: Seconds that the broker is gone; `make chaos` takes a minute.
BROKER_AWAY = float(os.environ.get("BROKER_AWAY", "12"))


async def goes_through(site: Site, fault: Fault) -> None:
    """Struck, said, mended, used again."""
    await fault.strike(site)
    last: list[object] = []

    async def told() -> bool:
        last[:] = [*(await site.ask()), *(await site.said(fault.part))]
        return last[-2] == "degraded" and (not fault.words or any(word in str(last[-1]) for word in fault.words))

    async def used() -> bool:
        last[:] = [*(await site.ask()), *(await site.said(fault.part))]
        well = all(status in (200, 201) for status in last[:3]) and await site.in_use(fault)
        return well and await site.works(before)

    try:
        if fault.lasts:
            await eventually(told, within=60, what=f"{fault.part} degraded: {fault.what}")
        assert (await site.daemon.request("GET", "/healthz")).status == 200
        before = frozenset(site.accepted)
        await fault.mend(site)
        back = time.monotonic()
        await eventually(used, within=RECOVERY, what=f"recovery: {fault.what}")
        print(f"{fault.what}: {fault.part} in use again after {time.monotonic() - back:.1f} s")
    except AssertionError as error:
        error.add_note(f"last: {last}")
        raise


@pytest.mark.parametrize("faults", [BROKER, DOCUMENTS, OTHERS], ids=["broker", "documents", "others"])
async def test_a_service_that_fails_is_named_by_readyz_and_used_again_without_a_restart(
    tmp_path: Path, faults: Sequence[Fault]
) -> None:
    async with site(tmp_path) as one:
        for fault in faults:
            await goes_through(one, fault)
        await one.all_is_well()


async def test_a_start_while_everything_is_away_is_no_crash_and_everything_is_used_when_it_comes(
    tmp_path: Path,
) -> None:
    away = [BROKER[0], DOCUMENTS[0], next(one for one in OTHERS if one.what == "Redis is killed")]
    async with site(tmp_path, start=False) as one:
        for fault in away:
            await fault.strike(one)
        await one.daemon.launch()
        said: dict[str, str] = {}

        async def named() -> bool:
            assert one.daemon.running, one.daemon.log[-2000:]
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                said.update({row["name"]: row["status"] for row in (await readiness(one.daemon))["components"]})
            return all(said.get(fault.part) == "degraded" for fault in away)

        await eventually(named, within=90, what="the parts that are away")
        for fault in away:
            await fault.mend(one)

        async def made() -> bool:
            with suppress(AssertionError):  # one that was refused, or whose effect is there already
                await one.daemon.register_github()
            one.registration = Registration("reg-github", SECRET, "conn-github", "tenant-1")
            return (await one.daemon.api("GET", "/webhooks/reg-github")).status == 200

        await eventually(made, within=RECOVERY, what="a connection and its registration")

        async def used() -> bool:
            parts = [await one.in_use(fault) for fault in away]
            return all(parts) and all(status in (200, 201) for status in await one.ask()) and await one.works(set())

        await eventually(used, within=RECOVERY, what="every part in use")
        await one.all_is_well()


async def test_events_go_on_being_answered_while_the_broker_is_gone_and_all_are_applied_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with site(tmp_path) as one:
        stop = asyncio.Event()
        statuses: list[int] = []

        async def sender(first: int) -> None:
            number = first
            while not stop.is_set():
                statuses.append(await one.send(number))
                number += 1
                await asyncio.sleep(0.1)  # the rate of the load

        sending = [asyncio.create_task(sender(first)) for first in (100_000, 200_000)]
        await eventually(lambda: _true(len(statuses) >= 4), what="events before")
        one.services.service_bus.refuse()
        gone = time.monotonic()
        await asyncio.sleep(BROKER_AWAY)  # this is what is tried: so long on the daemon's own clock
        assert await metric(one.daemon, "spool_messages") > 0
        status, detail = await one.said("webhook-intake")
        assert (status, "events wait in the spool" in detail) == ("degraded", True)
        assert (await one.said("queue"))[0] == "degraded"
        assert (await one.daemon.request("GET", "/readyz")).status == 200
        await one.services.service_bus.accept()
        back = time.monotonic()

        async def used() -> bool:
            return (await one.said("queue"))[0] == "ok" and bool(logged(one.daemon, "webhook_breaker_closed"))

        await eventually(used, within=RECOVERY, what="the broker in use again")
        print(f"gone for {back - gone:.0f} s, in use again after {time.monotonic() - back:.1f} s")
        stop.set()
        await asyncio.gather(*sending)
        assert set(statuses) == {200}, "no sender noticed"

        async def drained() -> bool:
            return await metric(one.daemon, "spool_messages") == 0

        await eventually(drained, within=60, what="an empty spool")
        await one.all_is_well()


async def _true(found: bool) -> bool:
    return found
