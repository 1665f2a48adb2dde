"""Who holds which message, decided on the writer thread.

Lanes are offered 8:4:1 by smooth weighted round robin. Inside a lane the oldest due comes first; messages of full groups are passed
over. A tenant that floods a lane must not make everyone's lease a scan over its backlog: after a window of passed-over rows the
groups themselves are walked through their own index, one seek a group.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from syncd.adapters.embedded.codec import dumps
from syncd.domain.groups import GroupCap, GroupRoom
from syncd.domain.messages import LANES

#: Rows of full groups that one lease looks past before it asks the group index. About 0.1 ms.
WINDOW = 256

_WEIGHTS = tuple(LANES.values())


class HeldLease:
    """The port's Lease. `until` is set once it was abandoned; before that it lasts as long as the process."""

    __slots__ = ("duration", "lost", "seq", "until")

    def __init__(self, seq: int, duration: float) -> None:
        self.seq = seq
        self.duration = duration
        self.lost = False
        self.until: float | None = None


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    queue: str
    count: int
    duration: float
    cap: GroupCap | None
    now: float


LeasedRow = tuple[HeldLease, int, float, str, bytes]
"""Lease, deliveries, enqueued, envelope text, body."""

Step = tuple[HeldLease, tuple[int, str, float, float, str, bytes] | None, bool]
"""Lease; the next hop as (lane, group, due, enqueued, envelope, body); whether it is a release."""


@dataclass(frozen=True, slots=True)
class LeaseAnswer:
    rows: list[LeasedRow]
    next_due: float | None
    """When nothing was deliverable: the earliest due time of what waits, None where nothing does."""


