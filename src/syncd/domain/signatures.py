"""Webhook signatures as data: a scheme says where the signature is, how it is written and what it covers.

The sender never chooses: algorithm, encoding and header come from the registration's scheme alone. Everything fails closed: a
scheme that we do not know, a header that is missing, a secret that is empty or unreadable all end in Unauthorized, whose text
names the header or setting and never a value.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from syncd.domain.errors import Invalid, Unauthorized
from syncd.domain.times import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from syncd.domain.secrets import Secret

Algorithm = Literal["sha1", "sha256", "sha512"]
Encoding = Literal["hex", "base64", "base64url"]
KeyEncoding = Literal["text", "hex", "base64"]
TimestampFormat = Literal["unix", "unix_ms", "iso"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
KEY_ENCODINGS: tuple[KeyEncoding, ...] = get_args(KeyEncoding)
TIMESTAMP_FORMATS: tuple[TimestampFormat, ...] = get_args(TimestampFormat)

BODY = "{body}"
TIMESTAMP = "{timestamp}"
DELIVERY_ID = "{id}"
#: Seconds by which a signed time may differ from ours, either way: Standard Webhooks, Slack and Stripe agree on it.
DEFAULT_TOLERANCE = 300.0
#: Signatures looked at in one header: enough for a rotation with two secrets and two algorithms, too few to make us work.
MOST_SIGNATURES = 8
#: Characters of a delivery id. GitHub's has 36, the longest known (Standard Webhooks) below 100.
MOST_DELIVERY_ID = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureScheme:
    """How one kind of sender signs. Header names are in lower case."""

    name: str
    header: str
    """Carries the signature."""
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""
    """Stands before each signature and must be there."""
    separator: str = ""
    """Between several signatures in one header; any of them may match. Empty: the header is one signature."""
    key_encoding: KeyEncoding = "text"
    delivery_id_header: str | None = None
    """Says which delivery it is, the same on every redelivery. Signed only where `signed` holds {id}."""
    timestamp_header: str | None = None
    timestamp_format: TimestampFormat = "unix"
    tolerance: float = DEFAULT_TOLERANCE
    signed: str = BODY
    """What the signature covers: {body} once, {timestamp} and {id} at most once, any text around them."""
    event_type_header: str | None = None
    kept_headers: tuple[str, ...] = ()
    """Headers that travel with the message. Never a signature, a cookie or an authorization."""
    max_body_bytes: int | None = None
    """The most that the sender ever sends, where that is more than the usual; None: the deployment's usual limit."""


@dataclass(frozen=True, slots=True)
class Verified:
    """The sender holds the secret. `delivery_id` is None where the scheme or the request names none; `timestamp` is the header's
    text and `signed_at` Unix seconds, both only where the scheme signs a time."""

    delivery_id: str | None = None
    signed_at: float | None = None
    timestamp: str | None = None


def key_of(scheme: SignatureScheme, secret: Secret) -> bytes:
    """The secret as key bytes. Raises Invalid where it is empty or not in the scheme's encoding."""
    text = secret.reveal()
    try:
        if scheme.key_encoding == "hex":
            key = bytes.fromhex(text)
        elif scheme.key_encoding == "base64":
            key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=None, validate=True)
        else:
            key = text.encode()
    except (ValueError, binascii.Error):
        # The cause is dropped on purpose: its text may quote the secret.
        raise Invalid(f"the secret is not {scheme.key_encoding}", errors={"secret": "wrong encoding"}) from None
    if not key:
        raise Invalid("the secret is empty", errors={"secret": "empty"})
    return key


