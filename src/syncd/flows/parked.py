"""Parked messages: documents that wait for a person, or for a cause to go away (G6).

    parked -> replaying -> replayed        parked -> dropped

Parking is put-if-absent under an id made of origin and hop, then the executor completes the message: done twice it is one
document. Replaying marks the document, sends the next hop, marks it again: killed in between, it is resumed by doing it again,
because the broker id of that hop is always the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from syncd.domain.collections import PARKED
from syncd.domain.errors import Conflict, Invalid, NotFound, Overloaded, SyncdError, TooLarge
from syncd.domain.ids import digest, located, partition_of
from syncd.domain.messages import MESSAGE_LIFETIME, Envelope
from syncd.domain.times import DAY, iso, month, parse
from syncd.flows.audit_rows import body_of, raw_of
from syncd.ports.documents import PAGE_LIMIT, Condition, Create, Document, Page, Query, Replace
from syncd.ports.queue import Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from syncd.domain.errors import Bin
    from syncd.domain.jsontypes import JsonObject
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents
    from syncd.ports.observe import Observe
    from syncd.ports.queue import Delivery, Queue

_ATTEMPTS = 8
#: Seconds that a handled one is kept, so that a person finds what became of it.
_KEPT = 30 * DAY
#: Seconds for which a repeated send of one hop is absorbed: longer than anybody takes to resume a replay.
_RESEND_WINDOW = DAY
_INLINE_BYTES = 64 * 1024
#: Earlier bodies kept on an edited document.
_HISTORY = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which parked messages. None: any. `before` and `after` in Unix seconds of parking; `reason` is part of the text."""

    queue: str | None = None
    tenant: str | None = None
    connection: str | None = None
    bin: Bin | None = None
    reason: str | None = None
    kind: str | None = None
    before: float | None = None
    after: float | None = None
    statuses: tuple[str, ...] = ("parked", "replaying")

    def conditions(self) -> tuple[Condition, ...]:
        equal = (("tenantId", self.tenant), ("connectionId", self.connection), ("bin", self.bin), ("kind", self.kind))
        found = [Condition("status", "in", list(self.statuses))]
        found += [Condition(path, "eq", value) for path, value in equal if value is not None]
        if self.before is not None:
            found.append(Condition("parkedAt", "lt", iso(self.before)))
        if self.after is not None:
            found.append(Condition("parkedAt", "ge", iso(self.after)))
        return tuple(found)

    def takes(self, data: JsonObject) -> bool:
        """What the store's paths do not cover."""
        return (self.queue is None or data["queue"] == self.queue) and (
            self.reason is None or self.reason in data["reason"]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """Counts of a bulk replay. With a dry run `replayed` is 0."""

    matched: int
    replayed: int
    failed: int


class Debt(Protocol):
    """Work that stands in a document, and of which a message only speaks. Both may be repeated, and raise what the stores raise."""

    async def released(self, body: bytes, before: float) -> None:
        """A person replays the message: what was held before then (Unix seconds) goes on."""
        ...

    async def resumed(self, body: bytes, before: float) -> None:
        """The same without a person: nobody has looked at what the other side has."""
        ...

    async def dropped(self, body: bytes) -> None:
        """A person gave it up."""
        ...


class Parked:
    """`debts`: by kind of message."""

    def __init__(
        self,
        *,
        documents: Documents,
        queue: Queue,
        clock: Clock,
        observe: Observe,
        debts: Mapping[str, Debt] | None = None,
    ) -> None:
        self._debts = debts or {}
        self._documents = documents
        self._queue = queue
        self._clock = clock
        self._observe = observe

    async def park(self, delivery: Delivery, bin_name: Bin, reason: str) -> str:
        """Set the message aside and return the document's id. Durable when it returns; complete the message then."""
        envelope = delivery.envelope
        identifier = parked_id(delivery.queue, envelope, delivery.enqueued_at)
        data: JsonObject = {
            "queue": delivery.queue,
            "tenantId": envelope.tenant_id,
            "connectionId": envelope.connection_id,
            "registrationId": envelope.registration_id,
            "kind": envelope.kind,
            "bin": bin_name,
            "reason": reason[:2000],
            "envelope": envelope.to_json(),
            **raw_of(delivery.body, envelope.body_ref),
            "status": "parked",
            "parkedAt": iso(self._clock.now()),
            "history": [],
            "schema": PARKED.schema,
        }
        try:
            await self._documents.write(PARKED, partition_of(identifier), [Create(identifier, data)])
        except Conflict:
            return identifier  # parked before, and killed before the message was completed
        self._observe("message_parked", queue=delivery.queue, kind=envelope.kind, bin=bin_name)
        return identifier

    async def get(self, identifier: str) -> Document:
        """Raises NotFound."""
        try:
            found = await self._documents.get(PARKED, partition_of(identifier), identifier)
        except Invalid:
            found = None
        if found is None:
            raise NotFound(f"there is no parked message {identifier!r}")
        return found

    async def list(self, wanted: Filter, *, limit: int = 100, cursor: str | None = None) -> Page:
        """Oldest first. May hold fewer than `limit` with more to come: only a cursor of None is the end."""
        query = Query(across=True, where=wanted.conditions(), order="parkedAt", limit=limit, cursor=cursor)
        page = await self._documents.query(PARKED, query)
        return Page([one for one in page.items if wanted.takes(one.data)], page.cursor)

    async def counts(self, queues: Iterable[str]) -> dict[str, int]:
        """How many wait beside each queue; of those of one month 10,000 means that many or more."""
        waiting = Filter().conditions()
        months = await self._months(waiting)
        found: dict[str, int] = {}
        for queue in queues:
            found[queue] = 0
            for one in months:
                found[queue] += await self._documents.count(PARKED, f"{queue}:{one}", waiting)
        return found

    async def _months(self, waiting: Sequence[Condition]) -> Sequence[str]:
        """The months in which a message that is still parked can have been received: from just before the oldest was parked."""
        page = await self._documents.query(PARKED, Query(across=True, where=waiting, order="parkedAt", limit=1))
        if not page.items:
            return ()
        now = self._clock.now()
        at = parse(page.items[0].data["parkedAt"]) - 31 * DAY
        months = {month(now)}
        while at < now:
            months.add(month(at))
            at += 20 * DAY
        return sorted(months)

    async def replay(self, identifier: str, *, by_itself: bool = False) -> Document:
        """Send it again as its next hop, with attempt, deliveries and life time begun anew. Done twice, it is sent once. `by_itself`: no
        person asked for it.

        Raises NotFound; Conflict where it was dropped.
        """
        for _ in range(_ATTEMPTS):
            found = await self.get(identifier)
            data = PARKED.upgraded(found.data)
            if data["status"] == "replayed":
                return found
            if data["status"] == "dropped":
                raise Conflict(f"the parked message {identifier!r} was dropped")
            try:
                if data["status"] == "parked":
                    facts: JsonObject = {"status": "replaying", "replayingAt": iso(self._clock.now())}
                    if by_itself:
                        facts["byItself"] = True
                    found = await self._write(found, {**data, **facts})
                debt = self._debts.get(found.data["kind"])
                if debt is not None:
                    # As of the first time: what was parked since by this very replay waits for a replay of its own.
                    kept = found.data
                    before = parse(str(kept.get("replayingAt") or kept["parkedAt"]))
                    release = debt.resumed if kept.get("byItself") else debt.released
                    await release(body_of(kept), before)
                await self._send(found.data)
                facts = {"status": "replayed", "replayedAt": iso(self._clock.now())}
                return await self._write(found, {**found.data, **facts}, ttl=_KEPT)
            except Conflict:
                continue  # another replays it too, or it was dropped at the same moment: look again
        raise _contended(identifier)

    async def edit(self, identifier: str, body: bytes) -> Document:
        """Put another body in its place; what it was stays in the history. Raises NotFound, Conflict unless it is parked,
        TooLarge for more than a message holds inline."""
        if len(body) > _INLINE_BYTES:
            raise TooLarge(f"an edited body may have {_INLINE_BYTES} bytes; this one has {len(body)}")

        def change(data: JsonObject) -> JsonObject:
            before: JsonObject = {name: data.pop(name) for name in ("raw", "rawEncoding", "bodyRef") if name in data}
            data["envelope"] = {name: value for name, value in data["envelope"].items() if name != "bodyRef"}
            entry = {"at": iso(self._clock.now()), **before}
            return {**data, **raw_of(body, None), "history": [*data["history"], entry][-_HISTORY:]}

        return await self._changed(identifier, change)

    async def drop(self, identifier: str) -> Document:
        """Give it up; it is kept for 30 days. Raises NotFound, Conflict unless it is parked."""
        found = await self.get(identifier)
        debt = self._debts.get(found.data["kind"])
        if debt is not None and found.data["status"] == "parked":
            # First, and so as often as it takes: what is held must not outlive the message by which a person finds it.
            await debt.dropped(body_of(found.data))
        facts = {"status": "dropped", "droppedAt": iso(self._clock.now())}
        return await self._changed(identifier, lambda data: {**data, **facts}, ttl=_KEPT)

    async def replay_all(self, wanted: Filter, *, rate: float = 50.0, dry_run: bool = False) -> Replayed:
        """All that match and were parked before now, at most `rate` a second. May be repeated: what was replayed is left out."""
        matched = replayed = failed = 0
        async for document in self._matching(wanted):
            matched += 1
            if dry_run:
                continue
            try:
                await self.replay(document.id)
                replayed += 1
            except (Conflict, NotFound):
                failed += 1  # handled by somebody else meanwhile
            except SyncdError as error:
                self._observe("replay_failed", queue=document.data["queue"], error=error.label)
                failed += 1
            await self._clock.sleep(1 / rate)
        return Replayed(matched=matched, replayed=replayed, failed=failed)

    async def _matching(self, wanted: Filter) -> AsyncIterator[Document]:
        # What fails again is parked again, as another document: without the bound this would run for ever.
        bound = self._clock.now() + 0.001  # the millisecond that has begun is in
        bounded = replace(wanted, before=bound if wanted.before is None else min(wanted.before, bound))
        cursor: str | None = None
        while True:
            page = await self.list(bounded, limit=PAGE_LIMIT, cursor=cursor)
            for document in page.items:
                yield document
            cursor = page.cursor
            if cursor is None:
                return

    async def _send(self, data: JsonObject) -> None:
        envelope = Envelope.from_json(data["envelope"])
        again = replace(
            envelope,
            hop=envelope.hop + 1,
            attempt=0,
            expires_at=self._clock.now() + MESSAGE_LIFETIME,
            resumed=bool(data.get("byItself")),
        )
        message = Message(envelope=again, body=body_of(data), dedupe_id=again.broker_id, dedupe_window=_RESEND_WINDOW)
        await self._queue.send(data["queue"], [message])

    async def _changed(
        self, identifier: str, change: Callable[[JsonObject], JsonObject], *, ttl: float | None = None
    ) -> Document:
        for _ in range(_ATTEMPTS):
            found = await self.get(identifier)
            data = dict(PARKED.upgraded(found.data))
            if data["status"] != "parked":
                raise Conflict(f"the parked message {identifier!r} is {data['status']}")
            try:
                return await self._write(found, change(data), ttl=ttl)
            except Conflict:
                continue
        raise _contended(identifier)

    async def _write(self, found: Document, data: JsonObject, *, ttl: float | None = None) -> Document:
        [document] = await self._documents.write(
            PARKED, found.partition, [Replace(found.id, data, found.etag, ttl=ttl)]
        )
        assert document is not None
        return document


def parked_id(queue: str, envelope: Envelope, enqueued_at: float) -> str:
    """The same for every delivery of one hop."""
    received_at = enqueued_at if envelope.received_at is None else envelope.received_at
    return located(f"{queue}:{month(received_at)}", digest(envelope.origin_id, str(envelope.hop)))


def _contended(identifier: str) -> Overloaded:
    return Overloaded(f"the parked message {identifier!r} is being changed by others", retry_after=1.0)
