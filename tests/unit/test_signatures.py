from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.adapters.providers import load_providers
from syncd.domain.errors import Invalid, Unauthorized
from syncd.domain.schemes import scheme_for
from syncd.domain.secrets import Secret
from syncd.domain.signatures import SignatureScheme, Verified, Verifier, key_of, verify
from syncd.ports.provider import schemes_of

NOW = 1_700_000_000.0
KNOWN = schemes_of(load_providers())
GITHUB = KNOWN["github"]
PLAIN = SignatureScheme(name="plain", header="x-signature")
SECRET = Secret("It's a Secret to Everybody")
# Published by GitHub: docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
DOCUMENTED = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
VECTORS = next(
    (path for up in Path(__file__).parents if (path := up.parent / "shared/reference/vectors.json").is_file()), None
)
_ALGORITHMS = {"hmac-primitive-sha256": "sha256", "github-sha256": "sha256", "github-sha1": "sha1"}


def vectors() -> list[Any]:
    if VECTORS is None:
        return [
            pytest.param(None, marks=pytest.mark.skip(reason="the published vectors (shared/reference) are not here"))
        ]
    wanted = {"github-sha256", "github-sha1", "hmac-hex", "hmac-base64", "hmac-primitive-sha256"}
    return [pytest.param(one, id=one["id"]) for one in json.loads(VECTORS.read_text()) if one["scheme"] in wanted]


def scheme_of(vector: dict[str, Any]) -> SignatureScheme:
    if vector["scheme"] == "github-sha256":
        return GITHUB
    [(header, value)] = vector["headers"].items()
    prefix = "sha1=" if vector["scheme"] == "github-sha1" else vector.get("prefix", "")
    return SignatureScheme(
        name=vector["scheme"],
        header=header.lower(),
        algorithm=vector.get("alg") or _ALGORITHMS[vector["scheme"]],
        encoding="base64" if vector["scheme"] == "hmac-base64" else "hex",
        # Some vendors leave their prefix out now and then; a scheme of ours says which of the two it is.
        prefix=prefix if vector["scheme"] == "github-sha1" or value.startswith(prefix) else "",
        separator="," if "," in value else "",
        key_encoding="hex" if vector["scheme"] == "hmac-primitive-sha256" else "text",
    )


def attempt(scheme: SignatureScheme, secret: str, headers: dict[str, str], body: bytes, now: float = NOW) -> bool:
    try:
        verify(scheme, [Secret(secret)], {name.lower(): value for name, value in headers.items()}, body, now)
    except Unauthorized:
        return False
    return True


@pytest.mark.parametrize("vector", vectors())
def test_published_vectors_verify_as_their_publishers_say(vector: dict[str, Any]) -> None:
    body = bytes.fromhex(vector["body_hex"]) if "body_hex" in vector else vector["body"].encode()
    scheme, secret = scheme_of(vector), vector["secret_or_public_key"]
    assert attempt(scheme, secret, vector["headers"], body) == vector["expected_valid"]


@pytest.mark.parametrize("vector", vectors())
def test_no_byte_of_a_published_vector_can_be_flipped(vector: dict[str, Any]) -> None:
    if not vector["expected_valid"] or "," in next(iter(vector["headers"].values())):
        return  # a header with several signatures holds bytes that do not matter
    body = bytes.fromhex(vector["body_hex"]) if "body_hex" in vector else vector["body"].encode()
    scheme, secret = scheme_of(vector), vector["secret_or_public_key"]
    [(header, value)] = vector["headers"].items()
    for flip in (0x01, 0x20, 0x80):
        for position in range(len(body)):
            changed = body[:position] + bytes([body[position] ^ flip]) + body[position + 1 :]
            assert not attempt(scheme, secret, vector["headers"], changed)
        for position in range(len(value)):
            changed_value = value[:position] + chr(ord(value[position]) ^ flip) + value[position + 1 :]
            assert not attempt(scheme, secret, {header: changed_value}, body)


def test_the_signature_that_github_documents_is_accepted() -> None:
    headers = {"x-hub-signature-256": DOCUMENTED, "x-github-delivery": "72d3162e"}
    assert verify(GITHUB, [SECRET], headers, b"Hello, World!", NOW) == Verified("72d3162e")


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({}, "missing"),
        ({"x-hub-signature-256": ""}, "missing"),
        ({"x-hub-signature": DOCUMENTED}, "missing"),
        ({"x-hub-signature-256": DOCUMENTED.removeprefix("sha256=")}, "match"),
        ({"x-hub-signature-256": DOCUMENTED.replace("sha256=", "sha1=")}, "match"),
        ({"x-hub-signature-256": DOCUMENTED.upper()}, "match"),
        ({"x-hub-signature-256": DOCUMENTED + " "}, "match"),
        ({"x-hub-signature-256": DOCUMENTED[:-2]}, "match"),
        ({"x-hub-signature-256": "sha256=Ł"}, "no signature"),
        ({"x-hub-signature-256": "sha256=\udcff"}, "no signature"),
        ({"x-hub-signature-256": DOCUMENTED, "x-github-delivery": "a" * 256}, "longer"),
    ],
)
def test_a_wrong_or_missing_header_fails_cleanly(headers: dict[str, str], word: str) -> None:
    with pytest.raises(Unauthorized, match=word) as caught:
        verify(GITHUB, [SECRET], headers, b"Hello, World!", NOW)
    assert SECRET.reveal() not in str(caught.value)
    assert DOCUMENTED[7:20] not in str(caught.value)


