"""`syncd webhooks verify`: recorded requests, offline."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from syncd.cli.main import main

SECRET = "It's a Secret to Everybody"
ISSUE = json.dumps(
    {
        "action": "opened",
        "issue": {"id": 5, "number": 7, "title": "é", "updated_at": "2026-01-01T00:00:00Z"},
        "repository": {"id": 99, "full_name": "o/r"},
    }
).encode()


def headers(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {
        "X-GitHub-Event": "issues",
        "X-GitHub-Delivery": "d-1",
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }


def raw(body: bytes, *, sent: dict[str, str], line_end: str = "\r\n", first: str = "POST /x HTTP/1.1") -> bytes:
    lines = [*([first] if first else []), *(f"{name}: {value}" for name, value in sent.items()), "", ""]
    return line_end.join(lines).encode() + body


Verify = Callable[..., tuple[int, Any]]


@pytest.fixture
def verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Verify:
    def call(data: bytes, *options: str, secret: str = SECRET, scheme: str = "github") -> tuple[int, Any]:
        recorded, key = tmp_path / "recorded", tmp_path / "secret"
        recorded.write_bytes(data)
        key.write_text(secret + "\n")
        arguments = ("--scheme", scheme, "--secret-file", str(key), "--output", "json", *options)
        code = main(["webhooks", "verify", str(recorded), *arguments])
        out, err = capsys.readouterr()
        assert SECRET not in out + err
        return code, json.loads(out) if out else err

    return call


@pytest.mark.parametrize(
    "recorded",
    [
        raw(ISSUE, sent=headers(ISSUE)),
        raw(ISSUE, sent=headers(ISSUE), line_end="\n", first=""),
        json.dumps({"headers": headers(ISSUE), "body": ISSUE.decode()}).encode(),
        json.dumps({"headers": headers(ISSUE), "bodyBase64": base64.b64encode(ISSUE).decode()}).encode(),
        json.dumps(
            {"headers": [{"name": n, "value": v} for n, v in headers(ISSUE).items()], "body": ISSUE.decode()}
        ).encode(),
    ],
    ids=["wire", "bare", "json", "base64", "pairs"],
)
def test_a_right_signature_is_told_with_what_would_be_read_from_it(verify: Verify, recorded: bytes) -> None:
    code, answer = verify(recorded)
    assert code == 0, answer
    assert answer["verified"] is True
    assert answer["deliveryId"] == "d-1"
    assert (answer["event"], answer["entityType"], answer["entityId"], answer["operation"]) == (
        "issues.opened",
        "issue",
        "99#7",
        "create",
    )


def test_each_changed_byte_of_the_body_is_noticed(verify: Verify) -> None:
    for position in range(0, len(ISSUE), 40):
        body = bytearray(ISSUE)
        body[position] ^= 1
        code, answer = verify(raw(bytes(body), sent=headers(ISSUE)))
        assert (code, answer["verified"], answer["reason"]) == (1, False, "the signature does not match")
        assert "hint" not in answer


@pytest.mark.parametrize(
    ("body", "signed", "secret", "hint"),
    [
        (b"{}\n", b"{}", SECRET, "it matches without the line end after the body, which the recording added"),
        (b"{}", b"{}\n", SECRET, "it matches with a line end after the body, which the recording lost"),
        (b'{\n"a":1}', b'{\r\n"a":1}', SECRET, "it matches with CRLF for each line end"),
        (b"{}", b"{}", f" {SECRET} ", "it matches without the blanks around the secret"),
    ],
)
def test_what_recordings_do_to_a_request_is_recognised(
    verify: Verify, body: bytes, signed: bytes, secret: str, hint: str
) -> None:
    code, answer = verify(raw(body, sent=headers(signed)), secret=secret)
    assert code == 1
    assert hint in answer["hint"]


def test_a_body_is_as_long_as_its_headers_say(verify: Verify) -> None:
    sent = {**headers(ISSUE), "Content-Length": str(len(ISSUE))}
    code, answer = verify(raw(ISSUE + b"\n", sent=sent))
    assert (code, answer["notes"]) == (0, ["1 bytes after the body were left out"])
    code, answer = verify(raw(ISSUE[:-5], sent=sent))
    assert code == 1
    assert answer["notes"] == [f"the recording has {len(ISSUE) - 5} of {len(ISSUE)} bytes of the body: it is cut off"]


def test_a_missing_header_is_named(verify: Verify) -> None:
    code, answer = verify(raw(ISSUE, sent={"X-GitHub-Event": "issues"}))
    assert (code, answer["reason"]) == (1, "the header x-hub-signature-256 is missing")


def test_an_event_that_cannot_be_read_is_said_to_be_parked(verify: Verify) -> None:
    code, answer = verify(raw(b"{}", sent=headers(b"{}")))
    assert code == 0
    assert answer["wouldBe"].startswith("parked: ")
    ping = {**headers(b'{"zen": "."}'), "X-GitHub-Event": "ping"}
    assert verify(raw(b'{"zen": "."}', sent=ping))[1]["wouldBe"] == "accepted, without an entity"


def test_a_signed_time_may_be_of_any_age_unless_it_is_said_when_it_came(verify: Verify) -> None:
    mac = hmac.new(SECRET.encode(), b"1700000000.{}", hashlib.sha256).hexdigest()
    data = raw(b"{}", sent={"X-Sig": mac, "X-Time": "1700000000"})
    options = ("--setting", "header=X-Sig", "--setting", "timestampHeader=X-Time")
    code, answer = verify(data, *options, scheme="hmac-sha256")
    assert (code, answer["signedAt"]) == (0, "2023-11-14T22:13:20.000Z")
    assert verify(data, *options, "--at", "2023-11-14T22:15:00Z", scheme="hmac-sha256")[0] == 0
    code, answer = verify(data, *options, "--at", "2023-11-14T23:00:00Z", scheme="hmac-sha256")
    assert (code, answer["reason"]) == (1, "the signed time is more than 300 s from ours")


@pytest.mark.parametrize(
    ("data", "options", "text"),
    [
        (b"{}", ("--scheme", "nope"), "there is no signature scheme 'nope'; there are: github"),
        (b"{}", ("--setting", "header=X"), "takes no settings"),
        (b"{}", (), "the recording has no headers"),
        (b"", (), "no body"),
        (b"A: b\n", (), "no body"),
        (b"just text\n\n{}", (), "is no header"),
        (json.dumps({"headers": {"a": "b"}, "body": {"x": 1}}).encode(), (), "the bytes that were signed are gone"),
        (json.dumps({"headers": {"a": "b"}}).encode(), (), "neither body nor bodyBase64"),
        (json.dumps({"headers": {"a": "b"}, "bodyBase64": "?"}).encode(), (), "not base64"),
        (b'{"headers": ', (), "not JSON"),
        (b"{}", ("--secret", "x"), "exclude each other"),
    ],
)
def test_what_cannot_be_checked_is_usage_with_the_reason(
    verify: Verify, data: bytes, options: tuple[str, ...], text: str
) -> None:
    code, error = verify(data, *options)
    assert code == 2
    assert text in error