class Verifier:
    """One scheme with its secrets, prepared once so that a request costs one HMAC per secret."""

    __slots__ = ("_around", "_keys", "_scheme")

    def __init__(self, scheme: SignatureScheme, secrets: Sequence[Secret]) -> None:
        """Secrets that cannot be used are left out; with none left every request is refused."""
        self._scheme = scheme
        self._keys: list[bytes] = []
        for secret in secrets:
            try:
                self._keys.append(key_of(scheme, secret))
            except Invalid:
                continue
        # A scheme whose template does not cover the body would let any body through.
        before, found, after = scheme.signed.partition(BODY)
        self._around = (before, after) if found and BODY not in after else None

    def verify(self, headers: Mapping[str, str], body: bytes, now: float) -> Verified:
        """`headers` answers to lower-case names; `body` is raw; `now` in Unix seconds. Raises Unauthorized."""
        scheme = self._scheme
        if not self._keys or self._around is None:
            raise Unauthorized("this registration has no usable secret")
        given = headers.get(scheme.header)
        if not given:
            raise Unauthorized(f"the header {scheme.header} is missing")
        delivery_id = headers.get(scheme.delivery_id_header) if scheme.delivery_id_header else None
        if delivery_id is not None and len(delivery_id) > MOST_DELIVERY_ID:
            raise Unauthorized(f"the header {scheme.delivery_id_header} is longer than {MOST_DELIVERY_ID} characters")
        stamp = headers.get(scheme.timestamp_header) if scheme.timestamp_header else None
        signed = body if scheme.signed == BODY else self._signed(body, stamp, delivery_id)
        self._compare(given, signed)
        # Only now: what is not authentic learns nothing about our clock.
        if stamp is None or TIMESTAMP not in scheme.signed:
            return Verified(delivery_id or None)
        return Verified(delivery_id or None, self._in_time(stamp, now), stamp)

    def _signed(self, body: bytes, stamp: str | None, delivery_id: str | None) -> bytes:
        assert self._around is not None
        scheme = self._scheme
        if TIMESTAMP in scheme.signed and not stamp:
            raise Unauthorized(f"the header {scheme.timestamp_header} is missing")
        if DELIVERY_ID in scheme.signed and not delivery_id:
            raise Unauthorized(f"the header {scheme.delivery_id_header} is missing")
        before, after = (
            text.replace(TIMESTAMP, stamp or "")
            .replace(DELIVERY_ID, delivery_id or "")
            .encode("utf-8", "surrogateescape")
            for text in self._around
        )
        return b"%b%b%b" % (before, body, after)

    def _compare(self, given: str, signed: bytes) -> None:
        scheme = self._scheme
        try:
            raw = given.encode("ascii")
        except UnicodeEncodeError:
            raise Unauthorized(f"the header {scheme.header} holds no signature") from None
        candidates = [raw]
        if scheme.separator:
            candidates = [
                one.strip() for one in raw.split(scheme.separator.encode(), MOST_SIGNATURES)[:MOST_SIGNATURES]
            ]
        prefix = scheme.prefix.encode()
        matched = False
        for key in self._keys:
            expected = _ENCODERS[scheme.encoding](hmac.digest(key, signed, scheme.algorithm))
            for candidate in candidates:
                # No early exit: which secret or signature matched is not told by the time it took.
                matched |= candidate.startswith(prefix) and hmac.compare_digest(
                    _padded(candidate[len(prefix) :], scheme.encoding), expected
                )
        if not matched:
            raise Unauthorized("the signature does not match")

    def _in_time(self, stamp: str, now: float) -> float:
        scheme = self._scheme
        try:
            signed_at = _READERS[scheme.timestamp_format](stamp)
        except (ValueError, OverflowError):
            raise Unauthorized(
                f"the header {scheme.timestamp_header} holds no time ({scheme.timestamp_format})"
            ) from None
        if not abs(now - signed_at) <= scheme.tolerance:
            raise Unauthorized(f"the signed time is more than {scheme.tolerance:g} s from ours")
        return signed_at


def verify(
    scheme: SignatureScheme, secrets: Sequence[Secret], headers: Mapping[str, str], body: bytes, now: float
) -> Verified:
    """One request, without preparation. Any of `secrets` may have signed, so that they can be rotated. Raises Unauthorized."""
    return Verifier(scheme, secrets).verify(headers, body, now)


def _hex(mac: bytes) -> bytes:
    return mac.hex().encode()


_ENCODERS: dict[Encoding, Callable[[bytes], bytes]] = {
    "hex": _hex,
    "base64": base64.b64encode,
    "base64url": base64.urlsafe_b64encode,
}


def _digits(stamp: str) -> float:
    # int() also takes blanks, signs and the digits of other scripts; a signed text has one reading.
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 16):
        raise ValueError("not a number")
    return float(stamp)


_READERS: dict[TimestampFormat, Callable[[str], float]] = {
    "unix": _digits,
    "unix_ms": lambda stamp: _digits(stamp) / 1000,
    "iso": parse,
}


def _padded(text: bytes, encoding: Encoding) -> bytes:
    """Base64 may come without its padding; anything else is compared as it came, so that one digest has one text."""
    return text if encoding == "hex" or b"=" in text else text + b"=" * (-len(text) % 4)
