"""The port `Queue` on Service Bus: the caller's side, which waits by the injected clock and hands everything to the I/O thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypeVar

from syncd.adapters.azure.servicebus.browsing import Browser
from syncd.adapters.azure.servicebus.consumer import Consumer, Demand
from syncd.adapters.azure.servicebus.deadletters import Graveyard
from syncd.adapters.azure.servicebus.iothread import IoThread, Reply
from syncd.adapters.azure.servicebus.leases import HeldLease, held
from syncd.adapters.azure.servicebus.link import How
from syncd.adapters.azure.servicebus.sending import Sending
from syncd.domain.errors import Invalid, SyncdError
from syncd.domain.groups import GroupCap
from syncd.ports.clock import Clock
from syncd.ports.deadletters import DeadLetter
from syncd.ports.queue import (
    Delivery,
    Depth,
    Message,
    Next,
    Peeked,
    QueueCapabilities,
    Release,
    Sent,
    Settlement,
)

_SENT = Sent()
_Part = TypeVar("_Part")


class ServiceBusQueue:
    """Made by `open_service_bus`."""

    def __init__(
        self,
        *,
        thread: IoThread,
        clock: Clock,
        consumers: Mapping[str, Consumer],
        sendings: Mapping[str, Sending],
        browsers: Mapping[str, Browser],
        graveyards: Mapping[str, Graveyard],
    ) -> None:
        self._thread = thread
        self._clock = clock
        self._consumers = consumers
        self._sendings = sendings
        self._browsers = browsers
        self._graveyards = graveyards

    @property
    def capabilities(self) -> QueueCapabilities:
        """`priority_lanes`: every queue has, as far as is known by now, all its lanes."""
        lanes = all(sending.lanes_exist for sending in self._sendings.values())
        return QueueCapabilities(exact_depth=False, dedupe_window=False, priority_lanes=lanes)

    async def send(self, queue: str, messages: Sequence[Message]) -> list[Sent]:
        if messages:
            reply: Reply[None] = self._thread.reply()
            self._of(self._sendings, queue).send(messages, reply)
            await reply.future
        return [_SENT] * len(messages)

    async def lease(
        self, queue: str, count: int, *, duration: float, wait: float = 0.0, cap: GroupCap | None = None
    ) -> list[Delivery]:
        consumer = self._of(self._consumers, queue)
        reply: Reply[list[Delivery]] = self._thread.reply(consumer.put_back)
        demand = Demand(count, duration, cap, wait <= 0, reply)
        self._thread.post(lambda: consumer.want(demand))
        if wait <= 0:
            return await self._answer(consumer, demand)
        timer = asyncio.ensure_future(self._clock.sleep(wait))
        try:
            await asyncio.wait((reply.future, timer), return_when=asyncio.FIRST_COMPLETED)
            if not reply.future.done():
                self._thread.post(lambda: consumer.withdraw(demand))
            return await reply.future
        except asyncio.CancelledError:
            self._forget(consumer, demand)
            raise
        finally:
            timer.cancel()

    async def _answer(self, consumer: Consumer, demand: Demand) -> list[Delivery]:
        try:
            return await demand.reply.future
        except asyncio.CancelledError:
            self._forget(consumer, demand)
            raise

    def _forget(self, consumer: Consumer, demand: Demand) -> None:
        """The caller is gone. What it may have got already goes back to the shelf."""
        future = demand.reply.future
        if future.done() and not future.cancelled() and future.exception() is None:
            deliveries = future.result()
            self._thread.post(lambda: consumer.put_back(deliveries))
        else:
            future.cancel()
        self._thread.post(lambda: consumer.withdraw(demand))

    async def extend(self, deliveries: Sequence[Delivery], duration: float) -> list[bool]:
        leases = [held(delivery) for delivery in deliveries]

        async def extend() -> list[bool]:
            await _look_after(leases)
            return [lease.extend(duration) for lease in leases]

        return await self._thread.call(extend)

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        return await self._thread.call(lambda: self._settle(settlements))

    async def _settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """On the I/O thread. What was settled stays so where another one fails: it answers True again when all are tried again."""
        answers = await asyncio.gather(*(self._settle_one(one) for one in settlements), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer is True for answer in answers]

    async def _settle_one(self, settlement: Settlement) -> bool:
        lease = held(settlement.delivery)
        if lease.lost:
            return lease.settled_by is settlement
        if lease.settled_by is not None:
            return False  # another settlement of it is under way
        lease.settled_by = settlement
        done = False
        try:
            if isinstance(settlement, Next):
                sending = self._of(self._sendings, settlement.delivery.queue)
                await sending.send_next(settlement.message, session=lease.session)
            done = await lease.link.settle(lease, How.RELEASE if isinstance(settlement, Release) else How.COMPLETE)
        finally:
            if not done:
                lease.settled_by = None
        return done

    def abandon(self, delivery: Delivery) -> None:
        held(delivery).abandon()

    async def peek(self, queue: str, *, limit: int = 100, after: str | None = None) -> list[Peeked]:
        browser = self._of(self._browsers, queue)
        return await self._thread.call(lambda: browser.peek(limit, after))

    async def depth(self, queue: str, *, at_most: int = 100_000) -> Depth:
        """What other replicas hold counts as ready."""
        browser = self._of(self._browsers, queue)
        return await self._thread.call(lambda: browser.depth(at_most))

    async def sweep(self, *, limit: int = 10_000) -> int:
        """The service forgets ids by itself."""
        return 0

    async def dead_letters(self, queue: str, *, limit: int = 100) -> list[DeadLetter]:
        """The port `DeadLetters`."""
        graveyard = self._of(self._graveyards, queue)
        return await self._thread.call(lambda: graveyard.lease(limit))

    def _of(self, parts: Mapping[str, _Part], queue: str) -> _Part:
        part = parts.get(queue)
        if part is None:
            raise Invalid(f"there is no queue {queue!r}: known are {', '.join(sorted(parts))}")
        return part


async def _look_after(leases: Sequence[HeldLease]) -> None:
    for link in {lease.link for lease in leases}:
        try:
            await link.look_after()
        except SyncdError:
            continue  # unreachable: whether a lease is lost is then decided by its lock's end
