"""Random kill -9 of the real daemon under load: whatever was acknowledged has been processed exactly once.

    CHAOS_KILLS=200 CHAOS_SEED=7 pytest tests/acceptance/test_kills.py        (`make chaos`)

kill -9 keeps the page cache, so the daemon with the embedded store runs under the shim, and each acknowledgement must come after a
sync that began after its request did. Behind services a killed process keeps its leases until they run out: there are fewer kills.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import re
from bisect import bisect_right
from collections import Counter
from pathlib import Path

import pytest

from syncd.domain.times import parse
from tests.acceptance import embedding
from tests.acceptance.load import REPOSITORY, Acknowledged, Load
from tests.acceptance.process import Daemon, DaemonDied, eventually
from tests.acceptance.reading import events, logged, pages, parked
from tests.shims import FsyncGate, Step

KILLS = int(os.environ.get("CHAOS_KILLS", "20"))
KILLS_OF_SERVICES = int(os.environ.get("CHAOS_KILLS", "3"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1, 2**31)
#: Seconds for which a tick runs: long enough to be hit.
TICK = 0.1
#: Seconds until the work of a killed process has come again: its leases last 90 s.
COMES_AGAIN = {"embedded": 60.0, "azure": 240.0}
#: What a sender may lawfully be told, and sends again: the store was slower than it is waited for.
SLOW = re.compile(r"503 .*took longer than")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600 + 20 * KILLS)]


async def test_random_kills_under_load_lose_nothing_and_repeat_nothing(tmp_path: Path, backend: str) -> None:
    embedded = backend == "embedded"
    kills = KILLS if embedded else KILLS_OF_SERVICES
    print(f"CHAOS_SEED={SEED} CHAOS_KILLS={kills}")
    draw = random.Random(SEED)
    gate = FsyncGate(tmp_path / "gate", root=tmp_path / "data")
    journal = tmp_path / "journal"
    daemon = Daemon(
        tmp_path / "data",
        command=embedding.command(journal, "--schedule", "every 2s", "--seconds", str(TICK)),
        environment={**(gate.environment if embedded else {}), **embedding.ENVIRONMENT},
    )
    async with daemon:
        load = Load(daemon, await daemon.register_github(), draw)
        async with load.sending():
            for kill in range(kills):
                await load.until_acknowledged(len(load.acknowledged) + draw.randrange(1, 120))
                if kill % 2 == 0:  # a tick whose runner dies five times is given up; that is promised elsewhere
                    await a_run_ends(journal, within=COMES_AGAIN[backend])
                load.up.clear()
                await daemon.kill9()
                if draw.random() < 0.25:
                    await kill_while_it_starts(daemon, draw)
                await daemon.start()
                load.up.set()
            await load.until_acknowledged(len(load.acknowledged) + 50)
        await daemon.drained("sync-outbound", within=COMES_AGAIN[backend])
        await processed_exactly_once(daemon, load)
        if embedded:
            duplicates_are_told(load)
        await entities_are_the_fold_of_the_events(daemon, load)
        await ticks_are_whole(daemon, within=COMES_AGAIN[backend])
    assert [refusal for refusal in load.refused if not SLOW.match(refusal)] == []
    assert load.unanswered > 0, "the kills hit nobody"
    if embedded:
        each_answer_came_after_a_sync(gate.steps(), load.acknowledged)
    never_two_at_once(embedding.read(journal))
    for event in ("handler_bug", "service_failed", *(("outcome_not_recorded", "lease_lost") if embedded else ())):
        assert logged(daemon, event) == [], event


async def a_run_ends(journal: Path, *, within: float) -> None:
    def ends() -> int:
        return sum(1 for line in embedding.read(journal) if line.what == "end")

    before = ends()

    async def more() -> bool:
        return ends() > before

    await eventually(more, within=within, what="the end of a run")


async def kill_while_it_starts(daemon: Daemon, draw: random.Random) -> None:
    """A start that is killed at a random moment, which may be one before it is ready."""
    await daemon.launch()
    await asyncio.sleep(draw.uniform(0.0, 1.0))  # the random moment itself
    if not daemon.running:
        raise DaemonDied(f"it ended by itself while it started:\n{daemon.log[-4000:]}")
    await daemon.kill9()


async def processed_exactly_once(daemon: Daemon, load: Load) -> None:
    rows = await events(daemon)
    ids = [row["eventId"] for row in rows]
    assert len(ids) == len(set(ids))
    assert set(ids) == {one.event_id for one in load.acknowledged}
    assert Counter(row["status"] for row in rows) == {"processed": len(rows)}
    assert len({one.delivery.id for one in load.acknowledged}) == len(rows)
    assert await parked(daemon) == []
    assert (await daemon.queue("sync-outbound"))["dead"] == 0


def duplicates_are_told(load: Load) -> None:
    """Exactly, by the embedded queue; a broker absorbs them and says nothing."""
    assert {one.status for one in load.again} == {"duplicate"}, "what was acknowledged is known"
    assert load.twins
    assert ("accepted", "accepted") not in [(one.status, other.status) for one, other in load.twins]


async def entities_are_the_fold_of_the_events(daemon: Daemon, load: Load) -> None:
    items = await pages(daemon, "/entities/issue?tenantId=tenant-1", limit=200)
    found = {item["externalIds"]["conn-github"]: item for item in items}
    wanted = load.latest()
    assert {key: item["data"]["title"] for key, item in found.items()} == {
        f"{REPOSITORY}#{number}": title for number, title in wanted.items()
    }
    assert len(items) == len(wanted), "one entity for each issue, however many creators met"
    sent = Counter(f"{REPOSITORY}#{one.delivery.issue}" for one in load.acknowledged)
    for key, item in found.items():
        assert item["version"] <= sent[key], "an event that comes again makes no version"


async def ticks_are_whole(daemon: Daemon, *, within: float) -> None:
    """Each instant has its one tick, and each tick one successful run."""

    async def idle() -> bool:
        return (await daemon.api("GET", f"/jobs/{embedding.JOB}")).ok()["running"] is None

    await eventually(idle, within=within, what="the end of the run under way")
    ticks = [tick for tick in await pages(daemon, f"/jobs/{embedding.JOB}/history") if tick["status"] != "due"]
    ticks = [tick for tick in ticks if tick["status"] != "running"]
    at = sorted(parse(tick["at"]) for tick in ticks)
    assert {tick["status"] for tick in ticks} == {"succeeded"}, ticks
    assert len(ticks) > 2
    assert all(later - earlier == 2.0 for earlier, later in itertools.pairwise(at)), at


def never_two_at_once(lines: list[embedding.Line]) -> None:
    """A run begins when the one before has ended, was cancelled, or died with its process."""
    running: embedding.Line | None = None
    for line in lines:
        if line.what == "begin":
            assert running is None or running.pid != line.pid, (running, line)
            running = line
        else:
            assert running is not None
            assert (running.pid, running.name, running.count) == (line.pid, line.name, line.count)
            running = None


def each_answer_came_after_a_sync(steps: list[Step], acknowledged: list[Acknowledged]) -> None:
    """For each event that was new: a sync of the log that began after its request left and ended before its answer came."""
    syncs: list[tuple[int, int]] = []
    begun: dict[int, list[int]] = {}
    for step in steps:
        if step.path.name == "syncd.db-wal":
            if step.step == "begin":
                begun.setdefault(step.pid, []).append(step.at)
            elif step.step == "end" and begun.get(step.pid):
                syncs.append((step.at, begun[step.pid].pop(0)))
    syncs.sort()
    ends = [end for end, _ in syncs]
    for one in acknowledged:
        if one.status == "accepted":
            before = bisect_right(ends, one.answered)
            latest = max((began for _, began in syncs[max(0, before - 8) : before]), default=0)
            assert latest > one.sent, f"{one.event_id} was answered before it was durable"
