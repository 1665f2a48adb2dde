"""Time is seconds since the Unix epoch inside, ISO 8601 UTC with milliseconds and `Z` on the wire and in documents.

The text form has a fixed width, so its order is the order of time: documents may be sorted and compared by it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0


@lru_cache(maxsize=1024)
def iso(seconds: float) -> str:
    """`1700000000.5` -> `2023-11-14T22:13:20.500Z`. Cached, because a record is written with one moment in many places."""
    milliseconds = round(seconds * 1000)
    return f"{_to_the_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=256)
def _to_the_second(seconds: int) -> str:
    """Cached, because most times that are written are of this very second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def iso_or_none(seconds: float | None) -> str | None:
    return None if seconds is None else iso(seconds)


def parse(text: str) -> float:
    """Read any ISO 8601 time; without a zone it is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def parse_or_none(text: str | None) -> float | None:
    return None if text is None else parse(text)


def month(seconds: float) -> str:
    """`yyyymm` in UTC, the partition suffix of collections that are kept by month."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m}"


def day(seconds: float) -> str:
    """`yyyymmdd` in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%d}"
