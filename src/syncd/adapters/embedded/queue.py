"""Queues in SQLite: one row a message, leased rows leave the ready index.

Who holds a lease is known in memory only, because a data directory belongs to one process: a lease lasts while its holder lives and
has not abandoned it, however busy the loop is, and needs no renewal. The row says just `leased`, and rows that an earlier boot
left leased are freed when the store opens; so nothing of a lease needs to survive a power cut. All lease decisions are taken on the writer thread, inside the transaction.

Set-at-a-time SQL: every statement here handles many messages, those of all callers of one commit: rows of one INSERT, ids in one JSON array.
That is not for elegance: each step of a statement gives the interpreter lock away and has to win it back from a busy loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from syncd.adapters.embedded.codec import dumps, loads
from syncd.adapters.embedded.engine import Engine
from syncd.adapters.embedded.leasing import HeldLease, LeaseAnswer, LeaseDesk, LeaseRequest, Step
from syncd.domain.groups import GroupCap
from syncd.domain.messages import LANES, Envelope
from syncd.ports.clock import Clock
from syncd.ports.queue import (
    Complete,
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

LANE_NUMBERS = {lane: number for number, lane in enumerate(LANES)}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  queue TEXT NOT NULL, lane INTEGER NOT NULL, grp TEXT NOT NULL,
  due REAL NOT NULL, leased INTEGER NOT NULL DEFAULT 0, deliveries INTEGER NOT NULL DEFAULT 0,
  enqueued REAL NOT NULL, envelope TEXT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_ready ON messages (queue, lane, due, seq) WHERE leased = 0;
CREATE INDEX IF NOT EXISTS messages_by_group ON messages (queue, lane, grp, due, seq) WHERE leased = 0;
CREATE INDEX IF NOT EXISTS messages_leased ON messages (queue) WHERE leased = 1;
CREATE TABLE IF NOT EXISTS dedupe (id TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS dedupe_expires ON dedupe (expires);
"""


def create_tables(connection: sqlite3.Connection) -> None:
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute("UPDATE messages SET leased = 0 WHERE leased = 1")


class _Row(NamedTuple):
    """A message ready for the writer: its columns, then what dedupes it."""

    columns: tuple[str, int, str, float, float, str, bytes]
    """Queue, lane, group, due, enqueued, envelope, body."""
    dedupe_key: str | None
    dedupe_until: float


