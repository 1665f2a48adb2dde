"""A recorded webhook request, read from a file, and why its signature does not match."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from syncd.domain.errors import NotUnderstood, Unauthorized
from syncd.domain.jsonbody import parse
from syncd.domain.jsontypes import Json, JsonObject
from syncd.domain.secrets import Secret
from syncd.domain.signatures import SignatureScheme, Verified, verify

_REQUEST_LINE = re.compile(rb"[A-Z]{3,10} \S+( HTTP/[\d.]+)?\r?")
_BLANK = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class Recorded:
    """Names of headers are in lower case; `body` is as it was on the wire, as far as the recording kept it."""

    headers: Mapping[str, str]
    body: bytes
    notes: Sequence[str] = field(default_factory=tuple)


def read_recorded(data: bytes) -> Recorded:
    """An HTTP request as it was on the wire (with or without its first line), or JSON {headers, body | bodyBase64}.

    Raises NotUnderstood with what is missing.
    """
    return _from_json(parse(data)) if data.lstrip()[:1] == b"{" else _from_text(data)


def _from_json(wire: Json) -> Recorded:
    assert isinstance(wire, dict)
    headers = wire.get("headers")
    if isinstance(headers, list):
        headers = {one.get("name", ""): one.get("value", "") for one in headers if isinstance(one, dict)}
    if not isinstance(headers, dict) or not headers:
        raise NotUnderstood('the recording has no headers: write {"headers": {...}, "body": "..."}')
    return Recorded({name.lower(): str(value) for name, value in headers.items()}, _json_body(wire))


def _json_body(wire: JsonObject) -> bytes:
    if isinstance(wire.get("bodyBase64"), str):
        try:
            return base64.b64decode(wire["bodyBase64"], validate=True)
        except binascii.Error:
            raise NotUnderstood("bodyBase64 is not base64") from None
    body = wire.get("body", wire.get("payload"))
    if isinstance(body, str):
        return body.encode()
    if body is None:
        raise NotUnderstood("the recording has neither body nor bodyBase64")
    raise NotUnderstood(
        "the recording holds the body as parsed JSON: the bytes that were signed are gone. Record it as text or in bodyBase64"
    )


def _from_text(data: bytes) -> Recorded:
    blank = _BLANK.search(data)
    if blank is None:
        raise NotUnderstood(
            "the recording has no body: it must be headers, an empty line and the body, or JSON {headers, body}"
        )
    head, body = data[: blank.start()], data[blank.end() :]
    lines = head.split(b"\n")
    if lines and _REQUEST_LINE.fullmatch(lines[0]):
        lines = lines[1:]
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode("utf-8", "surrogateescape").partition(":")
        if not colon or not name.strip() or " " in name.strip():
            raise NotUnderstood(
                f"{name[:60]!r} is no header: the file must be headers, an empty line and the body, or JSON"
            )
        headers[name.strip().lower()] = value.strip()
    return _measured(headers, body)


def _measured(headers: Mapping[str, str], body: bytes) -> Recorded:
    """The body as long as the headers say: editors and shells end a file with a line feed that was never sent."""
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        return Recorded(headers, body)
    expected = int(length)
    if len(body) < expected:
        return Recorded(
            headers, body, (f"the recording has {len(body)} of {expected} bytes of the body: it is cut off",)
        )
    if len(body) > expected:
        return Recorded(headers, body[:expected], (f"{len(body) - expected} bytes after the body were left out",))
    return Recorded(headers, body)


def check(scheme: SignatureScheme, secret: Secret, recorded: Recorded, *, at: float | None) -> Verified:
    """`at`: when it came, Unix seconds; None: a signed time may be of any age. Raises Unauthorized."""
    if at is None:
        scheme = replace(scheme, tolerance=math.inf)
    return verify(scheme, [secret], recorded.headers, recorded.body, at or 0.0)


def near_misses(scheme: SignatureScheme, secret: Secret, recorded: Recorded) -> Iterator[str]:
    """With which repair of the request or the secret the signature matches."""
    body, text = recorded.body, secret.reveal()
    tries: tuple[tuple[str, bytes, str], ...] = (
        (
            "without the line end after the body, which the recording added",
            body.removesuffix(b"\n").removesuffix(b"\r"),
            text,
        ),
        ("with a line end after the body, which the recording lost", body + b"\n", text),
        ("with CRLF for each line end of the body, which the recording changed", body.replace(b"\n", b"\r\n"), text),
        ("with LF for each line end of the body, which the recording changed", body.replace(b"\r\n", b"\n"), text),
        ("without the blanks around the secret", body, text.strip()),
    )
    for why, tried, key in tries:
        if (tried, key) == (body, text):
            continue
        try:
            check(scheme, Secret(key), Recorded(recorded.headers, tried), at=None)
        except Unauthorized:
            continue
        yield why