@pytest.mark.parametrize("secrets", [[], [Secret("")], [Secret(""), Secret("")]])
def test_without_a_usable_secret_nothing_gets_in(secrets: list[Secret]) -> None:
    signature = hmac.new(b"", b"body", "sha256").hexdigest()
    with pytest.raises(Unauthorized):
        verify(PLAIN, secrets, {"x-signature": signature}, b"body", NOW)


def test_either_secret_of_a_rotation_may_have_signed() -> None:
    old, new = Secret("old"), Secret("new")
    for secret in (old, new):
        signature = hmac.new(secret.reveal().encode(), b"body", "sha256").hexdigest()
        verify(PLAIN, [old, new], {"x-signature": signature}, b"body", NOW)
    signature = hmac.new(b"gone", b"body", "sha256").hexdigest()
    with pytest.raises(Unauthorized):
        verify(PLAIN, [old, new], {"x-signature": signature}, b"body", NOW)


@given(body=st.binary(max_size=200), key=st.binary(min_size=1, max_size=80))
def test_every_algorithm_encoding_and_way_of_writing_the_secret_round_trips(body: bytes, key: bytes) -> None:
    for name, algorithm in (("hmac-sha1", "sha1"), ("hmac-sha256", "sha256"), ("hmac-sha512", "sha512")):
        mac = hmac.new(key, body, algorithm).digest()
        texts = {
            "hex": mac.hex(),
            "base64": base64.b64encode(mac).decode(),
            "base64url": base64.urlsafe_b64encode(mac).decode(),
        }
        for encoding, text in texts.items():
            for written, secret in (("hex", key.hex()), ("base64", base64.b64encode(key).decode())):
                settings = {"encoding": encoding, "secretEncoding": written, "prefix": "v0="}
                scheme = scheme_for(name, settings, KNOWN)
                assert attempt(scheme, secret, {"X-Signature": "v0=" + text}, body)
                assert attempt(scheme, secret, {"X-Signature": "v0=" + text.rstrip("=")}, body)
                assert not attempt(scheme, secret, {"X-Signature": "v0=" + text}, body + b"x")


def timed(stamp: str, body: bytes = b"{}", secret: bytes = b"key") -> dict[str, str]:
    signature = hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"x-signature": signature, "x-time": stamp}


@pytest.mark.parametrize(
    ("format_", "stamp", "fits"),
    [
        ("unix", "1700000000", True),
        ("unix", "1700000300", True),
        ("unix", "1699999700", True),
        ("unix", "1700000301", False),
        ("unix", "1699999699", False),
        ("unix", "Infinity", False),
        ("unix", "NaN", False),
        ("unix", "-1700000000", False),
        ("unix", "17000000_00", False),
        ("unix", "١٧٠٠٠٠٠٠٠٠", False),
        ("unix", "9" * 400, False),
        ("unix", "", False),
        ("unix_ms", "1700000000500", True),
        ("unix_ms", "1700000000", False),
        ("iso", "2023-11-14T22:13:20Z", True),
        ("iso", "2023-11-14T21:13:20Z", False),
        ("iso", "9999-99-99", False),
        ("iso", "0001-01-01T00:00:00+23:59", False),
    ],
)
def test_a_signed_time_must_be_one_and_close_to_ours(format_: str, stamp: str, fits: bool) -> None:
    scheme = scheme_for("hmac-sha256", {"timestampHeader": "X-Time", "timestampFormat": format_}, KNOWN)
    headers = timed(stamp)
    if not fits:
        with pytest.raises(Unauthorized):
            verify(scheme, [Secret("key")], headers, b"{}", NOW)
        return
    verified = verify(scheme, [Secret("key")], headers, b"{}", NOW)
    assert verified.timestamp == stamp
    assert verified.signed_at is not None
    assert abs(verified.signed_at - NOW) <= 300


def test_a_time_that_was_not_the_signed_one_is_refused() -> None:
    scheme = scheme_for("hmac-sha256", {"timestampHeader": "x-time"}, KNOWN)
    with pytest.raises(Unauthorized, match="match"):
        verify(scheme, [Secret("key")], {**timed("1600000000"), "x-time": "1700000000"}, b"{}", NOW)
    with pytest.raises(Unauthorized, match="x-time"):
        verify(scheme, [Secret("key")], {"x-signature": timed("")["x-signature"]}, b"{}", NOW)


