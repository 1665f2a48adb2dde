"""When a job is due: `every 30s`, 5-field cron and 6-field NCRONTAB, in a time zone. Values only; nobody asks a clock here.

Intervals are counted from the Unix epoch, so that every replica names the same instants. Cron times are local times of the zone:

- a local time that the spring change skips fires once, at the instant it would have had without the change (02:30 becomes 03:30);
- a local time that the autumn change repeats fires once, the first time, for a schedule that names its hours; a schedule whose hour
  field allows all 24 hours goes on through the repeated hour as through any other, so that "each five minutes" never pauses.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from syncd.domain.cron import Fields, parse_cron
from syncd.domain.errors import Invalid

_EVERY = re.compile(r"every\s+(?P<count>[0-9]{1,9})\s*(?P<unit>[smh])", re.IGNORECASE)
_UNITS = {"s": 1, "m": 60, "h": 3600}
_DAY = 86400
#: Longest gap or repetition of local time that a zone has ever made (Samoa skipped a whole day in 2011), with room. Seconds.
_LONGEST_CHANGE = 2 * _DAY
_YEAR_0001 = -62135596800
_YEAR_9999 = 253402214400  # one day short, so that local time fits as well


class Schedule(Protocol):
    """The instants at which a job is due, in whole Unix seconds."""

    @property
    def text(self) -> str: ...

    def next_after(self, t: float) -> float | None:
        """The first instant strictly after `t`; None where the calendar ends."""
        ...


@dataclass(frozen=True, slots=True)
class Every:
    """Every `seconds`, counted from the Unix epoch."""

    text: str
    seconds: int

    def next_after(self, t: float) -> float | None:
        return float((math.floor(t / self.seconds) + 1) * self.seconds)


@dataclass(frozen=True, slots=True)
class Cron:
    text: str
    fields: Fields
    zone: tzinfo

    def next_after(self, t: float) -> float | None:
        start = max(math.floor(t) + 1, _YEAR_0001 + _LONGEST_CHANGE)
        if start >= _YEAR_9999:
            return None
        for stretch in _stretches(self.zone, start):
            found = self._first_in(stretch, start)
            if found is not None:
                return float(found)
            start = start if stretch.end is None else max(start, stretch.end)
        return None

    def _first_in(self, stretch: _Stretch, start: int) -> int | None:
        """The first instant at or after `start` inside one stretch of constant offset."""
        offset, before, begin, end = stretch.offset, stretch.before, stretch.begin, stretch.end
        start = start if begin is None else max(start, begin)
        regular = start
        if begin is not None and offset < before and not self.fields.every_hour:
            regular = max(start, begin + before - offset)  # the hour that is repeated fired the first time
        local = self.fields.next_local(regular + offset, None if end is None else end + offset)
        found = None if local is None else local - offset
        if begin is not None and offset > before:
            gap_end = begin + offset - before
            skipped = self.fields.next_local(start + before, (gap_end if end is None else min(gap_end, end)) + before)
            if skipped is not None and (found is None or skipped - before < found):
                return skipped - before
        return found


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Instants [begin, end) at which the zone keeps one offset; `before` is the offset until `begin`. None: no bound."""

    begin: int | None
    end: int | None
    offset: int
    before: int


def _offset(zone: tzinfo, instant: int) -> int:
    offset = (datetime.fromtimestamp(0, UTC) + timedelta(seconds=instant)).astimezone(zone).utcoffset()
    assert offset is not None
    # Local mean times have odd seconds, and zoneinfo keeps them; a fraction of a second never occurs.
    return int(offset.total_seconds())


