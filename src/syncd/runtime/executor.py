"""From a leased message to a recorded outcome.

    judge (too old? killed its worker? too new?) -> fetch body -> handle -> outcome -> record

Whatever happens in a handler ends as one of five outcomes; `record` is the only place that turns them into queue calls. A message
is completed only after its effects, or the document that parks it, are durable (G6).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from syncd.domain.errors import Bin, NotFound, SyncdError
from syncd.domain.messages import MESSAGE_LIFETIME, MESSAGE_SCHEMA
from syncd.domain.outcomes import Continue, Done, Outcome, Park, Retry, Snooze
from syncd.domain.retry import outcome_of
from syncd.ports.blobs import Blobs
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe
from syncd.ports.queue import Complete, Delivery, Message, Next, Queue, Release, Settlement
from syncd.runtime.work import Handler, Work, Workload

#: Leases of one hop after which the message is taken for what kills its worker.
MOST_DELIVERIES = 5
#: How long a message of an unknown kind or schema waits for a release that knows it. Seconds.
NEWER_RELEASE_WAIT = 60.0
#: How often recording an outcome is tried while the store refuses, and the pause between. The lease is held all the while.
RECORD_TRIES = 20
RECORD_PAUSE = 0.5

ParkMessage = Callable[[Delivery, Bin, str], Awaitable[object]]
"""Durably set the message aside; may be repeated."""


class Executor:
    def __init__(self, *, queue: Queue, blobs: Blobs, park: ParkMessage, clock: Clock, observe: Observe) -> None:
        self._queue = queue
        self._blobs = blobs
        self._park = park
        self._clock = clock
        self._observe = observe
        self._completions = Completions(self._complete)

    @property
    def recording(self) -> int:
        """Units that are done and whose completion is on its way to the store."""
        return self._completions.count

    def when_recorded(self, tell: Callable[[], None]) -> None:
        """Have `tell` called each time that completions have reached the store."""
        self._completions.listeners.append(tell)

    async def flush(self) -> None:
        """Wait until nothing is on its way."""
        await self._completions.flush()

    async def execute(self, work: Work, workload: Workload) -> None:
        """Handle and record. A unit that is done is completed with others of its moment, and not waited for: see `flush`.

        May be cancelled while `work.recording` is false: the message goes back unworked, and that is recorded. Once it is true the
        caller must let it end. Raises what the store raises where the outcome could not be recorded.
        """
        delivery = work.delivery
        started = self._clock.monotonic()
        handler = workload.handlers.get(delivery.envelope.kind)
        try:
            outcome = self._judge(delivery, handler) or await self._handle(work, handler)
        except asyncio.CancelledError:
            work.recording = True
            await self._settle(Release(delivery))
            raise
        work.recording = True
        if isinstance(outcome, Done):
            self._completions.add(delivery)
        else:
            await self._record(delivery, outcome)
        self._observe(
            "unit_done",
            kind=delivery.envelope.kind,
            queue=delivery.queue,
            outcome=type(outcome).__name__.lower(),
            reason=getattr(outcome, "reason", None),
            label=getattr(outcome, "label", None),
            attempt=delivery.envelope.attempt,
            duration=self._clock.monotonic() - started,
            tenantId=delivery.envelope.tenant_id,
            connectionId=delivery.envelope.connection_id,
            correlationId=delivery.envelope.correlation_id,
            originId=delivery.envelope.origin_id,
        )

    def _judge(self, delivery: Delivery, handler: Handler | None) -> Outcome | None:
        """The outcome that needs no handler."""
        envelope, now = delivery.envelope, self._clock.now()
        if delivery.deliveries > MOST_DELIVERIES:
            return Park(bin="poison", reason=f"the worker died with it {delivery.deliveries - 1} times")
        if envelope.expires_at is not None and envelope.expires_at <= now:
            return Park(
                bin="expired", reason=f"gave up after {envelope.hop + 1} hops and {envelope.attempt} failed attempts"
            )
        if envelope.schema > MESSAGE_SCHEMA + 1 or handler is None:
            what = f"kind {envelope.kind!r}, schema {envelope.schema}"
            return Snooze(until=now + NEWER_RELEASE_WAIT, reason=f"waits for a release that knows it ({what})")
        return None

    async def _handle(self, work: Work, handler: Handler | None) -> Outcome:
        assert handler is not None
        envelope = work.envelope
        try:
            if envelope.body_ref is not None:
                try:
                    work.body = await self._blobs.get(envelope.body_ref)
                except NotFound:  # nothing that the tenant asked for: we kept it, and lost it
                    return Park(bin="we_must_act", reason=f"the body is gone: there is no blob {envelope.body_ref}")
            return await handler.handle(work)
        except NotFound as error:
            return Park(bin=error.bin, reason=str(error))
        except Exception as error:  # noqa: BLE001 - any failure of a handler is an outcome: retried, snoozed or parked, never lost
            if not isinstance(error, SyncdError):
                self._observe("handler_bug", kind=envelope.kind, error=error)
            return outcome_of(
                error,
                attempt=envelope.attempt,
                now=self._clock.now(),
                draw=random.random(),  # noqa: S311 - jitter, not a secret
                policy=handler.retries,
            )

    async def _record(self, delivery: Delivery, outcome: Continue | Retry | Snooze | Park) -> None:
        match outcome:
            case Continue(body=following):
                await self._settle(self._next(delivery, following, self._clock.now(), renew=True))
            case Retry(after=after):
                await self._settle(self._next(delivery, None, self._clock.now() + after, failed=True))
            case Snooze(until=until, reservation=reservation):
                await self._settle(self._next(delivery, None, until, reservation=reservation))
            case Park(bin=where, reason=reason):
                await self._persist(lambda: self._park(delivery, where, reason))
                await self._settle(Complete(delivery))

    def _next(
        self,
        delivery: Delivery,
        body: bytes | None,
        due: float,
        *,
        failed: bool = False,
        renew: bool = False,
        reservation: str | None = None,
    ) -> Next:
        """The next hop carries the same body (or reference) unless the handler gave another."""
        envelope = delivery.envelope.next_hop(
            failed=failed,
            expires_at=self._clock.now() + MESSAGE_LIFETIME if renew else None,
            reservation=reservation,
        )
        return Next(delivery, Message(envelope, delivery.body if body is None else body, due))

    async def _settle(self, *settlements: Settlement) -> None:
        kept: list[bool] = []

        async def settle() -> None:
            kept.extend(await self._queue.settle(settlements))

        await self._persist(settle)
        for settlement, mine in zip(settlements, kept, strict=True):
            if not mine:
                delivery = settlement.delivery
                self._observe("lease_lost", queue=delivery.queue, originId=delivery.envelope.origin_id)

    async def _complete(self, deliveries: Sequence[Delivery]) -> None:
        try:
            await self._settle(*[Complete(delivery) for delivery in deliveries])
        except Exception as error:  # noqa: BLE001 - nobody waits for it: it is told, and the messages come again
            for delivery in deliveries:
                self._observe("outcome_not_recorded", queue=delivery.queue, error=error)
                self._queue.abandon(delivery)

    async def _persist(self, write: Callable[[], Awaitable[object]]) -> None:
        """Try until the store takes it. Giving up is safe: the lease runs out and the message comes again."""
        tries = 0
        while True:
            try:
                await write()
                return
            except SyncdError as error:
                tries += 1
                if tries == RECORD_TRIES or error.retry == "never":
                    raise
                await self._clock.sleep(RECORD_PAUSE)


class Completions:
    """Units that end in the same turn of the loop are completed by one call."""

    def __init__(self, complete: Callable[[Sequence[Delivery]], Awaitable[None]]) -> None:
        self._complete = complete
        self._gathering: list[Delivery] = []
        self._flights: set[asyncio.Task[None]] = set()
        self.count = 0
        self.listeners: list[Callable[[], None]] = []

    def add(self, delivery: Delivery) -> None:
        if not self._gathering:
            flight = asyncio.create_task(self._fly())
            self._flights.add(flight)
            flight.add_done_callback(self._flights.discard)
        self._gathering.append(delivery)
        self.count += 1

    async def flush(self) -> None:
        while self._flights:
            await asyncio.wait(self._flights)

    async def _fly(self) -> None:
        # Created in this turn, it first runs in the next: whoever ends until then is on board.
        gathered, self._gathering = self._gathering, []
        try:
            await self._complete(gathered)
        finally:
            self.count -= len(gathered)
            for tell in self.listeners:
                tell()
