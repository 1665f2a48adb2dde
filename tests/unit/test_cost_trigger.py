"""What answers of the cost webhook and of its status route mean, as tables."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.costtrigger import (
    Reading,
    evidence,
    json_object,
    judge,
    read_status,
    retry_after_seconds,
    settle,
    status_url,
)
from syncd.domain.times import iso, parse

URL = "https://power-up.example/finops/api/sync/"
NOW = parse("2026-05-01T03:00:00")


def meaning(status: int, body: object = b"", **headers: str) -> str:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return judge(status, {name.replace("_", "-"): v for name, v in headers.items()}, raw, url=URL, now=NOW).meaning


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"status": "success", "message": "Cost sync initiated successfully", "details": {}}, "succeeded"),
        (200, {"success": True, "message": "Cost sync completed", "output": "...", "errors": None}, "succeeded"),
        (200, {"success": True, "message": "done", "output": "", "errors": "warning: 3 rows skipped"}, "succeeded"),
        (202, {"status": "accepted"}, "succeeded"),
        (201, {}, "succeeded"),
        (200, {"status": "unknown"}, "succeeded"),
        (200, b'\xef\xbb\xbf{"success": true}', "succeeded"),
        (200, {"success": False, "error": "Invalid sync token"}, "failed"),
        (200, {"status": "error", "message": "boom"}, "failed"),
        (200, {"status": "FAILED"}, "failed"),
        (200, {"success": True, "status": "error"}, "failed"),
        (200, {"error": "no such export"}, "failed"),
        (200, {"success": "false"}, "failed"),
        (200, {"ok": False}, "failed"),
        (200, b"", "failed"),
        (204, b"", "failed"),
        (200, b"<html>Please log in</html>", "failed"),
        (200, b"[1, 2]", "failed"),
        (200, b'"success"', "failed"),
        (200, b"\xff\xfe\x00", "failed"),
        (200, b'{"success": tru', "failed"),
        (200, b"[" * 100_000, "failed"),
        (301, b"", "failed"),
        (302, b"", "failed"),
        (304, b"", "failed"),
        (400, b"", "failed"),
        (401, {"success": False}, "failed"),
        (403, {"success": False, "error": "Invalid sync token"}, "failed"),
        (404, b"", "failed"),
        (405, b"", "failed"),
        (409, b"", "failed"),
        (429, b"", "again"),
        (500, {"success": False, "error": "Internal server error during cost sync"}, "unknown"),
        (502, b"", "unknown"),
        (503, b"", "unknown"),
        (504, b"<html>Gateway Time-out</html>", "unknown"),
        (520, b"", "unknown"),
    ],
)
def test_an_answer_means(status: int, body: object, expected: str) -> None:
    assert meaning(status, body) == expected


def test_503_is_tried_again_only_where_the_server_says_when() -> None:
    assert meaning(503, retry_after="120") == "again"
    assert meaning(503, retry_after="soon") == "unknown"
    assert judge(429, {"retry-after": "7"}, b"", url=URL, now=NOW).retry_after == 7.0


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("https://login.example/oauth?x=1", "redirected to login.example, not followed"),
        ("https://user:pw@evil.example/", "redirected to evil.example, not followed"),
        ("/login", "redirected to power-up.example, not followed"),
        ("http://[bad", "an address that cannot be read"),
        (None, "without saying where to"),
    ],
)
def test_a_redirect_is_a_failure_that_names_the_host(location: str | None, said: str) -> None:
    verdict = judge(302, {} if location is None else {"location": location}, b"", url=URL, now=NOW)
    assert said in verdict.reason
    assert verdict.tenant_must_act


def test_a_refused_token_is_for_the_tenant_to_mend() -> None:
    for status in (401, 403):
        verdict = judge(status, {}, b"", url=URL, now=NOW)
        assert verdict.tenant_must_act
        assert "SECRET_SYNC_TOKEN" in verdict.reason


def test_an_answer_that_was_cut_is_left_to_the_status_route() -> None:
    assert judge(200, {}, b'{"success": true, "output": "', url=URL, now=NOW, truncated=True).meaning == "unknown"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 30 ", 30.0),
        ("-1", None),
        ("1.5", None),
        ("never", None),
        (format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True), 90.0),
        (format_datetime(datetime.fromtimestamp(NOW - 90, UTC), usegmt=True), 0.0),
        ("Thu, 99 May 2026 03:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, now=NOW) == seconds


@given(st.integers(100, 599), st.binary(max_size=300), st.text(max_size=20) | st.none())
def test_any_answer_is_judged_without_an_error(status: int, body: bytes, text: str | None) -> None:
    headers = {} if text is None else {"location": text, "retry-after": text}
    verdict = judge(status, headers, body, url=URL, now=NOW)
    assert verdict.reason
    if verdict.meaning == "succeeded":
        assert 200 <= status < 300
        assert json_object(body) is not None


def test_evidence_is_the_beginning_without_the_token() -> None:
    assert evidence(b"the token a+/=b is wrong", "a+/=b") == "the token *** is wrong"
    assert len(evidence(b"x" * 10_000)) == 500
    assert evidence(b"\xff\xfe") == "��"


def deployed(processing: object = 0, failed: object = 1, completed: object = None, success: bool = True) -> bytes:
    return json.dumps(
        {
            "success": success,
            "stats": {"total_exports": 9, "completed": 8, "failed": failed, "processing": processing},
            "latest_export": None if completed is None else {"subscription": "s", "import_completed_at": completed},
        }
    ).encode()


@pytest.mark.parametrize(
    ("status", "body", "reading"),
    [
        (200, b'{"status": "ok", "message": "Webhook endpoint is operational"}', Reading(alive=True)),
        (
            200,
            deployed(2, 1, "2026-05-01T03:05:00Z"),
            Reading(alive=True, processing=2, failed=1, completed_at="2026-05-01T03:05:00Z"),
        ),
        (200, deployed(0, 0), Reading(alive=True, processing=0, failed=0)),
        (200, deployed("0", True, 5), Reading(alive=True)),
        (200, deployed(success=False), Reading(alive=False)),
        (200, b'{"stats": [], "latest_export": "x"}', Reading(alive=True)),
        (200, b"<html>", Reading(alive=False)),
        (500, deployed(), Reading(alive=False)),
        (302, deployed(), Reading(alive=False)),
    ],
)
def test_the_status_route_is_read_in_both_shapes(status: int, body: bytes, reading: Reading) -> None:
    assert read_status(status, body) == reading


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        (Reading(alive=False), None),
        (Reading(alive=True), None),
        (Reading(alive=True, processing=0, failed=1, completed_at=iso(NOW + 300)), "succeeded"),
        (Reading(alive=True, processing=0, failed=1, completed_at="2026-05-01T05:05:00+02:00"), "succeeded"),
        (Reading(alive=True, processing=1, failed=1, completed_at=iso(NOW + 300)), None),
        (Reading(alive=True, processing=None, failed=1, completed_at=iso(NOW + 300)), None),
        (Reading(alive=True, processing=0, failed=1, completed_at=iso(NOW)), None),
        (Reading(alive=True, processing=0, failed=1, completed_at=iso(NOW - 86400)), None),
        (Reading(alive=True, processing=0, failed=1, completed_at="yesterday"), None),
        (Reading(alive=True, processing=0, failed=2, completed_at=iso(NOW + 300)), "failed"),
        (Reading(alive=True, processing=3, failed=2), "failed"),
    ],
)
def test_an_unknown_outcome_is_settled_by_what_changed_since_the_call(reading: Reading, expected: str | None) -> None:
    verdict = settle(reading, sent_at=NOW, failed_before=1, completed_before=iso(NOW - 86400))
    assert (verdict and verdict.meaning) == expected


def test_an_import_that_was_there_before_the_call_proves_nothing_whatever_the_clocks_say() -> None:
    ahead = iso(NOW + 600)
    reading = Reading(alive=True, processing=0, failed=1, completed_at=ahead)
    assert settle(reading, sent_at=NOW, failed_before=1, completed_before=ahead) is None


def test_a_failed_count_without_a_count_before_proves_nothing() -> None:
    reading = Reading(alive=True, processing=1, failed=7)
    assert settle(reading, sent_at=NOW, failed_before=None, completed_before=None) is None


@pytest.mark.parametrize(
    ("webhook", "expected"),
    [
        (URL, f"{URL}status/"),
        (URL.rstrip("/"), f"{URL}status/"),
        (f"{URL}?x=1#y", f"{URL}status/"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/status/"),
    ],
)
def test_the_status_route_stands_beside_the_webhook(webhook: str, expected: str) -> None:
    assert status_url(webhook) == expected
