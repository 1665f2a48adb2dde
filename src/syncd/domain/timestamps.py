"""Times as other systems write them, read into seconds since the Unix epoch.

    ISO 8601         with or without zone and fraction, `T` or a space, `Z`, `+01:00`, `+0100`, ` +0000`, ` UTC`, week dates
    RFC 2822, HTTP   `Tue, 14 Nov 2023 22:13:20 GMT`
    epoch            seconds, milliseconds, microseconds or nanoseconds as a number or as text, told apart by their size
    compact          `20231114`, `20231114221320`
    .NET             `/Date(1700000000000)/`

What names no zone is UTC. What people write in one country only (`11/12/2023`) is refused: nobody can tell the month from the day.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from syncd.domain.jsontypes import Json

#: The years 1 to 9999, which is what ISO 8601 with four digits can write.
_FIRST, _LAST = -62_135_596_800.0, 253_402_300_799.999
#: An epoch of this size or more is in the next smaller unit: 10^11 seconds is the year 5138, 10^11 ms was March 1973.
_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
_NUMBER = re.compile(r"[+-]?\d{1,20}(\.\d{1,12})?")
_DOT_NET = re.compile(r"/Date\((-?\d{1,15})([+-]\d{4})?\)/")
#: ` UTC`, ` GMT` and Go's ` +0000 UTC` after a time, and a blank before an offset.
_ZONE_NAME = re.compile(r"\s*(UTC|GMT|Z)$", re.IGNORECASE)
_BLANK_OFFSET = re.compile(r"\s+([+-]\d{2}:?\d{2})$")
_LEAP_SECOND = re.compile(r"(?<=:\d{2}:)60(?!\d)")
#: Characters; no way of writing a time needs more.
_LONGEST = 64

SinceFormat = Literal["iso", "epoch", "epoch_ms"]
SINCE_FORMATS: tuple[SinceFormat, ...] = get_args(SinceFormat)


def read_time(value: Json) -> float:
    """Seconds since the epoch. Raises ValueError, with the value's beginning, where it is no time between the years 1 and 9999."""
    if isinstance(value, str):
        seconds = None
        if value[4:5] == "-":  # what nearly all systems write; digits alone are never read as ISO 8601 (see `_seldom`)
            try:
                moment = datetime.fromisoformat(value)
                seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
            except (ValueError, OverflowError):
                seconds = None
        if seconds is None:
            seconds = _of_text(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = _of_number(float(value) if abs(value) < 1e21 else float("inf"))
    else:
        raise ValueError(f"{_quoted(value)} is no time")  # noqa: TRY004 (one error for every unreadable value)
    if not _FIRST <= seconds <= _LAST:
        raise ValueError(f"{_quoted(value)} is no time between the years 1 and 9999")
    return seconds


def written(seconds: float, style: SinceFormat) -> str:
    """For a query that asks for what is newer. Whole seconds, rounded down: what reads no fractions reads these, and nothing of the
    same second is left out."""
    whole = int(seconds // 1)
    if style == "iso":
        return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return str(whole if style == "epoch" else whole * 1000)


def _of_number(number: float) -> float:
    size = abs(number)
    for bound, unit in _UNITS:
        if size < bound:
            return number / unit
    raise ValueError("a number of this size is no time")  # also inf and nan, which are below nothing


def _of_text(text: str) -> float:
    if len(text) > _LONGEST:
        raise ValueError(f"{_quoted(text)} is no time")
    try:
        return _seldom(text.strip())
    except (ValueError, OverflowError, TypeError, IndexError):  # the e-mail reader raises all of these
        raise ValueError(f"{_quoted(text)} is no time that can be read") from None


def _seldom(text: str) -> float:
    if _NUMBER.fullmatch(text) and text.isascii():
        if len(text) == 8 and text.isdigit():
            return _seconds(datetime.fromisoformat(text))
        if len(text) == 14 and text.isdigit():
            return _seconds(datetime.fromisoformat(f"{text[:8]}T{text[8:]}"))
        if len(text) < 8:
            raise ValueError("too short for a time")
        return _of_number(float(text))
    dot_net = _DOT_NET.fullmatch(text)
    if dot_net:
        return int(dot_net[1]) / 1000  # the offset is only how to show it
    if text[:4].isdigit() and not text.isdigit():
        return _iso_of_the_field(text)
    return _seconds(parsedate_to_datetime(text))


def _iso_of_the_field(text: str) -> float:
    """ISO 8601 as languages print it by default: Ruby `2023-11-14 22:13:20 UTC`, Go `... +0000 UTC`, a leap second, small letters."""
    bare = _ZONE_NAME.sub("", text)
    bare = _BLANK_OFFSET.sub(r"\1", bare)
    bare, leap = _LEAP_SECOND.subn("59", bare)
    return _seconds(datetime.fromisoformat(bare.upper())) + leap


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _quoted(value: Json) -> str:
    text = repr(value) if isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."
