"""The story of the tour: everything at once, kill -9 in the middle, a restart, people at work, and rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import aiohttp

from syncd.demo.acts import QUEUE, Acts, until
from syncd.demo.cast import MAIL_QUOTA, MAIL_WINDOW, Cast
from syncd.demo.connections import (
    CONTACT,
    CRM,
    MAIL,
    TENANT,
    crm,
    crm_hook,
    github,
    github_hook,
    mail_list,
)
from syncd.demo.delivering import Delivering
from syncd.demo.desk import Desk
from syncd.demo.narration import Counting, Narrator
from syncd.demo.readback import LOOK, PAGE, Api
from syncd.domain.errors import SyncdError
from syncd.domain.jsontypes import JsonObject
from syncd.domain.tasksteps import LEASE

#: Between two readings of the figures while the bars move, and between two looks at what waits. Seconds.
_GLANCE, _LOOK_AT_QUEUE = 0.25, 0.5
#: What the CRM's own people change meanwhile: one contact in so many, in so many seconds.
_CHANGED, _CHANGING_TIME = 8, 8.0
#: The daemon is killed when so much of each has happened, or, should one lag behind, when the pull is nearly over.
_PULLED, _PUSHED, _DELIVERED, _LATEST = 0.35, 0.05, 0.2, 0.95
ENDED = ("succeeded", "partial", "failed", "cancelled", "parked")
WEBHOOKS, PULLED, PUSHED = "webhooks answered", "contacts pulled", "on the mail list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    contacts: int
    events: int


@dataclass(slots=True)
class Seen:
    """What only a look at the right moment shows."""

    pushes_waiting: int = 0
    """Most messages that waited at once for their push to the mail list."""
    attempts: int = 0
    """Most failed attempts of one of them: what waits burns none."""


class Story:
    def __init__(self, cast: Cast, narrator: Narrator, *, api: Api, crm: Desk, mail: Desk, sizes: Sizes) -> None:
        self._cast = cast
        self._narrator = narrator
        self._api = api
        self._crm = crm
        self._mail = mail
        self._sizes = sizes
        self._sending = Delivering(sizes.events)
        self.acts = Acts(api=api, crm=crm, narrator=narrator)
        self.seen = Seen()
        self.pulled = self.pushed = ""
        """The tasks: of the CRM, and at the end of the mail list, which finds nothing left to do."""

    async def tell(self) -> None:
        """Until everything has come to rest. Raises SyncdError where a process ends before its time."""
        await self._open()
        async with self._watched():
            await self._middle()
            await self._restart()
            await self.acts.play()
            await self._rest()

    async def _open(self) -> None:
        say, cast, sizes = self._narrator.say, self._cast, self._sizes
        took = await cast.start_daemons(self._api)
        pids = ", ".join(str(replica.child.process.pid) for replica in cast.replicas)
        if cast.shared:
            say(f"1. {self._daemons} {pids}, ready after {took:.1f} s, on the Service Bus,")
            say(
                "   Cosmos DB, Key Vault, Redis and Blob Storage that the environment names. They keep nothing of their own."
            )
        else:
            say(f"1. The daemon runs (process {pids}), ready after {took:.1f} s, in {cast.doomed.data}")
        await cast.start_systems(sizes.contacts)
        say(f"2. A CRM with {sizes.contacts:,} contacts and an empty mail list run, in processes of their own.")
        await self._connect()
        say("   Over the daemon's API: a connection to each, by settings alone, and two signed webhooks.")
        await cast.start_sender(sizes.events)
        self.pulled = await self._task(CRM, "pull")
        changes = max(20, sizes.contacts // _CHANGED)
        await self._crm.ask("POST", "/life", {"changes": changes, "seconds": _CHANGING_TIME})
        say("3. All at once: a task pulls the contacts, and each is pushed on to the mail list, which takes")
        say(
            f"   {MAIL_QUOTA} requests in {MAIL_WINDOW} s: the rest waits. People change {changes} contacts in the CRM: webhooks."
        )
        say(f"   GitHub sends {sizes.events:,} events, one in twenty twice on purpose. Only a 2xx ends a delivery.")

    async def _connect(self) -> None:
        cast, ask = self._cast, self._api.ask
        for connection in (crm(cast.crm_url, cast.crm_key), mail_list(cast.mail_url, cast.mail_key), github()):
            await ask("POST", "/connections", connection)
        for hook in (crm_hook(cast.crm_secret), github_hook(cast.github_secret)):
            await ask("POST", "/webhooks", hook)

    async def _middle(self) -> None:
        """Pull, pushes and webhooks are all under way."""
        sizes = self._sizes
        while True:
            self._alive()
            listed, there = (await self._crm.status())["listed"], await self._mail.status()
            members, writing = there["members"], there["writing"]
            pulled = listed / sizes.contacts
            far = members >= _PUSHED * sizes.contacts and self._sending.delivered >= _DELIVERED * sizes.events
            if pulled >= _LATEST or (pulled >= _PULLED and far and writing):
                break
            await asyncio.sleep(LOOK)  # what another process does gives no signal here
        await self._cast.doomed.child.kill9()
        say, others = self._narrator.say, len(self._cast.replicas) - 1
        whom, then = ("", "Nobody listens.") if not others else (f" of {self._cast.doomed.name}", "The others go on.")
        say(
            f"4. kill -9{whom}, at {self._sending.delivered:,} of {sizes.events:,} webhooks, {listed:,} of {sizes.contacts:,} contacts pulled,",
            "bold red",
        )
        say(f"   {members:,} on the mail list, and {writing} writes on their way to it. {then}", "bold red")

    async def _restart(self) -> None:
        cast, say = self._cast, self._narrator.say
        killed = time.monotonic()
        await cast.doomed.start(self._api)
        took = time.monotonic() - killed
        waiting = await self._api.waiting()
        pid, lost = cast.doomed.child.process.pid, self._sending.unanswered
        if cast.shared:
            say(f"5. Back after {took:.1f} s (process {pid}). {waiting:,} messages wait in the queues;", "bold green")
            say(
                f"   webhooks in flight: {lost:,}, sent again. What it had in hand the others take over when its",
                "bold green",
            )
            say(
                f"   locks and leases end: a pull after {LEASE:g} s. A write in flight is looked for before it is repeated.",
                "bold green",
            )
        else:
            say(
                f"5. Back after {took:.1f} s on the same directory (process {pid}). {waiting:,} messages wait there;",
                "bold green",
            )
            say(
                f"   webhooks in flight: {lost:,}, sent again. A write in flight is looked for before it is repeated.",
                "bold green",
            )
        say("6. Meanwhile people work:")

    async def _rest(self) -> None:
        """Nobody has anything left to do, here or there."""
        await self._sending.ended()
        if await self._cast.sender.process.wait() != 0:
            raise SyncdError(f"the sender failed:\n{self._cast.tail()}")
        await until(lambda: self._ended(self.pulled))
        # A change there makes a webhook, that a message here, that perhaps a write there, and that a webhook.
        while not all([await self._idle() for _ in range(2)]):
            self._alive()
            await asyncio.sleep(LOOK)  # an empty queue of another process gives no signal
        self._narrator.say("7. Everything is at rest. A task looks whether anything is still owed to the mail list.")
        self.pushed = await self._task(MAIL, "push")
        await until(lambda: self._ended(self.pushed))
        while not await self._idle():  # noqa: ASYNC110 - as above
            await asyncio.sleep(LOOK)  # as above

    async def _task(self, connection: str, mode: str) -> str:
        task: JsonObject = {
            "tenantId": TENANT,
            "integrationId": "rest",
            "connectionId": connection,
            "syncMode": mode,
            "priority": "high",
            "entityType": CONTACT,
        }
        identifier: str = (await self._api.ask("POST", "/tasks", task))["id"]
        return identifier

    async def _ended(self, task_id: str) -> bool:
        self._alive()
        return (await self._api.ask("GET", f"/tasks/{task_id}"))["status"] in ENDED

    async def _idle(self) -> bool:
        there = await self._crm.status()
        return not there["living"] and not there["hooksWaiting"] and await self._api.waiting() == 0

    @property
    def _daemons(self) -> str:
        count = len(self._cast.replicas)
        return "A daemon runs, process" if count == 1 else f"{count} replicas run, processes"

    def _alive(self) -> None:
        self._cast.alive()

    # -- bars --

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        totals = {WEBHOOKS: self._sizes.events, PULLED: self._sizes.contacts, PUSHED: self._sizes.contacts}
        with self._narrator.counting(totals) as counting:
            lines = self._cast.sender.process.stdout
            background = [
                asyncio.create_task(self._sending.follow(lines, lambda count: counting.reached(WEBHOOKS, count))),
                asyncio.create_task(self._glances(counting)),
                asyncio.create_task(self._look_at_queue()),
            ]
            try:
                yield
                await self._glance(counting)
            finally:
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)

    async def _glances(self, counting: Counting) -> None:
        """Only bars; the books are balanced from records and logs."""
        while True:
            with suppress(aiohttp.ClientError, TimeoutError, SyncdError):
                await self._glance(counting)
            await asyncio.sleep(_GLANCE)  # a bar needs no more than that

    async def _glance(self, counting: Counting) -> None:
        counting.reached(PULLED, min((await self._crm.status())["listed"], self._sizes.contacts))
        counting.reached(PUSHED, min((await self._mail.status())["members"], self._sizes.contacts))

    async def _look_at_queue(self) -> None:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError, SyncdError):
                page = await self._api.ask("GET", f"/queues/{QUEUE}/peek", query={"limit": str(PAGE)})
                waiting = [
                    one
                    for one in page["items"]
                    if (one["kind"], one["state"], one.get("group")) == ("push", "scheduled", f"{TENANT}:{MAIL}")
                ]
                self.seen.pushes_waiting = max(self.seen.pushes_waiting, len(waiting))
                self.seen.attempts = max([self.seen.attempts, *(one.get("attempt", 0) for one in waiting)])
            await asyncio.sleep(_LOOK_AT_QUEUE)  # a look now and then
