"""Random kill -9 of the real daemon under pulls and pushes: whatever the one system holds, the other holds once, and nothing is owed.

    CHAOS_KILLS=200 CHAOS_SEED=7 pytest tests/acceptance/test_sync_kills.py        (`make chaos`)

The second system's own memory and log are the witness. A push whose sender was killed waits for the end of its lease; the clock of
the daemon, and of the services behind it, is set forward over it while it is down.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from syncd.domain.jsontypes import JsonObject
from tests.acceptance.process import Daemon, eventually
from tests.acceptance.reading import logged, parked
from tests.acceptance.services import patience, services_of
from tests.acceptance.syncing import (
    ENDED,
    TYPE,
    System,
    assert_sums_up,
    begin,
    config,
    connect,
    ended,
    entities,
    in_step,
    run,
    task,
    told,
)
from tests.shims.clockshift import ClockShift

KILLS = int(os.environ.get("CHAOS_KILLS", "10"))
#: Of each of the smaller forms.
FEW = max(KILLS // 4, 3)
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1, 2**31)
#: What the first pull finds; behind services, where each of them takes longer, fewer.
CONTACTS = 2000
#: Seconds; more than a push lease lasts (domain/pushing).
OVER = 80

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 15 * KILLS)]


class Killed:
    """A daemon that is killed again and again, and its clock."""

    def __init__(self, directory: Path, draw: random.Random) -> None:
        self.draw = draw
        self._clock = ClockShift(directory / "clock")
        self._ahead = 0
        settings = config(directory, sync={"slice": '"1s"'})
        services_of(directory / "data", environment=self._clock.environment)
        self.daemon = Daemon(directory / "data", environment={**settings, **self._clock.environment})

    async def kill(self) -> None:
        await self.daemon.kill9()
        if self.draw.random() < 0.5:
            self.pass_leases()
        if self.draw.random() < 0.2:
            await self.daemon.launch()
            await asyncio.sleep(self.draw.uniform(0.0, 1.0))  # the random moment itself
            await self.daemon.kill9()
        await self.daemon.start()

    async def to_the_end(self) -> None:
        """Once more, and then nobody is killed any more: every lease of the dead is over."""
        await self.daemon.kill9()
        self.pass_leases()
        await self.daemon.start()
        await in_step(self.daemon, within=90)

    def pass_leases(self) -> None:
        self._ahead += OVER
        self._clock.set(self._ahead)


@dataclass
class Rounds:
    """Changes in one system, and a task that pulls them; then more of both."""

    daemon: Daemon
    crm: System
    draw: random.Random
    contacts: int = field(default_factory=lambda: int(CONTACTS / patience()))
    tasks: list[tuple[str, JsonObject]] = field(default_factory=list)
    """With what each must count."""

    async def first(self) -> None:
        self.crm.fill(self.contacts)
        await self._begin({"fetched": self.contacts, "created": self.contacts})

    async def going(self) -> None:
        """Begin the next one when the last has ended."""
        if (await task(self.daemon, self.tasks[-1][0]))["status"] not in ENDED:
            return
        number, crm = len(self.tasks), self.crm
        self._pass_time()
        full = self.draw.random() < 0.3
        chosen = self.draw.sample(crm.ids(TYPE), 205)
        for one in chosen[:200]:
            crm.edit(TYPE, one, {"name": f"Round {number} {one}"})
        for one in chosen[200:] if not full else ():
            crm.remove(TYPE, one)
        for more in range(30):
            crm.put(TYPE, self.contacts + number * 30 + more)
        expected: JsonObject = {"created": 30, "updated": 200}
        if full:
            expected |= {"fetched": len(crm.ids(TYPE)), "unchanged": len(crm.ids(TYPE)) - 230}
        else:
            expected |= {"fetched": 235, "deleted": 5}
        await self._begin(expected, full=full)

    async def _begin(self, expected: JsonObject, *, full: bool = False) -> None:
        self._pass_time()  # so that the next pull asks for what is newer than this
        self.tasks.append((await begin(self.daemon, "crm", full=full), expected))

    def _pass_time(self) -> None:
        self.crm.now += 500

    async def a_slice_ends(self) -> None:
        """A message whose worker dies five times before it has come to anything is set aside; that is promised elsewhere."""
        identifier = self.tasks[-1][0]
        hop = (await task(self.daemon, identifier))["hop"]

        async def on() -> bool:
            found = await task(self.daemon, identifier)
            return found["status"] in ENDED or found["hop"] > hop

        await eventually(on, within=60 * patience(), what="a slice's end")


async def busy(systems: list[System], count: int) -> None:
    """Wait for so many more requests, or until none comes any more."""

    def all_in_all() -> int:
        return sum(len(one.arrivals) for one in systems)

    wanted = all_in_all() + count
    quiet = 0
    while all_in_all() < wanted and quiet < 20:
        before = all_in_all()
        await asyncio.sleep(0.02)  # requests of another process give no signal here
        quiet = quiet + 1 if all_in_all() == before else 0


async def test_random_kills_under_pull_and_push_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    print(f"CHAOS_SEED={SEED} CHAOS_KILLS={KILLS}")
    draw = random.Random(SEED)
    killed = Killed(tmp_path, draw)
    daemon = killed.daemon
    async with AsyncExitStack() as stack:
        crm = await stack.enter_async_context(System(latency=0.05, draw=draw).at_work())
        mail = await stack.enter_async_context(System(latency=0.02, draw=draw).at_work())
        crm.now -= 10 * 86400  # so that its clock can be set forward all the while
        await stack.enter_async_context(daemon)
        await connect(daemon, "crm", crm)
        await connect(daemon, "mail", mail)
        rounds = Rounds(daemon, crm, draw)
        await rounds.first()
        for kill in range(KILLS):
            await rounds.going()
            if kill % 3 == 0:
                await rounds.a_slice_ends()
            await busy([crm, mail], draw.randrange(1, 300))
            await killed.kill()
        results = [await ended(daemon, one) for one, _ in rounds.tasks]
        await killed.to_the_end()
        for result, (_, expected) in zip(results, rounds.tasks, strict=True):
            assert result["status"] == "succeeded", result
            assert told(result) == expected, "each record counts once, however often its page was stored"
            assert_sums_up(result)
        assert mail.contents() == crm.contents()
        assert set(mail.made().values()) == {1}, "one object for each key"
        assert crm.writes() == [], "nothing goes back to where it came from"
        await one_entity_for_each(daemon, crm, mail)
        for queue in ("sync-inbound", "sync-outbound"):
            assert await parked(daemon, queue) == []
    for event in ("handler_bug", "service_failed", "outcome_not_recorded"):
        assert logged(daemon, event) == [], event
    sent = Counter(one.headers["idempotency-key"] for one in mail.writes("POST"))
    print(f"{len(rounds.tasks)} rounds, {len(sent)} made, {sum(sent.values()) - len(sent)} creates sent again")


async def one_entity_for_each(daemon: Daemon, crm: System, mail: System) -> None:
    found = await entities(daemon)
    assert Counter(one["externalIds"]["crm"] for one in found) == Counter(crm.ids(TYPE))
    assert Counter(one["externalIds"]["mail"] for one in found) == Counter(mail.ids(TYPE))
    assert {one["data"]["name"]: one["data"] for one in found} == crm.contents()


async def test_creates_that_are_looked_up_are_made_once_whoever_is_killed(tmp_path: Path) -> None:
    async with smaller_form(tmp_path, "offset", 150) as (daemon, crm, mail):
        assert await parked(daemon) == []
        assert mail.contents() == crm.contents()
        assert set(mail.made().values()) == {1}
        await one_entity_for_each(daemon, crm, mail)


async def test_creates_that_nobody_can_tell_are_never_repeated_and_nothing_else_is_lost(tmp_path: Path) -> None:
    async with smaller_form(tmp_path, "cursor", 150) as (daemon, crm, mail):
        there = mail.contents()  # nobody twice
        aside = await parked(daemon)
        assert aside, "the kills hit nobody"
        assert {(one["bin"], one["connectionId"]) for one in aside} == {("outcome_unknown", "mail")}
        held = [one for one in await entities(daemon) if "held" in one["links"]["mail"]]
        assert len(held) == len(aside)
        missing = crm.contents().keys() - there.keys()
        assert missing <= {one["data"]["name"] for one in held}, "what is not there is set aside, and nothing else"
        assert len(mail.writes("POST")) == len(there), "each was sent once"
        assert {name: one for name, one in crm.contents().items() if name in there} == there
        # What the other system shows tells the ones that were made; a person lets the others go on.
        await run(daemon, "mail", full=True)
        held = [one for one in await entities(daemon) if "mail" not in one["externalIds"]]
        assert {one["data"]["name"] for one in held} == missing
        (await daemon.api("POST", "/queues/sync-outbound/replay", {"bin": "outcome_unknown"})).ok()
        await in_step(daemon)
        assert mail.contents() == crm.contents()
        assert len(mail.writes("POST")) == len(mail.ids(TYPE))
        await one_entity_for_each(daemon, crm, mail)
        assert await parked(daemon) == []


@asynccontextmanager
async def smaller_form(tmp_path: Path, style: str, contacts: int) -> AsyncIterator[tuple[Daemon, System, System]]:
    """Contacts pulled in parts and pushed to a system that creates in its own way; killed in the middle of each part."""
    print(f"CHAOS_SEED={SEED} CHAOS_KILLS={FEW}")
    draw = random.Random(SEED)
    killed = Killed(tmp_path, draw)
    daemon = killed.daemon
    async with AsyncExitStack() as stack:
        crm = await stack.enter_async_context(System(latency=0.02, draw=draw).at_work())
        mail = await stack.enter_async_context(System(style, latency=0.1, draw=draw).at_work())
        await stack.enter_async_context(daemon)
        await connect(daemon, "crm", crm)
        await connect(daemon, "mail", mail)
        for _ in range(FEW):
            for _ in range(contacts // FEW):
                crm.put(TYPE, len(crm.contacts))
            await run(daemon, "crm", full=True)
            await busy([mail], draw.randrange(1, contacts // FEW))
            await killed.kill()
        await killed.to_the_end()
        assert len(await entities(daemon)) == len(crm.ids(TYPE))
        yield daemon, crm, mail
        assert crm.writes() == [], "nothing goes back to where it came from"
        assert await parked(daemon, "sync-inbound") == []