class EmbeddedQueue:
    """The port `Queue` over one SQLite file."""

    capabilities = QueueCapabilities(exact_depth=True, dedupe_window=True, priority_lanes=True)

    def __init__(self, engine: Engine, *, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._desk = LeaseDesk(engine.after_commit)
        self._arrivals: dict[str, asyncio.Event] = {}
        self._returning: asyncio.Future[list[bool]] | None = None

    async def send(self, queue: str, messages: Sequence[Message]) -> list[Sent]:
        now = self._clock.now()
        rows = [_row(queue, message, now) for message in messages]
        sent = await self._engine.write(
            _send,
            (rows, now),
            size=sum(len(row.columns[5]) + len(row.columns[6]) for row in rows),
            durable=any(message.durable for message in messages),
        )
        self._announce(queue)
        return sent

    async def lease(
        self, queue: str, count: int, *, duration: float, wait: float = 0.0, cap: GroupCap | None = None
    ) -> list[Delivery]:
        deadline = self._clock.monotonic() + wait
        while True:
            arrival = self._arrivals.setdefault(queue, asyncio.Event())
            arrival.clear()
            request = LeaseRequest(queue, count, duration, cap, self._clock.now())
            leasing = asyncio.ensure_future(self._engine.write(self._desk.lease, request, durable=False))
            try:
                answer = await asyncio.shield(leasing)
            except asyncio.CancelledError:
                leasing.add_done_callback(partial(self._give_back, queue))
                raise
            if answer.rows:
                return [
                    Delivery(queue, Envelope.from_json(loads(envelope)), body, lease, deliveries, enqueued)
                    for lease, deliveries, enqueued, envelope, body in answer.rows
                ]
            rest = deadline - self._clock.monotonic()
            if rest <= 0:
                return []
            if answer.next_due is not None:
                rest = min(rest, answer.next_due - self._clock.now())
            if rest > 0:
                await self._arrival(arrival, rest)

    def _give_back(self, queue: str, leasing: asyncio.Future[LeaseAnswer]) -> None:
        """Nobody waits for this lease any more: what it took is released as if it had never been taken. Who asked meanwhile found
        nothing, and looks again."""
        if not leasing.cancelled() and leasing.exception() is None and leasing.result().rows:
            steps: list[Step] = [(row[0], None, True) for row in leasing.result().rows]
            self._returning = asyncio.ensure_future(self._engine.write(self._desk.settle, steps, durable=False))
            self._returning.add_done_callback(lambda _: self._announce(queue))

    async def _arrival(self, arrival: asyncio.Event, seconds: float) -> None:
        """Until something arrives, or the time is over by the injected clock."""
        waiting = asyncio.ensure_future(arrival.wait())
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((waiting, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            timer.cancel()

    async def extend(self, deliveries: Sequence[Delivery], duration: float) -> list[bool]:
        until = self._clock.now() + duration
        return await self._engine.write(self._desk.extend, ([held(delivery) for delivery in deliveries], until))

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        now = self._clock.now()
        steps: list[Step] = []
        size = 0
        for settlement in settlements:
            lease = held(settlement.delivery)
            match settlement:
                case Complete():
                    steps.append((lease, None, False))
                case Release():
                    steps.append((lease, None, True))
                case Next(message=message):
                    columns = _row(settlement.delivery.queue, message, now).columns
                    size += len(columns[5]) + len(columns[6])
                    steps.append((lease, columns[1:], False))
        # A completion that is lost with the machine brings the message again, whose effects are durable; a next hop must not be lost.
        answers = await self._engine.write(self._desk.settle, steps, size=size, durable=size > 0)
        for queue in {s.delivery.queue for s in settlements if not isinstance(s, Complete)}:
            self._announce(queue)
        return answers

    def abandon(self, delivery: Delivery) -> None:
        lease = held(delivery)
        lease.until = self._clock.now() + lease.duration
        heapq.heappush(self._desk.abandoned, (lease.until, lease.seq))
        self._announce(delivery.queue)

    async def peek(self, queue: str, *, limit: int = 100, after: str | None = None) -> list[Peeked]:
        return await self._engine.read(_peek, queue, limit, int(after or 0), self._clock.now())

    async def depth(self, queue: str, *, at_most: int = 100_000) -> Depth:
        return await self._engine.read(_depth, queue, at_most, self._clock.now())

    async def sweep(self, *, limit: int = 10_000) -> int:
        return await self._engine.write(_forget, (self._clock.now(), limit))

    def _announce(self, queue: str) -> None:
        event = self._arrivals.get(queue)
        if event is not None:
            event.set()


def held(delivery: Delivery) -> HeldLease:
    assert isinstance(delivery.lease, HeldLease)
    return delivery.lease


def _row(queue: str, message: Message, now: float) -> _Row:
    envelope = message.envelope
    key = None
    if message.dedupe_window > 0:
        identity = f"{queue}\0{message.dedupe_id or envelope.broker_id}"
        key = hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
    due = now if message.due is None else message.due
    properties = dumps(envelope.to_json())
    columns = (queue, LANE_NUMBERS[envelope.lane], envelope.group or "", due, now, properties, message.body)
    return _Row(columns, key, now + message.dedupe_window)


def _send(connection: sqlite3.Connection, items: Sequence[tuple[list[_Row], float]]) -> list[list[Sent] | Exception]:
    """Store all rows of all callers; those whose id is known are absorbed."""
    now = items[0][1]
    rows = [row for member, _ in items for row in member]
    known = _known_ids(connection, [row.dedupe_key for row in rows if row.dedupe_key], now)
    fresh: list[_Row] = []
    sent: list[Sent] = []
    remember: dict[str, float] = {}
    for row in rows:
        key = row.dedupe_key
        duplicate = key is not None and (key in known or key in remember)
        if not duplicate:
            fresh.append(row)
            if key is not None:
                remember[key] = row.dedupe_until
        sent.append(_DUPLICATE if duplicate else _ACCEPTED)
    if remember:
        connection.execute(
            "INSERT OR REPLACE INTO dedupe (id, expires) SELECT key, value FROM json_each(?)", (dumps(remember),)
        )
    _insert(connection, fresh)
    answers: list[list[Sent] | Exception] = []
    start = 0
    for member, _ in items:
        answers.append(sent[start : start + len(member)])
        start += len(member)
    return answers


_ACCEPTED, _DUPLICATE = Sent(), Sent(duplicate=True)


def _known_ids(connection: sqlite3.Connection, keys: list[str], now: float) -> set[str]:
    if not keys:
        return set()
    found = connection.execute(
        "SELECT json_group_array(dedupe.id) FROM json_each(?) AS k JOIN dedupe ON dedupe.id = k.value WHERE expires > ?",
        (dumps(keys), now),
    ).fetchone()[0]
    return set(loads(found))


#: Rows of one INSERT. Powers of two keep the number of different statements small; 7 columns stay far below SQLite's 32,766.
_ROWS_AT_ONCE = (128, 64, 32, 16, 8, 4, 2, 1)
_INSERTS = {
    rows: "INSERT INTO messages (queue, lane, grp, due, enqueued, envelope, body) VALUES "
    + ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * rows)
    for rows in _ROWS_AT_ONCE
}


def _insert(connection: sqlite3.Connection, rows: list[_Row]) -> None:
    start, left = 0, len(rows)
    for size in _ROWS_AT_ONCE:
        while left >= size:
            values = [value for row in rows[start : start + size] for value in row.columns]
            connection.execute(_INSERTS[size], values)
            start, left = start + size, left - size


def _peek(connection: sqlite3.Connection, queue: str, limit: int, after: int, now: float) -> list[Peeked]:
    rows = connection.execute(
        "SELECT seq, envelope, body, leased, enqueued, due FROM messages WHERE queue = ? AND seq > ? ORDER BY seq LIMIT ?",
        (queue, after, limit),
    )
    return [
        Peeked(
            str(seq),
            Envelope.from_json(loads(envelope)),
            bytes(body),
            "leased" if leased else "scheduled" if due > now else "ready",
            enqueued,
            due,
        )
        for seq, envelope, body, leased, enqueued, due in rows
    ]


def _depth(connection: sqlite3.Connection, queue: str, at_most: int, now: float) -> Depth:
    ready = scheduled = 0
    oldest: float | None = None
    for lane in LANE_NUMBERS.values():
        where = "FROM messages WHERE queue = ? AND lane = ? AND leased = 0 AND due"
        ready += connection.execute(
            f"SELECT count(*) FROM (SELECT 1 {where} <= ? LIMIT ?)", (queue, lane, now, at_most)
        ).fetchone()[0]
        scheduled += connection.execute(
            f"SELECT count(*) FROM (SELECT 1 {where} > ? LIMIT ?)", (queue, lane, now, at_most)
        ).fetchone()[0]
        first = connection.execute(f"SELECT due {where} <= ? ORDER BY due LIMIT 1", (queue, lane, now)).fetchone()
        if first is not None:
            oldest = first[0] if oldest is None else min(oldest, first[0])
    leased = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM messages WHERE queue = ? AND leased = 1 LIMIT ?)", (queue, at_most)
    ).fetchone()[0]
    return Depth(
        min(ready, at_most), leased, min(scheduled, at_most), None if oldest is None else max(now - oldest, 0.0)
    )


def _forget(connection: sqlite3.Connection, items: Sequence[tuple[float, int]]) -> list[int | Exception]:
    now, limit = items[0]
    removed = connection.execute(
        "DELETE FROM dedupe WHERE id IN (SELECT id FROM dedupe WHERE expires <= ? LIMIT ?)", (now, limit)
    ).rowcount
    return [removed, *([0] * (len(items) - 1))]
