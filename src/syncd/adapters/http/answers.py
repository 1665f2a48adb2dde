"""From an answer that the caller does not accept to the error it means: one table, first match wins.

    429, 529                                       Throttled
    503 with Retry-After                           Throttled
    403 with Retry-After, a spent quota, or a
        text about a rate limit                    Throttled: GitHub and Google say 403 where others say 429
    401                                            AuthenticationFailed
    404, 410                                       NotFound
    409, 412                                       Conflict
    408, other 5xx                                 ServerFault: may have been processed
    everything else                                Rejected, redirects that are not followed among it

A throttled answer says when to come back: its Retry-After; else, with a spent quota, its reset; else a default. Always between
`quota.SHORTEST_WAIT` and `quota.LONGEST_WAIT`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from yarl import URL

from syncd.adapters.http.reply import excerpt
from syncd.domain import quota
from syncd.domain.errors import (
    AuthenticationFailed,
    Conflict,
    NotFound,
    NotUnderstood,
    Rejected,
    ServerFault,
    SyncdError,
    Throttled,
)
from syncd.domain.jsonbody import parse

if TYPE_CHECKING:
    from syncd.adapters.http.auth import Authorisation
    from syncd.adapters.http.exchange import Exchanged

#: Waited after a 429 that names no time. Seconds.
DEFAULT_BACK_OFF = 30.0
#: Least wait after a secondary rate limit that names no time, in seconds: "wait for at least one minute".
#: https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit
SECONDARY_BACK_OFF = 60.0
_SECONDARY = re.compile(rb"secondary rate limit|abuse detection", re.IGNORECASE)
#: Google's reasons are `rateLimitExceeded` and `userRateLimitExceeded`; GitHub writes "API rate limit exceeded".
_RATE_LIMIT = re.compile(rb"rate ?limit ?exceeded", re.IGNORECASE)
#: Bytes of a body in which such a text is looked for, and that are read for what the provider says.
_READ = 64 * 1024
_SAID = 200
#: Where providers put what they say to people, in order.
_TEXTS = ("message", "error_description", "detail", "error", "title", "errors", "errorMessages", "reason")


def error_of(answer: Exchanged, *, target: str, authorisation: Authorisation, now: float) -> SyncdError:
    """`now`: Unix seconds by our clock, used where the answer has no Date."""
    status = answer.status
    text = f"{target}: answered {status}{_said(answer, authorisation)}"
    wait = quota.retry_after(answer.headers, now)
    if status in (429, 529) or (status == 503 and wait is not None) or (status == 403 and _is_limit(answer)):
        return _throttled(answer, text, wait, now)
    if status == 401:
        return AuthenticationFailed(text)
    if status in (404, 410):
        return NotFound(text)
    if status in (409, 412):
        return Conflict(text)
    if status == 408 or status >= 500:
        return ServerFault(text, retry_after=None if wait is None else quota.bounded_wait(wait))
    if 300 <= status < 400:
        return Rejected(f"{target}: answered {status}, a redirect to {_host(answer)} that is not followed")
    return Rejected(text)


def is_quota_spent(answer: Exchanged) -> bool:
    """The refusal is about everything that is asked with this credential, and not about this one request."""
    return quota.is_spent(answer.headers) or _SECONDARY.search(answer.body[:_READ]) is not None


def _is_limit(answer: Exchanged) -> bool:
    return (
        "retry-after" in answer.headers or is_quota_spent(answer) or _RATE_LIMIT.search(answer.body[:_READ]) is not None
    )


def _throttled(answer: Exchanged, text: str, wait: float | None, now: float) -> Throttled:
    if wait is None and quota.is_spent(answer.headers):
        wait = quota.reset_after(answer.headers, now)
    if wait is None:
        wait = SECONDARY_BACK_OFF if _SECONDARY.search(answer.body[:_READ]) else DEFAULT_BACK_OFF
    bounded = quota.bounded_wait(wait)
    if wait > bounded:
        text += f"; it names a wait of {wait:.0f} s and is asked again after {bounded:.0f} s, in case that was meant otherwise"
    return Throttled(text, retry_after=bounded)


def _said(answer: Exchanged, authorisation: Authorisation) -> str:
    """What the provider says about it, for a person; empty where it says nothing."""
    if not answer.body.strip():
        return ""
    said = None
    if len(answer.body) <= _READ and not answer.truncated:
        try:
            said = _text_in(parse(answer.body))
        except NotUnderstood:
            said = None
    words = excerpt(answer.body if said is None else said.encode("utf-8", "replace"), authorisation, _SAID)
    return f": {words}" if words else ""


def _text_in(value: object, depth: int = 0) -> str | None:
    if isinstance(value, str):
        return value or None
    if depth > 3:
        return None
    if isinstance(value, list):
        return next((text for item in value[:3] if (text := _text_in(item, depth + 1))), None)
    if isinstance(value, dict):
        return next((text for name in _TEXTS if (text := _text_in(value.get(name), depth + 1))), None)
    return None


def _host(answer: Exchanged) -> str:
    location = answer.headers.get("location")
    if not location:
        return "nowhere"
    try:
        return answer.url.join(URL(location)).host or "nowhere"
    except ValueError:
        return "what is no address"
