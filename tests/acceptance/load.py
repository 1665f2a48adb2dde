"""Senders that behave as a provider does: each delivery is sent until it is answered 2xx, and now and then once more.

What they were told is the ground truth of a chaos test: an acknowledged delivery must have been processed exactly once, and the
entities must be what the distinct events make of them.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from syncd.domain.times import iso
from tests.acceptance.process import Daemon, Registration

REPOSITORY = 4711
#: The first moment of the made-up provider's own clock.
_EPOCH = 1_767_225_600
#: How long one request may take before its sender gives up and sends it again: GitHub's own patience.
_PATIENCE = 10.0
#: Of what people write into an issue; the largest does not fit into a message and lies in a file of its own.
_SIZES = (10, 1000, 5000, 80_000)
#: Between two deliveries of one sender. A provider does not send as fast as it can.
_PACE = 0.004


@dataclass(frozen=True, slots=True)
class Delivery:
    id: str
    issue: int
    order: int
    """Of all events of all issues: the provider's own time."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Acknowledged:
    delivery: Delivery
    event_id: str
    status: str
    sent: int
    """When the request that was answered left, and when its answer came: time.monotonic_ns()."""
    answered: int


@dataclass(slots=True)
class Load:
    daemon: Daemon
    registration: Registration
    draw: random.Random
    issues: int = 40
    acknowledged: list[Acknowledged] = field(default_factory=list)
    again: list[Acknowledged] = field(default_factory=list)
    """Answers to deliveries that had been acknowledged before."""
    twins: list[tuple[Acknowledged, Acknowledged]] = field(default_factory=list)
    """Answers to deliveries that were sent twice at the same time."""
    refused: list[str] = field(default_factory=list)
    """Answers that were no 2xx."""
    unanswered: int = 0
    up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the daemon is there; senders that got no answer wait for it."""
    _order: int = 0
    _stopping: bool = False
    _progress: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def sending(self, senders: int = 8) -> AsyncIterator[None]:
        """Senders at work; at the end each brings the delivery in its hands to its end."""
        self.up.set()
        tasks = [asyncio.create_task(self._send_on()) for _ in range(senders)]
        try:
            yield
            self._stopping = True
            async with asyncio.timeout(100):
                await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def until_acknowledged(self, count: int) -> None:
        async with asyncio.timeout(100):
            while len(self.acknowledged) < count:
                self._progress.clear()
                await self._progress.wait()

    def latest(self) -> dict[int, str]:
        """What each issue's title must be in the end: that of its latest acknowledged event."""
        newest: dict[int, Delivery] = {}
        for one in self.acknowledged:
            known = newest.get(one.delivery.issue)
            if known is None or known.order < one.delivery.order:
                newest[one.delivery.issue] = one.delivery
        return {number: json.loads(delivery.body)["issue"]["title"] for number, delivery in newest.items()}

    def _next(self) -> Delivery:
        self._order += 1
        number = self.draw.randrange(self.issues)
        moment = iso(_EPOCH + self._order)
        body = {
            "action": self.draw.choice(("opened", "edited", "labeled", "closed")),
            "issue": {
                "id": 10_000 + number,
                "number": number,
                "title": f"title {self._order}",
                "body": "x" * self.draw.choices(_SIZES, weights=(60, 30, 9, 1))[0],
                "created_at": iso(_EPOCH),
                "updated_at": moment,
            },
            "repository": {"id": REPOSITORY, "updated_at": moment},
        }
        return Delivery(str(uuid.UUID(int=self.draw.getrandbits(128))), number, self._order, json.dumps(body).encode())

    async def _send_on(self) -> None:
        while not self._stopping:
            delivery = self._next()
            if self.draw.random() < 0.1:
                both = await asyncio.gather(self._until_acknowledged(delivery), self._until_acknowledged(delivery))
                self.twins.append((both[0], both[1]))
                self.acknowledged.append(next((one for one in both if one.status == "accepted"), both[0]))
            else:
                self.acknowledged.append(await self._until_acknowledged(delivery))
            self._progress.set()
            if self.draw.random() < 0.3:
                self.again.append(await self._until_acknowledged(delivery))
            await asyncio.sleep(_PACE)  # the pace of a provider is part of the load

    async def _until_acknowledged(self, delivery: Delivery) -> Acknowledged:
        while True:
            sent = time.monotonic_ns()
            try:
                async with asyncio.timeout(_PATIENCE):
                    answer = await self.daemon.post_webhook(self.registration, delivery.body, delivery=delivery.id)
            except (aiohttp.ClientError, OSError, TimeoutError):
                self.unanswered += 1
                await self.up.wait()
                await asyncio.sleep(0)  # refused by a port that is not listening yet: nothing signals that it is
                continue
            if 200 <= answer.status < 300:
                told = answer.json()
                return Acknowledged(delivery, told["eventId"], told["status"], sent, time.monotonic_ns())
            self.refused.append(f"{answer.status} {answer.body.decode(errors='replace')}")
            await asyncio.sleep(_PACE)  # a provider tries again after a pause, whatever it was told
