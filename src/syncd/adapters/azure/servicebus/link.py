"""One receiver of one entity. Everything on its connection takes turns, because the SDK reads and writes one socket under one lock.

    take    asks for messages; the only one that waits, and whoever else wants the connection interrupts it
    settle  what many callers settle at the same time leaves together
    watch   renews locks, gives up what was abandoned, notices what was lost
    probe   asks the broker something when it was silent for too long

An interrupted poll loses nothing: messages that had come are its answer, those still on their way are the next one's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum
from typing import TYPE_CHECKING

from azure.servicebus.exceptions import MessageAlreadySettled, MessageLockLostError, SessionLockLostError

from syncd.adapters.azure.servicebus import sdk
from syncd.adapters.azure.servicebus.connection import Connection, NothingThere, Patience, never, told
from syncd.domain.errors import SyncdError
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage
    from azure.servicebus.aio import ServiceBusReceiver

    from syncd.adapters.azure.servicebus.leases import HeldLease
    from syncd.adapters.azure.servicebus.wire import Received

LOST = (MessageLockLostError, MessageAlreadySettled, SessionLockLostError)
#: Settled by one turn; and messages asked for by one.
MOST_AT_ONCE = 200
#: Locks renewed by one request.
MOST_RENEWED = 100
#: How often held locks are looked at. Seconds.
WATCH_EVERY = 0.1
#: The pause after the broker could not be asked. Seconds.
WATCH_AGAIN = 0.5


class How(Enum):
    COMPLETE = "completing"
    RELEASE = "releasing"
    ABANDON = "abandoning"


class Link:
    def __init__(
        self,
        entity: str,
        make: Callable[[], ServiceBusReceiver],
        *,
        clock: Clock,
        observe: Observe,
        patience: Patience,
        optional: bool = False,
        is_nothing: Callable[[Exception], bool] = never,
    ) -> None:
        """`optional`: that the entity does not exist is no news."""
        self.entity = entity
        self._clock = clock
        self._observe = observe
        self._patience = patience
        self._connection: Connection[ServiceBusReceiver] = Connection(
            entity, make, observe, patience, optional, is_nothing
        )
        self._turn = asyncio.Lock()
        self._urgent = 0
        self._poll: asyncio.Task[list[ServiceBusReceivedMessage]] | None = None
        self._probing: asyncio.Task[SyncdError | None] | None = None
        self._kept: list[ServiceBusReceivedMessage] = []
        self._settling: list[tuple[HeldLease, How, asyncio.Future[bool]]] = []
        self._flush: asyncio.Task[None] | None = None
        self._held: set[HeldLease] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._heard_at = 0.0
        self._replies = 0

    @property
    def error(self) -> SyncdError | None:
        return self._connection.error

    @property
    def held(self) -> set[HeldLease]:
        return self._held

    # Receiving

    async def take(self, count: int, patience: float, *, gap: float | None = None) -> list[ServiceBusReceivedMessage]:
        """Up to `count` messages; waits up to `patience` seconds for the first, and then while another comes within `gap`.

        May be cancelled at any time: what had come by then is the next call's. Raises Unavailable or Overloaded.
        """
        loop = asyncio.get_running_loop()
        until: float | None = None
        while True:
            await self._probe()
            async with self._turn:
                receiver = await self._open()
                until = until or loop.time() + patience  # connecting takes its own time
                try:
                    messages = await self._receive(receiver, min(count, MOST_AT_ONCE), until, gap)
                except Exception as error:  # the connection is closed, and the caller hears what the port may tell
                    raise self._connection.failed(error, "receiving") from error
            if messages:
                self._heard()
                return messages
            if loop.time() >= until:
                return []

    async def _receive(
        self, receiver: ServiceBusReceiver, count: int, until: float, gap: float | None
    ) -> list[ServiceBusReceivedMessage]:
        if self._kept:
            kept, self._kept = self._kept, []
            return kept
        if came := sdk.arrived(receiver):
            # Alone: a receive that waits for more has these in its hands already, and loses them when it is interrupted.
            return await receiver.receive_messages(min(came, count), max_wait_time=1)
        wait = max(until - asyncio.get_running_loop().time(), 0.0) + 1
        poll = self._poll = asyncio.create_task(receiver.receive_messages(count, max_wait_time=wait))
        try:
            await self._await_poll(receiver, poll, until, gap)
        except asyncio.CancelledError:
            await stop(poll)
            if not poll.cancelled() and poll.exception() is None:
                self._kept = poll.result()
            raise
        finally:
            self._poll = None
            sdk.keep_arrivals(receiver)
        if not poll.cancelled():
            return poll.result()
        came = sdk.arrived(receiver)
        return await receiver.receive_messages(min(came, count), max_wait_time=1) if came else []

    async def _await_poll(
        self, receiver: ServiceBusReceiver, poll: asyncio.Task[object], until: float, gap: float | None
    ) -> None:
        """Until it has its messages; cut short for others, when no more come, and to ask whether anybody is there."""
        loop = asyncio.get_running_loop()
        seen, still = 0, 0
        while not poll.done():
            came, now = sdk.arrived(receiver), loop.time()
            still = still + 1 if came and came == seen else 0
            seen = came
            silent = gap is None and now - self._heard_at >= self._patience.probe_every
            if self._urgent or still >= 2 or silent or (now >= until and not came):
                await stop(poll)
            else:
                rest = max(until - now, 0.001)
                await asyncio.wait(
                    {poll}, timeout=gap / 2 if gap is not None else min(rest, self._patience.probe_every)
                )

    async def rest(self) -> None:
        """Nobody asks any more: have the broker send nothing, and give back what it has sent."""
        if self._connection.handler is None:
            return
        async with self._alone() as receiver:
            await sdk.drain(receiver)
            kept, self._kept = self._kept, []
            for message in kept:
                await sdk.release(receiver, message)

    # Settling

    def settle(self, lease: HeldLease, how: How) -> asyncio.Future[bool]:
        """True once the broker has done it, False where the lock was lost. Fails with Unavailable or Overloaded."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._settling.append((lease, how, answer))
        if self._flush is None or self._flush.done():
            self._flush = asyncio.get_running_loop().create_task(self._settle_all())
        return answer

    async def _settle_all(self) -> None:
        while self._settling:
            batch, self._settling = self._settling[:MOST_AT_ONCE], self._settling[MOST_AT_ONCE:]
            try:
                async with self._alone() as receiver:
                    answers = await self._settle_batch(receiver, [(lease, how) for lease, how, _ in batch])
                    broken = next((answer for answer in answers if isinstance(answer, Exception)), None)
                    if broken is None:
                        self._heard()
                    else:
                        self._connection.failed(broken, "settling")
            except (SyncdError, NothingThere) as error:
                answers = [error] * len(batch)
            for (lease, how, future), answer in zip(batch, answers, strict=True):
                self._answer(lease, how, future, answer)

    def _answer(self, lease: HeldLease, how: How, future: asyncio.Future[bool], answer: bool | BaseException) -> None:
        if isinstance(answer, bool):
            lease.ended = True
            self._held.discard(lease)
            if not future.done():
                future.set_result(answer)
        elif not future.done():
            future.set_exception(told(answer, f"Service Bus {self.entity}: {how.value} message {lease.sequence}"))

    async def _settle_batch(
        self, receiver: ServiceBusReceiver, batch: list[tuple[HeldLease, How]]
    ) -> list[bool | BaseException]:
        """Completions by one wait; the others, and what that did not settle, each by its own call."""
        completed: dict[HeldLease, bool | Exception | None] = {}
        leases = [lease for lease, how in batch if how is How.COMPLETE and not lease.ended]
        if leases:
            said = await sdk.complete(receiver, [lease.message for lease in leases], self._patience.call)
            completed = dict(zip(leases, said, strict=True))
        answers: list[bool | BaseException] = []
        for lease, how in batch:
            answer = completed.get(lease)
            if (
                answer is None
            ):  # one after the other: the SDK numbers transfers of two calls at once alike, and the broker ends that
                answer = await self._settle(receiver, lease, how)
            answers.append(False if isinstance(answer, LOST) else answer)
        return answers

    async def _settle(self, receiver: ServiceBusReceiver, lease: HeldLease, how: How) -> bool | Exception:
        if lease.ended:
            return False
        try:
            async with asyncio.timeout(self._patience.call):
                if how is How.COMPLETE:
                    await receiver.complete_message(lease.message)
                elif how is How.ABANDON or not await sdk.release(receiver, lease.message):
                    await receiver.abandon_message(lease.message)
        except Exception as error:  # noqa: BLE001 - the answer to this one alone: the next may be settled all the same
            return error
        return True

    # Holding

    def hold(self, lease: HeldLease) -> None:
        self._held.add(lease)
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while self._held:
            # Real time: what is due is decided by the injected clock, which a test moves.
            await asyncio.sleep(WATCH_EVERY)
            try:
                await self.look_after()
            except (SyncdError, NothingThere):
                # The connection has told; it is tried again until the lock has run out.
                await asyncio.sleep(WATCH_AGAIN)

    async def look_after(self) -> None:
        """Give up what was abandoned and is due, renew what is due, drop what is lost."""
        now = self._clock.monotonic()
        over = [lease for lease in self._held if lease.until is not None and now >= lease.until and not lease.ended]
        if over:
            await asyncio.gather(*(self.settle(lease, How.ABANDON) for lease in over))
        for lease in [lease for lease in self._held if now >= lease.lock_ends]:
            self._lose(lease)
        await self._renew_due(now)

    def lock_ends(self, read: Received) -> float | None:
        """Until when a message that has just come is locked, by the broker's clock. Unix seconds."""
        return read.locked_until

    async def _renew_due(self, now: float) -> None:
        due = [lease for lease in self._held if lease.renewing and now >= lease.renew_at and not lease.ended]
        for start in range(0, len(due), MOST_RENEWED):
            await self._renew(due[start : start + MOST_RENEWED])

    async def _renew(self, leases: list[HeldLease]) -> None:
        ends: list[float | None]
        async with self._alone() as receiver:
            leases = [lease for lease in leases if not lease.ended]  # settled or lost while others had their turn
            if not leases:
                return
            self._replies += 1
            try:
                ends = [*await sdk.renew(receiver, [lease.message for lease in leases], self._patience.call)]
            except LOST:  # one of them, and the broker does not say which
                ends = [await self._renew_one(receiver, lease) for lease in leases] if len(leases) > 1 else [None]
            self._heard()
        for lease, end in zip(leases, ends, strict=True):
            if end is None:
                self._lose(lease)
            else:
                lease.renewed(end)

    async def _renew_one(self, receiver: ServiceBusReceiver, lease: HeldLease) -> float | None:
        self._replies += 1
        try:
            [end] = await sdk.renew(receiver, [lease.message], self._patience.call)
        except LOST:
            return None
        return end

    def _lose(self, lease: HeldLease) -> None:
        if not lease.ended:
            lease.ended = True
            self._observe("lock_lost", entity=self.entity, sequence=lease.sequence)
        self._held.discard(lease)

    # Other calls

    async def peek(self, count: int, after: int, *, timeout: float | None = None) -> list[ServiceBusReceivedMessage]:
        """Messages with a greater sequence number than `after`, whatever their state, oldest first."""
        timeout = timeout or self._patience.call
        async with self._alone() as receiver:
            messages = await receiver.peek_messages(count, sequence_number=after + 1, timeout=timeout)
            self._replies += 1
            self._heard()
            return list(messages)

    async def _probe(self) -> None:
        """Goes on to its end though whoever wanted to know is gone: a doubt that is dropped and begun anew finds nothing out."""
        silent = asyncio.get_running_loop().time() - self._heard_at
        if self._connection.handler is None or silent < self._patience.probe_every:
            return
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._ask())
        if error := await asyncio.shield(self._probing):
            raise error

    async def _ask(self) -> SyncdError | None:
        try:
            await self.peek(1, -1, timeout=self._patience.probe)
        except SyncdError as error:
            return error
        return None

    def leave(self) -> None:
        """Close the connection, unless somebody needs it. The next who does opens it again."""
        if not (self._held or self._kept or self._poll or self._turn.locked()):
            self._connection.drop()

    async def close(self) -> None:
        """Release nothing that is held; its locks run out."""
        tasks = (self._watcher, self._flush, self._poll, self._probing)
        await asyncio.gather(*(stop(task) for task in tasks if task is not None))
        await self._connection.close()

    # The connection

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[ServiceBusReceiver]:
        """The connection, with the poll interrupted. What goes wrong inside closes it and leaves as an error of ours."""
        self._urgent += 1
        if self._poll is not None:
            self._poll.cancel()
        try:
            await self._turn.acquire()
        finally:
            self._urgent -= 1
        try:
            receiver = await self._open()
            try:
                async with asyncio.timeout(self._patience.call + 1):
                    yield receiver
            except SyncdError:
                raise
            except Exception as error:  # as in `take`
                raise self._connection.failed(error, "calling") from error
        finally:
            self._turn.release()

    async def _open(self) -> ServiceBusReceiver:
        self._recycle()
        fresh = self._connection.handler is None
        receiver = await self._connection.open()
        if fresh:
            self._replies = 0
            self._heard_at = asyncio.get_running_loop().time()
            sdk.keep_arrivals(receiver)
        return receiver

    def _recycle(self) -> None:
        """Between two turns nothing is on its way; what is held is settled by its lock's token on the new connection."""
        connection, patience = self._connection, self._patience
        if connection.handler is None:
            return
        age = asyncio.get_running_loop().time() - connection.opened_at
        if self._replies >= patience.recycle_replies or (age >= patience.recycle_after and not self._held):
            self._observe("receiver_recycled", entity=self.entity, replies=self._replies)
            connection.drop()

    def _heard(self) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        self._connection.proved()


async def stop(poll: asyncio.Task[object] | asyncio.Task[None]) -> None:
    """Cancel it until it has ended: a read that ends at the same moment swallows the first cancellation (asyncio.wait_for)."""
    while not poll.done():
        poll.cancel()
        await asyncio.wait({poll}, timeout=0.01)
