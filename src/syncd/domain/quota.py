"""What a provider's answer says about its limits: how much is used, and when to come back. Pure; reads never raise.

Header names are in lower case. Times that a provider names are counted from the answer's own `Date`, where it has one: the
provider's clock and ours may differ, and only the distance matters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

Headers = Mapping[str, str]

#: Longest wait that a provider may impose, in seconds. Longer ones (HubSpot names up to a day) are asked about hourly: a wrong header
#: or a quota that was raised meanwhile must not hold a connection for a day.
LONGEST_WAIT = 3600.0
#: Shortest wait, in seconds: `Retry-After: 0` or a moment that has passed must not become a loop.
SHORTEST_WAIT = 1.0
#: (limit, remaining) as providers name them.
_PAIRS = (
    ("x-ratelimit-limit", "x-ratelimit-remaining"),
    ("x-rate-limit-limit", "x-rate-limit-remaining"),
    ("ratelimit-limit", "ratelimit-remaining"),  # draft-ietf-httpapi-ratelimit-headers up to 07
    ("x-hubspot-ratelimit-max", "x-hubspot-ratelimit-remaining"),
)
#: `used/limit` in one header.
_FRACTIONS = (
    ("sforce-limit-info", re.compile(r"(?<![\w-])api-usage=(\d{1,15})/(\d{1,15})")),
    ("x-shopify-shop-api-call-limit", re.compile(r"^\s*(\d{1,15})/(\d{1,15})")),
)
_RESETS = ("x-ratelimit-reset", "x-rate-limit-reset", "ratelimit-reset")
#: Above it a number is a moment and not a distance: 2001 in seconds, and longer than any limit's window.
_MOMENT = 1_000_000_000
#: Above it a moment is in milliseconds: the year 5138 in seconds.
_MILLISECONDS = 100_000_000_000
#: `r`, `t` and `q` of the draft from 08 on; `limit`, `remaining` and `reset` of 04 to 07 where they share one header.
_PARAMETER = re.compile(r'(?<![\w-])([a-z]{1,20})="?(\d{1,15})')


def used_share(headers: Headers) -> float | None:
    """Part of the quota that is used, 0 to 1 (or above, where it is overdrawn); None where the answer does not say."""
    if not any("limit" in name for name in headers):  # as every name below does; most answers say nothing
        return None
    for limit_name, remaining_name in _PAIRS:
        limit, remaining = _number(headers.get(limit_name)), _number(headers.get(remaining_name))
        if limit and remaining is not None:
            return max(0.0, 1 - remaining / limit)
    for name, pattern in _FRACTIONS:
        found = pattern.search(headers.get(name, ""))
        if found and int(found[2]):
            return int(found[1]) / int(found[2])
    combined = _combined(headers)
    limit = combined.get("limit", combined.get("q"))
    remaining = combined.get("remaining", combined.get("r"))
    if limit and remaining is not None:
        return max(0.0, 1 - remaining / limit)
    return None


def is_spent(headers: Headers) -> bool:
    """Nothing is left until the quota is renewed."""
    for _, name in _PAIRS:
        if name in headers:
            return _number(headers[name]) == 0
    combined = _combined(headers)
    return combined.get("remaining", combined.get("r")) == 0


def retry_after(headers: Headers, now: float) -> float | None:
    """Seconds of the header Retry-After, a number or an HTTP date (RFC 9110, 10.2.3), as it came: negative where the date has passed."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    seconds = _seconds(text)
    if seconds is not None:
        return seconds
    moment = http_date(text)
    return None if moment is None else moment - _their_now(headers, now)


def reset_after(headers: Headers, now: float) -> float | None:
    """Seconds until the quota is renewed, from whichever form is there: a distance, Unix seconds or milliseconds, ISO 8601."""
    for name in _RESETS:
        text = headers.get(name, "").strip()
        if not text:
            continue
        value = _seconds(text)
        if value is None:
            moment = _moment(text)
        elif value < _MOMENT:
            return value
        else:
            moment = value / 1000 if value > _MILLISECONDS else value
        if moment is not None:
            return moment - _their_now(headers, now)
    combined = _combined(headers)
    return combined.get("reset", combined.get("t"))


def bounded_wait(seconds: float) -> float:
    return min(max(seconds, SHORTEST_WAIT), LONGEST_WAIT)


def http_date(text: str | None) -> float | None:
    """Unix seconds of an HTTP date; None where it is none."""
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _their_now(headers: Headers, now: float) -> float:
    served = http_date(headers.get("date"))
    return now if served is None else served


def _moment(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return http_date(text)


def _combined(headers: Headers) -> dict[str, float]:
    """Parameters of `ratelimit` and `ratelimit-policy`: of the first policy, where several are listed."""
    found: dict[str, float] = {}
    for name in ("ratelimit", "ratelimit-policy"):
        for parameter, number in _PARAMETER.findall(headers.get(name, "")):
            found.setdefault(parameter, float(number))
    return found


def _number(text: str | None) -> float | None:
    """The leading number; the early drafts list policies behind it: `100, 100;w=60`."""
    return None if text is None else _seconds(text.split(",")[0].split(";")[0].strip())


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
