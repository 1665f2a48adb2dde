"""One sliding window, exact, with bookings of turns to come.

A charge of u units at time s occupies its key during [s, s + length); the rule is that no moment is ever occupied by more
than `limit` units, which is the same as: no half-open interval of `length` seconds sees more than `limit` units charged.

A booking holds units for a turn at time T. Its owner may come as late as T + grace, so until then it occupies the widest
interval that can come of it, [T, T + grace + length); when it is redeemed at t it becomes an ordinary charge [t, t + length),
which lies inside. So a booked turn can always be honoured, and nobody else can be admitted into it.

    limit 3  |####|            three units charged at s
             |    |##|##|##|   three refused callers with a turn each, the first when the charge leaves the window
             s    s+length

Times are monotonic seconds, given by the caller; time never runs backwards in here. A charge is O(1); planning a turn is linear
in what is logged and booked.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from math import inf

#: Pairs in one key's log before charges are merged into cells of window / LOG_PAIRS. A merged pair takes the later time, so it
#: errs towards refusing, by at most one cell (59 ms of a minute). Limits up to this number are exact.
LOG_PAIRS = 1024
#: A booked turn waits for its owner this long, or a quarter of the shortest window if that is less. Seconds. The longer, the
#: more of a crowd's capacity goes to those without a booking.
GRACE = 5.0
#: Two turns at one key are at least this far apart, so that a crowd does not come at once. Seconds; less where the limit
#: itself allows more than 500 units a second.
SPACING = 0.001


class Window:
    """One key: what was charged in the last `length` seconds, and the turns booked for later."""

    __slots__ = (
        "at",
        "booked",
        "cell",
        "frees",
        "grace",
        "hint",
        "hint_room",
        "length",
        "log",
        "mark",
        "units",
        "used",
    )

    def __init__(self, length: float) -> None:
        self.length = length
        self.grace = min(GRACE, length / 4)
        self.cell = length / LOG_PAIRS
        self.log: deque[tuple[float, int]] = deque()
        self.used = 0
        self.frees = inf
        """When the oldest pair of the log leaves the window."""
        self.at: list[float] = []
        """Start times of the bookings in order; `units` runs beside it."""
        self.units: list[int] = []
        self.booked = 0
        self.hint = -inf
        """Where the last plan for a turn ended: none that wants as little as `hint_room` left begins earlier. Only a turn given
        back makes room before it, and resets it; without it, planning the turns of a crowd would take quadratic time."""
        self.hint_room = -1
        self.mark = 0

    def expire(self, now: float) -> None:
        log, length = self.log, self.length
        while log and log[0][0] + length <= now:
            self.used -= log.popleft()[1]
        self.frees = log[0][0] + length if log else inf

    def charge(self, now: float, cost: int) -> None:
        log = self.log
        if not log:
            self.frees = now + self.length
        elif log[-1][0] == now or (len(log) >= LOG_PAIRS and log[-1][0] // self.cell == now // self.cell):
            cost_before = log.pop()[1]
            self.used -= cost_before
            cost += cost_before
            if not log:
                self.frees = now + self.length
        log.append((now, cost))
        self.used += cost

    def book(self, at: float, cost: int) -> None:
        index = bisect_right(self.at, at)
        self.at.insert(index, at)
        self.units.insert(index, cost)
        self.booked += cost

    def unbook(self, at: float, cost: int) -> None:
        index = bisect_left(self.at, at)
        while self.units[index] != cost:
            index += 1
        del self.at[index], self.units[index]
        self.booked -= cost

    def fits(self, now: float, cost: int, limit: int) -> bool:
        """May `cost` units be charged now: is there room at every moment of [now, now + length), counting booked turns?

        No booking ends in that interval: one that began before now - grace has lapsed.
        """
        room = limit - cost
        occupied = self.used
        if occupied > room:
            return False
        charges = iter(self.log)
        end, units = self._next_end(charges)
        for at, booked in zip(self.at, self.units, strict=True):
            if at >= now + self.length:
                break
            while end <= at:
                occupied -= units
                end, units = self._next_end(charges)
            occupied += booked
            if occupied > room:
                return False
        return True

    def room(self, now: float, room: int) -> float:
        """When no more than `room` units are left in the log."""
        occupied = self.used
        if occupied <= room:
            return now
        for at, units in self.log:
            occupied -= units
            if occupied <= room:
                return at + self.length
        return now

    def turn(self, now: float, cost: int, limit: int, *, after: float) -> float:
        """The earliest time from `after` on at which `cost` units have room for as long as a booking may occupy them."""
        room = limit - cost
        at = max(after, self.hint) if room <= self.hint_room else after
        spacing = min(SPACING, self.length / limit / 2)
        while True:
            at = self._room_from(at, room)
            index = bisect_left(self.at, at - spacing / 2)
            if index == len(self.at) or self.at[index] - at >= spacing / 2:
                break
            at = self.at[index] + spacing
        if after == now:
            self.hint, self.hint_room = at, room
        return at

    def _room_from(self, at: float, room: int) -> float:
        """Walk along what ends and begins after `at` until the occupation stays within `room` for a booking's whole span."""
        span = self.length + self.grace
        charges = iter(self.log if self.log and self.log[-1][0] + self.length > at else ())
        occupied = self.used if self.log and self.log[-1][0] + self.length > at else 0
        end, ending = self._next_end(charges)
        while end <= at:
            occupied -= ending
            end, ending = self._next_end(charges)
        # A hair early, so that rounding cannot miss one that still holds; the walk drops those that are over.
        oldest = bisect_left(self.at, at - span - 1e-6)
        newest = bisect_right(self.at, at)
        occupied += sum(self.units[oldest:newest])
        since = at if occupied <= room else inf
        while True:
            over = self.at[oldest] + span if oldest < newest else inf
            begins = self.at[newest] if newest < len(self.at) else inf
            if since < inf and begins >= since + span:
                return since
            # At one moment what ends goes before what begins.
            if end <= begins and end <= over:
                at, occupied = max(at, end), occupied - ending
                end, ending = self._next_end(charges)
            elif over <= begins:
                at, occupied, oldest = max(at, over), occupied - self.units[oldest], oldest + 1
            else:
                at, occupied, newest = begins, occupied + self.units[newest], newest + 1
            since = inf if occupied > room else min(since, at)

    def _next_end(self, charges: Iterator[tuple[float, int]]) -> tuple[float, int]:
        for at, units in charges:
            return at + self.length, units
        return inf, 0
