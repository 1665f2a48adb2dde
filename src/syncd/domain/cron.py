"""Cron expressions as sets of numbers, and the next local time that they name. No time zones here: `schedules` adds those.

Five fields are `minute hour day month weekday`; six are NCRONTAB, with seconds first. Sunday is 0 and also 7. Month and weekday
take three-letter English names in any case. A field is a list of `*`, `n`, `a-b`, each with an optional step `/s`; `n/s` runs
from n to the end of the field, and a range may wrap (`fri-mon`, `22-2`). Day of month and weekday must *both* match, as in
NCRONTAB (13 with fri is Friday the 13th) and unlike Vixie cron, which takes either.
https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer#ncrontab-expressions
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import NoReturn

from syncd.domain.errors import Invalid

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAY = 86400
#: `date.toordinal` of 1970-01-01: local seconds count from there, as if the local time were UTC.
_EPOCH = date(1970, 1, 1).toordinal()
#: The last day that `date` can name: after it nothing fires.
LAST_DAY = date.max.toordinal() - _EPOCH
_PART = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\w+))?")


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def parse(self, text: str) -> tuple[int, ...]:
        """The numbers that `text` allows, ascending. Raises Invalid naming the field and what is allowed."""
        values: set[int] = set()
        for part in text.split(","):
            values.update(self._part(part, text))
        return tuple(sorted(values))

    def _part(self, part: str, text: str) -> list[int]:
        match = _PART.fullmatch(part)
        if not match or (match["first"] == "*" and match["last"]):
            self._refuse(text, f"{part!r} is not one of the allowed forms")
        size = self.high - self.low + 1
        if match["first"] == "*":
            first, count = self.low, size
        else:
            first = self._number(match["first"], text)
            if match["last"]:
                last = self._number(match["last"], text)
                if last < first:  # a wrap; 7 as its beginning is Sunday, the first day of the week
                    first, last = self._wrapped(first), self._wrapped(last)
                count = last - first + 1 if last >= first else size - (first - last) + 1
            else:
                count = self.high - self._wrapped(first) + 1 if match["step"] else 1
        step = self._step(match["step"], size, text) if match["step"] else 1
        return [self._wrapped(first + offset) for offset in range(0, count, step)]

    def _wrapped(self, number: int) -> int:
        return self.low + (number - self.low) % (self.high - self.low + 1)

    def _number(self, word: str, text: str) -> int:
        if word.lower() in self.names:
            return self.low + self.names.index(word.lower())
        if not (word.isascii() and word.isdecimal()):
            self._refuse(text, f"{word!r} is not a number{' or a name of this field' if self.names else ''}")
        number = int(word[:9])
        if not self.low <= number <= (7 if self.name == "weekday" else self.high):
            self._refuse(text, f"{word} is out of range")
        return number

    def _step(self, word: str, size: int, text: str) -> int:
        if not (word.isascii() and word.isdecimal()) or not 1 <= int(word[:9]) <= size:
            self._refuse(text, f"the step {word!r} must be a number from 1 to {size}")
        return int(word)

    def _refuse(self, text: str, problem: str) -> NoReturn:
        names = f", names {self.names[0]}-{self.names[-1]}" if self.names else ""
        high = "7 (0 and 7 are Sunday)" if self.name == "weekday" else str(self.high)
        rule = f"{self.low}-{high}{names}; as *, n, a-b, any of them with /step, joined by commas"
        raise Invalid(f"{self.name} {text!r}: {problem}; allowed: {rule}", errors={self.name: rule})


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, 6, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """The allowed numbers of each field, ascending."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """Sunday is 0."""

    @property
    def every_hour(self) -> bool:
        return len(self.hours) == 24

    def next_local(self, start: int, end: int | None = None) -> int | None:
        """The first match in [start, end), in local seconds since 1970-01-01 00:00 local. None: there is none."""
        day, second = divmod(start, _DAY)
        last = LAST_DAY if end is None else min(LAST_DAY, (end - 1) // _DAY)
        found = self._next_day(day, last)
        if found == day:
            at = self._next_time(second)
            if at is None:
                found = self._next_day(day + 1, last)
            else:
                return self._within(day * _DAY + at, end)
        if found is None:
            return None
        return self._within(
            found * _DAY + self.hours[0] * 3600 + self.minutes[0] * 60 + self.seconds[0],
            end,
        )

    @staticmethod
    def _within(moment: int, end: int | None) -> int | None:
        return moment if end is None or moment < end else None

    def _next_time(self, second: int) -> int | None:
        """The first allowed second of the day at or after `second`."""
        hour, rest = divmod(second, 3600)
        minute, second = divmod(rest, 60)
        for h in self.hours:
            if h < hour:
                continue
            for m in self.minutes:
                if h == hour and m < minute:
                    continue
                if h > hour or m > minute:
                    return h * 3600 + m * 60 + self.seconds[0]
                for s in self.seconds:
                    if s >= second:
                        return h * 3600 + m * 60 + s
        return None

    def _next_day(self, day: int, last: int) -> int | None:
        """The first allowed day in [day, last], in days since 1970-01-01."""
        while day <= last:
            current = date.fromordinal(_EPOCH + day)
            if current.month not in self.months:
                if (current.year, current.month) == (date.max.year, 12):
                    return None
                following = (current.year + current.month // 12, current.month % 12 + 1, 1)
                day = date(*following).toordinal() - _EPOCH
            elif current.day in self.days and current.isoweekday() % 7 in self.weekdays:
                return day
            else:
                day += 1
        return None


def parse_cron(text: str) -> Fields:
    """Read 5 or 6 fields. Raises Invalid saying which field is wrong and what it allows, or that no such date exists."""
    words = text.split()
    if len(words) not in (5, 6):
        raise Invalid(
            f"schedule {text!r} has {len(words)} fields; it must be `every <n>s|m|h`, 5 fields (minute hour day month weekday) "
            "or 6 fields (second minute hour day month weekday)",
            errors={"schedule": "every <n>s|m|h, 5 or 6 cron fields"},
        )
    if len(words) == 5:
        words.insert(0, "0")
    try:
        values = [field.parse(word) for field, word in zip(_FIELDS, words, strict=True)]
    except Invalid as error:
        raise Invalid(f"schedule {text!r}: {error}", errors=error.errors) from None
    _, _, _, days, months, _ = values
    if not any(day <= _LONGEST[month - 1] for month in months for day in days):
        raise Invalid(
            f"schedule {text!r}: no such date exists: day of month {words[3]!r} is beyond the end of month {words[4]!r}",
            errors={"day of month": "a day that one of the months has"},
        )
    seconds, minutes, hours, days, months, weekdays = values
    return Fields(
        seconds=seconds,
        minutes=minutes,
        hours=hours,
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(weekdays),
    )
