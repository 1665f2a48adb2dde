"""Claim check: a body too large for a message waits in a blob, and the message carries its name.

Blobs are named `claims/<yyyymmdd>/<ulid>`; maintenance removes them once nothing can ask for them any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from syncd.domain.groups import GroupCap
from syncd.domain.ids import ulid
from syncd.domain.times import DAY, day
from syncd.ports.blobs import Blobs
from syncd.ports.clock import Clock
from syncd.ports.queue import Delivery, Depth, Message, Next, Peeked, Queue, QueueCapabilities, Sent, Settlement

PREFIX = "claims/"
#: A message that goes on for longer than this takes its body along into a younger blob: maintenance removes those of eight days.
RENEW_AFTER = 6 * DAY


def _old(name: str, now: float) -> bool:
    return name.startswith(PREFIX) and name[len(PREFIX) :].partition("/")[0] < day(now - RENEW_AFTER)


class ClaimCheckedQueue:
    """A Queue that takes bodies of any size. The blob is durable before the message that names it."""

    def __init__(self, queue: Queue, blobs: Blobs, *, inline_bytes: int, clock: Clock) -> None:
        self._queue = queue
        self._blobs = blobs
        self._inline = inline_bytes
        self._clock = clock

    @property
    def capabilities(self) -> QueueCapabilities:
        return self._queue.capabilities

    async def send(self, queue: str, messages: Sequence[Message]) -> list[Sent]:
        for message in messages:
            if len(message.body) > self._inline:
                messages = [await self._checked(message) for message in messages]
                break
        return await self._queue.send(queue, messages)

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        checked = [
            Next(settlement.delivery, await self._checked(settlement.message))
            if isinstance(settlement, Next)
            else settlement
            for settlement in settlements
        ]
        return await self._queue.settle(checked)

    async def _checked(self, message: Message) -> Message:
        now = self._clock.now()
        name = message.envelope.body_ref
        if name is not None and not message.body and _old(name, now):
            message = replace(message, body=await self._blobs.get(name))  # it would be swept while the message lives on
        if len(message.body) <= self._inline:
            return message
        name = f"{PREFIX}{day(now)}/{ulid(now)}"
        await self._blobs.put(name, message.body)
        return replace(message, envelope=replace(message.envelope, body_ref=name), body=b"")

    async def lease(
        self, queue: str, count: int, *, duration: float, wait: float = 0.0, cap: GroupCap | None = None
    ) -> list[Delivery]:
        return await self._queue.lease(queue, count, duration=duration, wait=wait, cap=cap)

    async def extend(self, deliveries: Sequence[Delivery], duration: float) -> list[bool]:
        return await self._queue.extend(deliveries, duration)

    def abandon(self, delivery: Delivery) -> None:
        self._queue.abandon(delivery)

    async def peek(self, queue: str, *, limit: int = 100, after: str | None = None) -> list[Peeked]:
        return await self._queue.peek(queue, limit=limit, after=after)

    async def depth(self, queue: str, *, at_most: int = 100_000) -> Depth:
        return await self._queue.depth(queue, at_most=at_most)

    async def sweep(self, *, limit: int = 10_000) -> int:
        return await self._queue.sweep(limit=limit)
