"""What the answers of the cost webhook and of its status route mean. Pure.

Two shapes are in use: the documented `{"status": "success", ...}` with `{"status": "ok"}` as status, and the deployed
`{"success": true, "message", "output", "errors"}` with `{"success": true, "stats": {"processing", "failed", ...},
"latest_export": {"import_completed_at", ...}}`. The front end before the deployed one answers 504 after about 230 s while the
import runs on, so "no answer" means unknown and never "again".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit, urlunsplit

from syncd.domain.times import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncd.domain.jsontypes import Json, JsonObject

Meaning = Literal["succeeded", "failed", "unknown", "again"]

#: Characters of an answer that are kept as evidence.
EVIDENCE = 500
#: Words by which a `status` says that it did not work.
_FAILURE_WORDS = frozenset(
    {
        "error",
        "errors",
        "fail",
        "failed",
        "failure",
        "false",
        "denied",
        "forbidden",
        "unauthorized",
        "rejected",
        "disabled",
    }
    | {"aborted", "cancelled", "canceled", "invalid", "exception", "timeout"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    meaning: Meaning
    reason: str
    tenant_must_act: bool = False
    retry_after: float | None = None
    """Seconds that the server asked for; None where it did not say."""


def judge(
    status: int, headers: Mapping[str, str], body: bytes, *, url: str, now: float, truncated: bool = False
) -> Verdict:
    """What an answer to the POST says about the import. `headers` in lower case; `now` in Unix seconds, for HTTP dates.

    `again` only where the server says that it did not process the request and when to come back: 429, and 503 with Retry-After.
    """
    if 200 <= status < 300:
        return _judge_words(status, body, truncated)
    if 300 <= status < 400:
        return Verdict(meaning="failed", reason=_redirected(status, headers.get("location"), url), tenant_must_act=True)
    retry_after = retry_after_seconds(headers.get("retry-after"), now=now)
    if status == 429 or (status == 503 and retry_after is not None):
        return Verdict(meaning="again", reason=f"answered {status}: not now", retry_after=retry_after)
    if status in (401, 403):
        return Verdict(
            meaning="failed",
            reason=f"answered {status}: the token was refused; SECRET_SYNC_TOKEN must be the same on both sides",
            tenant_must_act=True,
        )
    if status >= 500:
        return Verdict(meaning="unknown", reason=f"answered {status}: the import may have run, or may be running still")
    return Verdict(meaning="failed", reason=f"answered {status}", tenant_must_act=True)


def _judge_words(status: int, body: bytes, truncated: bool) -> Verdict:
    if truncated:
        # It was a success by its status, and too long to read to the end: nothing says failure, and the status route can tell.
        return Verdict(
            meaning="unknown", reason=f"answered {status} with more than was read, so its words could not be judged"
        )
    answer = json_object(body)
    if answer is None:
        return Verdict(
            meaning="failed", reason=f"answered {status} without a JSON object: this is not the sync endpoint"
        )
    said = words_of_failure(answer)
    if said:
        return Verdict(meaning="failed", reason=f"answered {status}, and its own words say failure: {said}")
    return Verdict(meaning="succeeded", reason=f"answered {status}")


def words_of_failure(answer: JsonObject) -> str | None:
    """What in the answer says that it did not work. Words beside a clear success (`errors` of a finished run) are none."""
    for name in ("success", "ok"):
        if name in answer and (answer[name] in (False, None, 0) or str(answer[name]).strip().lower() in _FAILURE_WORDS):
            return f"{name} is {json.dumps(answer[name])}{_message(answer)}"
    status = answer.get("status")
    if status is False or (isinstance(status, str) and status.strip().lower() in _FAILURE_WORDS):
        return f"status is {json.dumps(status)}{_message(answer)}"
    if answer.get("success") is not True and answer.get("error"):
        return f"error is {json.dumps(answer['error'])[:200]}"
    return None


def _message(answer: JsonObject) -> str:
    said = answer.get("error") or answer.get("message") or answer.get("detail")
    return f" ({str(said)[:200]})" if said else ""


def _redirected(status: int, location: str | None, url: str) -> str:
    if not location:
        return f"answered {status} without saying where to"
    try:
        host = urlsplit(location).netloc.rpartition("@")[2] or urlsplit(url).netloc
    except ValueError:
        host = "an address that cannot be read"
    return f"answered {status}: redirected to {host}, not followed"


def retry_after_seconds(value: str | None, *, now: float) -> float | None:
    """Retry-After as seconds from now: a number or an HTTP date. None where it is missing or neither."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


def json_object(body: bytes) -> JsonObject | None:
    """The JSON object that `body` is, or None. Never raises, whatever the bytes."""
    try:
        value: Json = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def evidence(body: bytes, *secrets: str) -> str:
    """The beginning of an answer as text, without what must not be kept."""
    text = body[: EVIDENCE * 8].decode("utf-8", "replace")
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text[:EVIDENCE]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One answer of the status route, as far as it can be understood. None: it did not say."""

    alive: bool
    processing: int | None = None
    failed: int | None = None
    completed_at: str | None = None
    """`import_completed_at` of the latest export, as the server wrote it."""

    def facts(self) -> JsonObject:
        return {
            "alive": self.alive,
            "processing": self.processing,
            "failed": self.failed,
            "completedAt": self.completed_at,
        }


def read_status(status: int, body: bytes) -> Reading:
    """Both shapes. The documented one proves only that the endpoint lives."""
    answer = json_object(body) if 200 <= status < 300 else None
    if answer is None or words_of_failure(answer):
        return Reading(alive=False)
    stats, latest = answer.get("stats"), answer.get("latest_export")
    stats = stats if isinstance(stats, dict) else {}
    completed = latest.get("import_completed_at") if isinstance(latest, dict) else None
    return Reading(
        alive=True,
        processing=_count(stats.get("processing")),
        failed=_count(stats.get("failed")),
        completed_at=completed if isinstance(completed, str) else None,
    )


def _count(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def settle(
    reading: Reading, *, sent_at: float, failed_before: int | None, completed_before: str | None
) -> Verdict | None:
    """Whether the status route has decided an unknown outcome; None: not yet.

    `..._before`: what it said just before the POST, None where it was not asked or did not say. The time of the last import counts
    only where it is another than before, so that clocks that differ prove nothing.
    """
    if reading.failed is not None and failed_before is not None and reading.failed > failed_before:
        return Verdict(
            meaning="failed", reason=f"the status route counts {reading.failed} failed imports, {failed_before} before"
        )
    if reading.processing != 0 or reading.completed_at is None or reading.completed_at == completed_before:
        return None
    try:
        completed = parse(reading.completed_at)
    except ValueError:
        return None
    if completed <= sent_at:
        return None
    return Verdict(
        meaning="succeeded", reason=f"the status route says that an import was completed at {reading.completed_at}"
    )


def status_url(webhook_url: str) -> str:
    """The status route beside a webhook: the same address with `status/` behind its path, without query and fragment."""
    parts = urlsplit(webhook_url)
    path = parts.path if parts.path.endswith("/") else f"{parts.path}/"
    return urlunsplit((parts.scheme, parts.netloc, f"{path}status/", "", ""))
