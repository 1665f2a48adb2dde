from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.tokens import Granted, Refused, expires_at, read_answer, refresh_form, refreshable

NOW = 1_700_000_000.0
SECRETS = {
    "kind": "oauth2",
    "accessToken": "old",
    "refreshToken": "r&1",
    "tokenUrl": "https://h/token",
    "clientId": "c",
    "clientSecret": "s=",
    "expiresAt": "2023-11-14T22:13:20Z",
}


def test_the_form_holds_the_grant_and_the_client() -> None:
    assert parse_qs(refresh_form(SECRETS)) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["r&1"],
        "client_id": ["c"],
        "client_secret": ["s="],
    }
    assert parse_qs(refresh_form({**SECRETS, "scope": "a b"}))["scope"] == ["a b"]


def test_what_the_answer_leaves_out_stays() -> None:
    granted = read_answer(200, b'{"access_token":"new","expires_in":60}', SECRETS, NOW)
    assert isinstance(granted, Granted)
    assert granted.secrets == {**SECRETS, "accessToken": "new", "expiresAt": "2023-11-14T22:14:20.000Z"}
    assert granted.lifetime == 60
    assert expires_at(granted.secrets) == NOW + 60
    granted = read_answer(200, b'{"access_token":"new","refresh_token":"r2"}', SECRETS, NOW)
    assert isinstance(granted, Granted)
    assert granted.secrets["refreshToken"] == "r2"
    assert "expiresAt" not in granted.secrets, "the old token's end is not the new one's"


@pytest.mark.parametrize(
    ("value", "lifetime"),
    [
        (3600, 3600),
        ("3600", 3600),
        (0, None),
        (-1, None),
        (1e12, None),
        ("x", None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_a_lifetime_that_makes_no_sense_is_unknown(value: object, lifetime: float | None) -> None:
    granted = read_answer(200, json.dumps({"access_token": "new", "expires_in": value}).encode(), SECRETS, NOW)
    assert isinstance(granted, Granted)
    assert granted.lifetime == lifetime


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        # as the providers write them
        (400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}, "spent"),
        (400, {"error": "invalid_grant", "error_description": "AADSTS70008: ...", "error_codes": [70008]}, "spent"),
        (400, {"status": "BAD_REFRESH_TOKEN", "message": "missing or invalid refresh token"}, "spent"),
        (403, {"error": "invalid_grant", "error_description": "Unknown or invalid refresh token."}, "spent"),
        (200, {"error": "bad_refresh_token", "error_description": "incorrect or expired"}, "spent"),
        (200, {"ok": False, "error": "invalid_refresh_token"}, "spent"),
        # for now, whatever the body says
        (500, {"error": "invalid_grant"}, "unclear"),
        (429, {"error": "invalid_grant"}, "later"),
        (503, {}, "later"),
        (502, "<html>", "unclear"),
        (408, {}, "unclear"),
        # the application's own fault: the grant may be as good as ever
        (401, {"error": "invalid_client"}, "client"),
        (400, {"error": "unauthorized_client"}, "client"),
        (404, "<html>", "client"),
        (302, "", "client"),
        # a success that is none
        (200, "<html>", "unclear"),
        (200, {}, "unclear"),
        (200, {"access_token": ""}, "unclear"),
        (200, {"access_token": 5}, "unclear"),
        (200, [], "unclear"),
        (204, "", "unclear"),
    ],
)
def test_a_refusal_is_understood_by_its_words(status: int, body: object, kind: str) -> None:
    raw = body if isinstance(body, str) else json.dumps(body)
    refused = read_answer(status, raw.encode(), SECRETS, NOW)
    assert isinstance(refused, Refused)
    assert refused.kind == kind
    assert refused.reason


@given(st.integers(100, 599), st.binary(max_size=200))
def test_any_answer_has_a_meaning(status: int, body: bytes) -> None:
    assert isinstance(read_answer(status, body, SECRETS, NOW), Refused)


@pytest.mark.parametrize("missing", ["refreshToken", "tokenUrl"])
def test_without_a_refresh_token_or_its_endpoint_nothing_is_refreshed(missing: str) -> None:
    assert refreshable(SECRETS)
    assert not refreshable({name: value for name, value in SECRETS.items() if name != missing})
    assert not refreshable({**SECRETS, missing: ""})


def test_an_end_that_is_no_time_is_not_known() -> None:
    assert expires_at({"expiresAt": "next week"}) is None
    assert expires_at({}) is None