@lru_cache(maxsize=4096)
def _changes(zone: tzinfo, year: int) -> tuple[int, ...]:
    """The instants of one UTC year at which the zone's offset changes. zoneinfo does not tell them, so each day is probed; no
    zone has ever changed its offset twice within a day."""
    begin = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    end = int(datetime(year + 1, 1, 1, tzinfo=UTC).timestamp()) if year < 9999 else _YEAR_9999
    changes = []
    known = _offset(zone, begin - 1) if year > 1 else _offset(zone, begin + _DAY)
    low = begin - 1
    for probe in (*range(begin + _DAY - 1, end - 1, _DAY), end - 1):
        offset = _offset(zone, probe)
        if offset != known:
            high = probe
            while high - low > 1:
                middle = (low + high) // 2
                if _offset(zone, middle) == known:
                    low = middle
                else:
                    high = middle
            changes.append(high)
            known = offset
        low = probe
    return tuple(changes)


def _stretches(zone: tzinfo, start: int) -> Iterator[_Stretch]:
    """Stretches in order, beginning with the one that holds `start`, up to the end of the calendar. One that reaches over the
    end of a year is told in pieces with the same `begin`, so that no more years are looked at than are needed."""
    offset = _offset(zone, start)
    if zone is UTC:
        yield _Stretch(None, None, offset, offset)
        return
    first = datetime.fromtimestamp(0, UTC) + timedelta(seconds=start - _LONGEST_CHANGE)
    begin: int | None = None
    before = offset
    for year in range(first.year, 10000):
        for change in _changes(zone, year):
            if change > start:
                yield _Stretch(begin, change, offset, before)
                before, offset = offset, _offset(zone, change)
            else:
                before = _offset(zone, change - 1)
            begin = change
        end = int(datetime(year + 1, 1, 1, tzinfo=UTC).timestamp()) if year < 9999 else _YEAR_9999
        if end > start:
            yield _Stretch(begin, end, offset, before)


def time_zone(name: str) -> tzinfo:
    """UTC, or an IANA zone, for example `Europe/Luxembourg`: then the system's time zone files are read. Raises Invalid."""
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        rule = "UTC or a zone of the IANA data base, for example Europe/Luxembourg"
        raise Invalid(f"timezone {name!r} is not known; allowed: {rule}", errors={"timezone": rule}) from None


def parse_schedule(text: str, timezone: str = "UTC") -> Schedule:
    """Read `every 30s|5m|1h` or a cron expression. Raises Invalid saying what is wrong and what is allowed."""
    zone = time_zone(timezone)
    words = text.strip()
    if words.lower().startswith("every"):
        match = _EVERY.fullmatch(words)
        if not match or not int(match["count"]):
            rule = "every <n>s, every <n>m or every <n>h, with n at least 1"
            raise Invalid(f"schedule {text!r} is not an interval; allowed: {rule}", errors={"schedule": rule})
        return Every(words, int(match["count"]) * _UNITS[match["unit"].lower()])
    return Cron(words, parse_cron(words), zone)


def fires_between(schedule: Schedule, after: float, until: float, limit: int = 1000) -> list[float]:
    """Up to `limit` instants in (after, until], oldest first."""
    fires: list[float] = []
    t = after
    while len(fires) < limit:
        found = schedule.next_after(t)
        if found is None or found > until:
            break
        fires.append(found)
        t = found
    return fires


def last_between(schedule: Schedule, after: float, until: float) -> float | None:
    """The latest instant in (after, until], found in a logarithmic number of steps however many there are."""
    found = schedule.next_after(after)
    if found is None or found > until:
        return None
    # "Something fires after x and by `until`" holds for x = found - 1 and all before it, and for nothing from the answer on.
    low, high = math.floor(found) - 1, math.floor(until)
    while high - low > 1:
        middle = (low + high) // 2
        following = schedule.next_after(middle)
        if following is not None and following <= until:
            low, found = middle, following
        else:
            high = middle
    return found


def jitter(job: str, tick: float, span: float) -> float:
    """Seconds in [0, span) by which this tick of this job starts later: the same on every replica and after every restart."""
    if span <= 0:
        return 0.0
    draw = int.from_bytes(hashlib.sha256(f"{job}\n{tick!r}".encode()).digest()[:6], "big")
    return span * (draw / 2**48)
