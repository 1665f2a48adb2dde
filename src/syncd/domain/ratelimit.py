"""The rate limiter's rule over several levels: all are charged or none, and a refused caller may book its own turn.

What one key allows is said in `slidingwindow`; here is what holds several together. Times are monotonic seconds, given by the
caller. A decision without bookings is O(1) per level.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf
from sys import maxsize
from typing import Protocol

from syncd.domain.errors import Invalid
from syncd.domain.slidingwindow import LOG_PAIRS, Window

#: Bookings in all, so that a flood of refused callers cannot fill the memory. Beyond it a refusal books nothing.
MAX_BOOKINGS = 100_000
_KEYS_PER_SWEEP = 256


class LevelLike(Protocol):
    """At most `limit` units in any `window` seconds under `key`."""

    @property
    def key(self) -> str: ...
    @property
    def limit(self) -> int: ...
    @property
    def window(self) -> float: ...


#: What became of one request: allowed; units left in the tightest level; the time when that frees its next unit or, refused,
#: when it may be this caller's turn; the id of the booking, if one is held. A plain tuple: one is made for every request.
Verdict = tuple[bool, int, float, str | None]


@dataclass(frozen=True, slots=True)
class _Booking:
    at: float
    lapses: float
    cost: int
    windows: tuple[Window, ...]


class Ledger:
    """All keys and bookings of one limiter. Pure but for its memory: every method is told the time.

    `boot` makes booking ids unlike those of an earlier process: messages carry them over a restart.
    """

    def __init__(self, *, boot: str, max_bookings: int = MAX_BOOKINGS) -> None:
        self._windows: dict[str, Window] = {}
        self._bookings: dict[str, _Booking] = {}
        self._lapses: list[tuple[float, str]] = []
        self._boot = boot
        self._max_bookings = max_bookings
        self._issued = 0
        self._mark = 0
        self._sweep_at = -inf
        self._fresh = 0
        self._hand: list[str] = []

    @property
    def keys(self) -> int:
        return len(self._windows)

    @property
    def bookings(self) -> int:
        return len(self._bookings)

    def take(
        self,
        now: float,
        levels: Sequence[LevelLike],
        *,
        cost: int = 1,
        reserve: bool = False,
        booking: str | None = None,
    ) -> Verdict:
        """Charge all levels or none. Raises Invalid where `cost` can never fit, or a level makes no sense."""
        if cost < 1:
            raise Invalid(f"a cost is at least 1; it is {cost}")
        if self._lapses and self._lapses[0][0] < now:
            self._lapse(now)
        if self._fresh or self._sweep_at <= now:
            self._sweep(now)
        if booking is not None and booking in self._bookings:
            return self._redeem(now, booking, levels, cost, reserve)
        return self._take(now, levels, cost, reserve)

    def charge(self, now: float, levels: Sequence[LevelLike], cost: int) -> None:
        """Add what is already spent, over the limit if need be."""
        if cost < 0:
            raise Invalid(f"what was spent is at least 0; it is {cost}")
        if cost:
            self._sweep(now)
            self._charge(now, self._found(levels, now), cost)

    def release(self, booking: str) -> None:
        held = self._bookings.pop(booking, None)
        if held is not None:
            for window in held.windows:
                window.unbook(held.at, held.cost)
                window.hint = -inf
        if len(self._lapses) > 2 * len(self._bookings) + 1000:
            self._lapses = [(kept.lapses, name) for name, kept in self._bookings.items()]
            heapify(self._lapses)

    def _take(self, now: float, levels: Sequence[LevelLike], cost: int, reserve: bool) -> Verdict:
        windows = self._windows
        self._mark = mark = self._mark + 1
        found: list[Window] = []
        least = maxsize
        tightest: Window | None = None
        for level in levels:
            window = windows.get(level.key)
            if window is None or window.length != level.window:
                window = self._window(level)
            if window.frees <= now:
                window.expire(now)
            left = level.limit - window.used - cost - window.booked
            if left < 0:
                if not window.fits(now, cost, level.limit):
                    return self._refuse(now, levels, cost, reserve)
                left = 0
            if left < least:
                least, tightest = left, window
            if window.mark != mark:
                window.mark = mark
                found.append(window)
        self._charge(now, found, cost)
        return True, least, now if tightest is None else tightest.frees, None

    def _charge(self, now: float, windows: Iterable[Window], cost: int) -> None:
        for window in windows:
            log = window.log
            if log and log[-1][0] != now and len(log) < LOG_PAIRS:  # the ordinary case, without the price of a call
                log.append((now, cost))
                window.used += cost
            else:
                window.charge(now, cost)

    def _redeem(self, now: float, booking: str, levels: Sequence[LevelLike], cost: int, reserve: bool) -> Verdict:
        held = self._bookings[booking]
        windows = tuple(self._found(levels, now))
        if windows != held.windows or cost != held.cost:
            self.release(booking)  # it was booked for something else
            return self._take(now, levels, cost, reserve)
        for window in windows:
            window.unbook(held.at, cost)
        if now >= held.at or all(
            window.fits(now, cost, level.limit) for level in levels for window in [self._window(level)]
        ):
            del self._bookings[booking]
            self._charge(now, windows, cost)
            least, tightest = self._tightest(now, levels)
            return True, least, tightest, None
        for window in windows:
            window.book(held.at, cost)
        return False, self._tightest(now, levels)[0], held.at, booking

    def _refuse(self, now: float, levels: Sequence[LevelLike], cost: int, reserve: bool) -> Verdict:
        windows = [self._window(level) for level in levels]
        for window, level in zip(windows, levels, strict=True):
            window.expire(now)
            if cost > level.limit:
                raise Invalid(
                    f"{cost} units can never pass {level.key!r}, which allows {level.limit} in {level.window:g} s"
                )
        at, left = self._plan(now, windows, levels, cost), self._tightest(now, levels)[0]
        if not reserve or len(self._bookings) >= self._max_bookings:
            return False, left, at, None
        self._issued += 1
        booking = f"{self._boot}-{self._issued}"
        held = tuple(dict.fromkeys(windows))
        lapses = at + min(window.grace for window in held)
        self._bookings[booking] = _Booking(at, lapses, cost, held)
        heappush(self._lapses, (lapses, booking))
        for window in held:
            window.book(at, cost)
        return False, left, at, booking

    def _plan(self, now: float, windows: Sequence[Window], levels: Sequence[LevelLike], cost: int) -> float:
        """The earliest time at which all levels have room."""
        if not any(window.at for window in windows):  # nothing begins later, so what has room once keeps it
            return max([window.room(now, level.limit - cost) for window, level in zip(windows, levels, strict=True)])
        at, before = now, -inf
        while at > before:
            before = at
            for window, level in zip(windows, levels, strict=True):
                at = window.turn(now, cost, level.limit, after=at)
        return at

    def _tightest(self, now: float, levels: Sequence[LevelLike]) -> tuple[int, float]:
        """Units left in the tightest level, and when it frees its next."""
        least, frees = maxsize, now
        for level in levels:
            window = self._window(level)
            left = max(0, level.limit - window.used - window.booked)
            if left < least:
                least, frees = left, window.frees
        return least, frees

    def _found(self, levels: Sequence[LevelLike], now: float) -> list[Window]:
        """The windows of the levels, each once, without what has left them."""
        windows = list(dict.fromkeys([self._window(level) for level in levels]))
        for window in windows:
            window.expire(now)
        return windows

    def _window(self, level: LevelLike) -> Window:
        """The window of a level. A second length under one key, at once or after a reload, is a window of its own that begins
        with what the first has seen: a changed setting must not open it."""
        window = self._windows.get(level.key)
        if window is not None and window.length == level.window:
            return window
        other = f"{level.key}\0{level.window!r}"
        if other in self._windows:
            return self._windows[other]
        if level.limit < 1 or not 0 < level.window < inf:
            raise Invalid(f"{level.key!r} allows {level.limit} units in {level.window} s: both must be above 0")
        self._fresh += 1
        fresh = Window(level.window)
        if window is None:
            self._windows[level.key] = fresh
        else:
            for at, units in window.log:
                fresh.charge(at, units)
            self._windows[other] = fresh
        return fresh

    def _lapse(self, now: float) -> None:
        while self._lapses and self._lapses[0][0] < now:
            self.release(heappop(self._lapses)[1])

    def _sweep(self, now: float) -> None:
        """Look at some keys and forget the idle ones: two for each new key, so that memory follows use, and some each second.
        Only between decisions: one in the making holds windows that are still empty."""
        count = 2 * self._fresh
        self._fresh = 0
        if self._sweep_at <= now:
            self._sweep_at = now + 1.0
            count += _KEYS_PER_SWEEP
        if not self._hand:
            self._hand = list(self._windows)
        for _ in range(min(count, len(self._hand))):
            key = self._hand.pop()
            window = self._windows.get(key)
            if window is not None:
                window.expire(now)
                if not window.log and not window.at:
                    del self._windows[key]