class LeaseDesk:
    """Used by the writer thread; only `abandoned` is also pushed to from the loop (heappush is atomic under the interpreter lock).

    What is held changes after the commit that made it true, never before: a commit that fails leaves every lease as it was.
    """

    def __init__(self, after_commit: Callable[[Callable[[], None]], None]) -> None:
        self._after_commit = after_commit
        self._held: dict[int, HeldLease] = {}
        self._credits: dict[str, list[int]] = {}
        self.abandoned: list[tuple[float, int]] = []

    def lease(self, connection: sqlite3.Connection, requests: Sequence[LeaseRequest]) -> list[LeaseAnswer | Exception]:
        self._lapse(connection, requests[0].now)
        answers: list[LeaseAnswer | Exception] = []
        for request in requests:
            chosen = self._choose(connection, request)
            if chosen:
                answers.append(LeaseAnswer(self._take(connection, request, chosen), None))
            else:
                answers.append(LeaseAnswer([], self._next_due(connection, request)))
        return answers

    def settle(self, connection: sqlite3.Connection, items: Sequence[list[Step]]) -> list[list[bool] | Exception]:
        done: list[int] = []
        back: list[int] = []
        ended: list[HeldLease] = []
        answers: list[list[bool] | Exception] = []
        for steps in items:
            answer: list[bool] = []
            for lease, following, release in steps:
                mine = self._held.get(lease.seq) is lease
                answer.append(mine)
                if not mine:
                    continue
                if following is not None:
                    lane, group, due, enqueued, envelope, body = following
                    connection.execute(
                        "UPDATE messages SET lane = ?, grp = ?, due = ?, enqueued = ?, envelope = ?, body = ?,"
                        " leased = 0, deliveries = 0 WHERE seq = ?",
                        (lane, group, due, enqueued, envelope, body, lease.seq),
                    )
                elif release:
                    back.append(lease.seq)
                else:
                    done.append(lease.seq)
                ended.append(lease)
            answers.append(answer)
        if done:
            connection.execute("DELETE FROM messages WHERE seq IN (SELECT value FROM json_each(?))", (dumps(done),))
        if back:
            connection.execute(
                "UPDATE messages SET leased = 0, deliveries = deliveries - 1 WHERE seq IN (SELECT value FROM json_each(?))",
                (dumps(back),),
            )
        self._after_commit(lambda: self._end(ended))
        return answers

    def _end(self, leases: Sequence[HeldLease]) -> None:
        for lease in leases:
            lease.lost = True
            self._held.pop(lease.seq, None)

    def extend(
        self, connection: sqlite3.Connection, items: Sequence[tuple[list[HeldLease], float]]
    ) -> list[list[bool] | Exception]:
        answers: list[list[bool] | Exception] = []
        for leases, until in items:
            for lease in leases:
                if lease.until is not None and not lease.lost:
                    lease.until = until
                    heapq.heappush(self.abandoned, (until, lease.seq))
            answers.append([not lease.lost for lease in leases])
        return answers

    def _lapse(self, connection: sqlite3.Connection, now: float) -> None:
        """Free what was abandoned and has run out."""
        free: list[HeldLease] = []
        if self._some_ran_out(now):
            free = [
                lease
                for until, seq in tuple(self.abandoned)
                if until <= now
                and (lease := self._held.get(seq)) is not None
                and lease.until is not None
                and lease.until <= now
            ]
        if free:
            seqs = dumps([lease.seq for lease in free])
            connection.execute("UPDATE messages SET leased = 0 WHERE seq IN (SELECT value FROM json_each(?))", (seqs,))
            self._after_commit(lambda: self._forget(free, now))

    def _some_ran_out(self, now: float) -> bool:
        return bool(self.abandoned) and self.abandoned[0][0] <= now

    def _forget(self, lapsed: Sequence[HeldLease], now: float) -> None:
        self._end(lapsed)
        while self._some_ran_out(now):
            heapq.heappop(self.abandoned)

    def _choose(self, connection: sqlite3.Connection, request: LeaseRequest) -> list[int]:
        """Sequence numbers, lane by lane within each lane's share, then whatever is left to fill."""
        found = {lane: self._deliverable(connection, request, lane) for lane in range(len(_WEIGHTS))}
        waiting = [lane for lane in found if found[lane]]
        if len(waiting) == 1:
            return [seq for seq, _ in found[waiting[0]]]
        room = GroupRoom(request.cap)
        chosen: list[int] = []
        credit = self._credits.setdefault(request.queue, [0] * len(_WEIGHTS))
        while waiting and len(chosen) < request.count:
            for lane in waiting:
                credit[lane] += _WEIGHTS[lane]
            best = max(waiting, key=lambda lane: credit[lane])
            credit[best] -= sum(_WEIGHTS[lane] for lane in waiting)
            seq, group = found[best].pop(0)
            if room.take(group):
                chosen.append(seq)
            if not found[best]:
                waiting.remove(best)
        return chosen

    def _deliverable(self, connection: sqlite3.Connection, request: LeaseRequest, lane: int) -> list[tuple[int, str]]:
        """Sequence numbers with their groups."""
        where = "FROM messages WHERE queue = ? AND lane = ? AND leased = 0 AND due <= ? ORDER BY due, seq LIMIT ?"
        if request.cap is None:
            rows = connection.execute(f"SELECT seq, '' {where}", (request.queue, lane, request.now, request.count))
            return rows.fetchall()
        for limit in (request.count, request.count + WINDOW):
            looked = connection.execute(
                f"SELECT seq, grp {where}", (request.queue, lane, request.now, limit)
            ).fetchall()
            chosen = _fitting(looked, request)
            if len(chosen) == request.count or len(looked) < limit:
                return chosen
        return _fitting(self._by_group(connection, request, request.cap, lane), request)

    def _by_group(
        self, connection: sqlite3.Connection, request: LeaseRequest, cap: GroupCap, lane: int
    ) -> list[tuple[int, str]]:
        return connection.execute(
            """
            WITH RECURSIVE groups(grp) AS (
              SELECT min(grp) FROM messages WHERE queue = :queue AND lane = :lane AND leased = 0
              UNION ALL
              SELECT (SELECT min(m.grp) FROM messages m
                      WHERE m.queue = :queue AND m.lane = :lane AND m.leased = 0 AND m.grp > groups.grp)
              FROM groups WHERE groups.grp IS NOT NULL
            )
            SELECT m.seq, m.grp FROM groups JOIN messages m ON m.seq IN (
              SELECT seq FROM messages WHERE queue = :queue AND lane = :lane AND leased = 0
                AND grp = groups.grp AND due <= :now ORDER BY due, seq LIMIT :most)
            WHERE groups.grp NOT IN (SELECT value FROM json_each(:full))
            ORDER BY m.due, m.seq LIMIT :count
            """,
            {
                "queue": request.queue,
                "lane": lane,
                "now": request.now,
                "count": request.count,
                "most": min(cap.most, request.count),
                "full": dumps(sorted(cap.full)),
            },
        ).fetchall()

    def _take(self, connection: sqlite3.Connection, request: LeaseRequest, chosen: list[int]) -> list[LeasedRow]:
        rows = connection.execute(
            "UPDATE messages SET leased = 1, deliveries = deliveries + 1 WHERE seq IN (SELECT value FROM json_each(?))"
            " RETURNING seq, deliveries, enqueued, envelope, body",
            (dumps(chosen),),
        ).fetchall()
        order = {seq: place for place, seq in enumerate(chosen)}
        rows.sort(key=lambda row: order[row[0]])
        taken: list[LeasedRow] = [
            (HeldLease(seq, request.duration), deliveries, enqueued, envelope, bytes(body))
            for seq, deliveries, enqueued, envelope, body in rows
        ]
        self._after_commit(lambda: self._held.update((row[0].seq, row[0]) for row in taken))
        return taken

    def _next_due(self, connection: sqlite3.Connection, request: LeaseRequest) -> float | None:
        earliest = self.abandoned[0][0] if self.abandoned else None
        for lane in range(len(_WEIGHTS)):
            row = connection.execute(
                "SELECT due FROM messages WHERE queue = ? AND lane = ? AND leased = 0 AND due > ? ORDER BY due LIMIT 1",
                (request.queue, lane, request.now),
            ).fetchone()
            if row is not None and (earliest is None or row[0] < earliest):
                earliest = row[0]
        return earliest


def _fitting(rows: Sequence[tuple[int, str]], request: LeaseRequest) -> list[tuple[int, str]]:
    room = GroupRoom(request.cap)
    return [row for row in rows if room.take(row[1])][: request.count]
