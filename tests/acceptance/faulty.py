"""A daemon with services of its own in the hands of a test, and what goes wrong with each of them.

The daemon is a process on its own clock; the services are doubles on the wire, Redis and Azurite.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence, Set
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.acceptance.process import Answer, Daemon, Registration, eventually
from tests.acceptance.reading import component, events, logged, parked
from tests.acceptance.services import ALONE
from tests.acceptance.test_durability import issue
from tests.wire.azurite import Unavailable
from tests.wire.keyvault.double import OFFICER
from tests.wire.proxy import FaultyProxy
from tests.wire.stack import Stack, stack

#: A title whose webhook does not fit into a message, and lies in a blob.
LARGE = "x" * 80_000


@dataclass
class Site:
    services: Stack
    blobs: FaultyProxy
    daemon: Daemon
    registration: Registration = field(init=False)
    accepted: set[str] = field(default_factory=set)
    numbers: int = 0

    async def ask(self) -> list[int]:
        """One round of what needs every part: statuses, 0 where there was no answer."""
        small, large = self.numbers, self.numbers + 1
        self.numbers += 2
        return [
            await self.send(small),
            await self.send(large, LARGE),
            await self.status(self.register(small)),
        ]

    async def send(self, number: int, title: str = "a title") -> int:
        answer = None
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            answer = await self.daemon.post_webhook(self.registration, issue(number, title))
            if answer.status == 200:
                self.accepted.add(answer.json()["eventId"])
        return 0 if answer is None else answer.status

    def register(self, number: int) -> Awaitable[Answer]:
        """A secret for the vault."""
        body = {
            "id": f"reg-{number}",
            "tenantId": "tenant-2",
            "integrationId": "github",
            "scheme": "github",
        }
        return self.daemon.api("POST", "/webhooks", body)

    async def works(self, before: Set[str]) -> bool:
        """Whether any event is through that was answered after those. Not which: what the broker sent down a connection that was dead
        comes again when its lock has run out, and `all_is_well` waits for it."""
        found = (await self.daemon.api("GET", f"/webhooks/{self.registration.id}/events?limit=100")).ok()["items"]
        return any(row["status"] == "processed" and row["eventId"] in self.accepted - before for row in found)

    @staticmethod
    async def status(asking: Awaitable[Answer]) -> int:
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            return (await asking).status
        return 0

    async def in_use(self, fault: Fault) -> bool:
        status, detail = await self.said(fault.part)
        return status == "ok" or bool(fault.well and fault.well in detail)

    async def said(self, part: str) -> tuple[str, str]:
        found = await component(self.daemon, part)
        assert found is not None, part
        return found["status"], found["detail"]

    async def all_is_well(self) -> None:
        """And nothing that was answered is lost, doubled or set aside. However long they take, of whom a minute's outage leaves a
        thousand: as long as there are fewer and fewer."""
        left = len(self.accepted) + 1

        async def fewer() -> bool:
            nonlocal left
            applied = {row["eventId"] for row in await events(self.daemon) if row["status"] == "processed"}
            before, left = left, len(self.accepted - applied)
            return left < before

        while left:
            await eventually(fewer, within=60, what="any more of the answered events")
        assert await parked(self.daemon) == []
        entities = (await self.daemon.api("GET", "/entities/issue?tenantId=tenant-1&limit=500")).ok()["items"]
        assert {entity["version"] for entity in entities} == {1}
        for event in ("service_failed", "handler_bug"):
            assert logged(self.daemon, event) == [], event
        assert len(logged(self.daemon, "ready")) == 1, "it was never restarted"


@asynccontextmanager
async def site(directory: Path, *, start: bool = True) -> AsyncIterator[Site]:
    try:
        async with stack(directory) as services, FaultyProxy(services.azurite.address).serving() as blobs:
            environment = {
                **services.environment,
                "AZURE_STORAGE_CONNECTION_STRING": services.azurite.connection_string.replace(
                    services.azurite.address, blobs.url
                ),
                **ALONE,
            }
            one = Site(services, blobs, Daemon(directory / "data", environment=environment))
            try:
                if start:
                    await one.daemon.start()
                    one.registration = await one.daemon.register_github()
                yield one
            finally:
                await one.daemon.close()
    except Unavailable as error:
        pytest.skip(f"no Blob Storage here: {error}")


Act = Callable[[Site], Awaitable[object]]


@dataclass(frozen=True)
class Fault:
    """`part`: whose row of `/readyz` says so, with one of `words`."""

    what: str
    part: str
    strike: Act
    mend: Act
    words: Sequence[str] = ()
    well: str = ""
    """What the part may go on to say of itself when it is in use again."""
    lasts: bool = True
    """Until it is mended; the others are over as soon as they are found out, and nobody need say so."""


async def nothing(_: Site) -> None: ...


def plain(act: Callable[[Site], object]) -> Act:
    async def acting(one: Site) -> None:
        act(one)

    return acting


BROKER = [
    Fault(
        "the broker is gone",
        "queue",
        plain(lambda one: one.services.service_bus.refuse()),
        lambda one: one.services.service_bus.accept(),
    ),
    Fault(
        "the broker says nothing",
        "queue",
        plain(lambda one: one.services.service_bus.silence()),
        plain(lambda one: one.services.service_bus.speak()),
    ),
    Fault(
        "the broker refuses attaches, sends and receives as busy",
        "queue",
        plain(lambda one: one.services.service_bus.throttle()),
        plain(lambda one: one.services.service_bus.heal()),
    ),
    Fault(
        "an entity is disabled",
        "queue",
        plain(lambda one: one.services.service_bus.disable("sync-outbound")),
        plain(lambda one: one.services.service_bus.enable("sync-outbound")),
        ("sync-outbound",),
    ),
    Fault(
        "every connection is half-open",
        "queue",
        plain(lambda one: one.services.service_bus.half_open()),
        nothing,
        lasts=False,
    ),
    Fault(
        "every token has ended",
        "queue",
        plain(lambda one: one.services.service_bus.expire_tokens()),
        nothing,
        lasts=False,
    ),
]
DOCUMENTS = [
    Fault(
        "connections to the account are cut",
        "documents",
        plain(lambda one: one.services.cosmos.faults.drop(math.inf)),
        plain(lambda one: one.services.cosmos.faults.clear()),
    ),
    Fault(
        "the account says nothing",
        "documents",
        plain(lambda one: one.services.cosmos.faults.hold()),
        plain(lambda one: one.services.cosmos.faults.clear()),
    ),
    Fault(
        "a storm of 429",
        "documents",
        plain(lambda one: one.services.cosmos.faults.fail(math.inf, 429, retry_after_ms=1000)),
        plain(lambda one: one.services.cosmos.faults.clear()),
    ),
    Fault(
        "the account answers 503",
        "documents",
        plain(lambda one: one.services.cosmos.faults.fail(math.inf, 503)),
        plain(lambda one: one.services.cosmos.faults.clear()),
    ),
]
OTHERS = [
    Fault(
        "Redis is killed",
        "limiter",
        plain(lambda one: one.services.redis.kill()),
        lambda one: asyncio.to_thread(one.services.redis.start),
        ("Redis does not decide",),
        well="Redis may have forgotten charges",
    ),
    Fault(
        "Redis says nothing",
        "limiter",
        plain(lambda one: one.services.redis.pause()),
        plain(lambda one: one.services.redis.resume()),
        ("Redis does not decide",),
        well="Redis may have forgotten charges",  # of the kill before
    ),
    Fault(
        "Key Vault refuses the right to write",
        "vault",
        plain(lambda one: setattr(one.services.key_vault, "rights", frozenset({"get", "list"}))),
        plain(lambda one: setattr(one.services.key_vault, "rights", OFFICER)),
        ("setSecret", "Secrets Officer", "403", "right"),
    ),
    Fault(
        "Key Vault is throttled",
        "vault",
        plain(lambda one: one.services.key_vault.faults.always(429, headers={"Retry-After": "1"})),
        plain(lambda one: one.services.key_vault.faults.clear()),
    ),
    Fault(
        "Key Vault answers 503",
        "vault",
        plain(lambda one: one.services.key_vault.faults.always(503)),
        plain(lambda one: one.services.key_vault.faults.clear()),
    ),
    Fault(
        "Blob Storage answers 503",
        "blobs",
        plain(lambda one: one.blobs.faults.always(503)),
        plain(lambda one: one.blobs.faults.clear()),
    ),
    Fault(
        "Blob Storage is frozen",
        "blobs",
        plain(lambda one: one.services.azurite.freeze()),
        plain(lambda one: one.services.azurite.thaw()),
    ),
]