def test_a_template_may_cover_the_delivery_id() -> None:
    settings = {"timestampHeader": "x-time", "deliveryIdHeader": "x-id", "signed": "{id}.{timestamp}.{body}"}
    scheme = scheme_for("hmac-sha256", settings, KNOWN)
    signature = hmac.new(b"key", b'one.1700000000.{"a":1}', "sha256").hexdigest()
    headers = {"x-signature": signature, "x-time": "1700000000", "x-id": "one"}
    assert verify(scheme, [Secret("key")], headers, b'{"a":1}', NOW).delivery_id == "one"
    for changed in ({"x-id": "two"}, {"x-id": ""}):
        with pytest.raises(Unauthorized):
            verify(scheme, [Secret("key")], {**headers, **changed}, b'{"a":1}', NOW)


def test_braces_in_header_values_and_bodies_are_not_templates() -> None:
    settings = {"timestampHeader": "x-time", "deliveryIdHeader": "x-id", "signed": "{timestamp}.{id}.{body}"}
    scheme = scheme_for("hmac-sha256", settings, KNOWN)
    signature = hmac.new(b"key", b"1700000000.{timestamp}.{id}", "sha256").hexdigest()
    headers = {"x-signature": signature, "x-time": "1700000000", "x-id": "{timestamp}"}
    assert verify(scheme, [Secret("key")], headers, b"{id}", NOW).delivery_id == "{timestamp}"


def test_of_many_signatures_in_one_header_only_the_first_few_are_looked_at() -> None:
    scheme = scheme_for("hmac-sha256", {"separator": ",", "prefix": "v1="}, KNOWN)
    right = "v1=" + hmac.new(b"key", b"body", "sha256").hexdigest()
    wrong = "v1=" + "0" * 64
    assert attempt(scheme, "key", {"x-signature": f"{wrong}, {right}"}, b"body")
    assert not attempt(scheme, "key", {"x-signature": ",".join([wrong] * 8 + [right])}, b"body")


@pytest.mark.parametrize(
    ("name", "settings", "fields"),
    [
        ("rot13", {}, {"scheme"}),
        ("github", {"encoding": "base64"}, {"schemeSettings.encoding"}),
        ("hmac-sha256", {"encoding": "rot13", "header": "a b"}, {"schemeSettings.encoding", "schemeSettings.header"}),
        ("hmac-sha256", {"algorithm": "sha1"}, {"schemeSettings.algorithm"}),
        ("hmac-sha256", {"signed": "nothing"}, {"schemeSettings.signed"}),
        ("hmac-sha256", {"signed": "{body}{body}"}, {"schemeSettings.signed"}),
        ("hmac-sha256", {"timestampHeader": "x", "signed": "{body}"}, {"schemeSettings.signed"}),
        ("hmac-sha256", {"signed": "{timestamp}{body}"}, {"schemeSettings.timestampHeader"}),
        ("hmac-sha256", {"signed": "{id}{body}"}, {"schemeSettings.deliveryIdHeader"}),
        ("hmac-sha256", {"tolerance": True}, {"schemeSettings.tolerance"}),
        ("hmac-sha256", {"tolerance": float("nan")}, {"schemeSettings.tolerance"}),
        ("hmac-sha256", {"prefix": "\n"}, {"schemeSettings.prefix"}),
        ("hmac-sha256", {"keepHeaders": "x"}, {"schemeSettings.keepHeaders"}),
    ],
)
def test_wrong_settings_are_refused_all_at_once(name: str, settings: dict[str, Any], fields: set[str]) -> None:
    with pytest.raises(Invalid) as caught:
        scheme_for(name, settings, KNOWN)
    assert set(caught.value.errors) == fields


def test_no_setting_makes_a_signature_or_an_authorization_travel_with_the_message() -> None:
    asked = ["X-Topic", "Authorization", "Cookie", "X-Signature", "X-Hub-Signature-256", "X-Api-Key", "X-Webhook-Token"]
    assert scheme_for("hmac-sha256", {"keepHeaders": asked}, KNOWN).kept_headers == ("content-type", "x-topic")


@pytest.mark.parametrize(
    ("encoding", "secret"), [("hex", "xyz"), ("hex", ""), ("base64", "a?"), ("base64", "abcde"), ("text", "")]
)
def test_a_secret_that_cannot_be_read_is_refused_without_being_quoted(encoding: Any, secret: str) -> None:
    scheme = SignatureScheme(name="plain", header="x-signature", key_encoding=encoding)
    with pytest.raises(Invalid) as caught:
        key_of(scheme, Secret(secret))
    assert not secret or secret not in str(caught.value)
    with pytest.raises(Unauthorized):
        Verifier(scheme, [Secret(secret)]).verify({"x-signature": "0" * 64}, b"", NOW)


def test_a_scheme_that_does_not_cover_the_body_lets_nothing_in() -> None:
    scheme = SignatureScheme(name="hollow", header="x-signature", signed="constant")
    with pytest.raises(Unauthorized):
        verify(
            scheme, [Secret("key")], {"x-signature": hmac.new(b"key", b"constant", "sha256").hexdigest()}, b"any", NOW
        )
