"""OAuth 2.0 refresh (RFC 6749, section 6): the form that is sent, and what the answer means. Pure.

Providers disagree about how a refusal looks: a status of 400, 401, 403 or even 200, and words of their own for `invalid_grant`.
What the words say counts; a 5xx or 429 is for now, whatever its body says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from syncd.domain.errors import NotUnderstood
from syncd.domain.jsonbody import parse
from syncd.domain.times import iso
from syncd.domain.times import parse as parse_time

#: What a credential of kind oauth2 holds in the vault, and what of it a refresh needs.
NEEDED = ("refreshToken", "tokenUrl")
#: The grant is gone and a person must connect again. GitHub, Slack and HubSpot have words of their own.
_SPENT = frozenset({"invalid_grant", "bad_refresh_token", "invalid_refresh_token", "token_revoked", "token_expired"})
#: The application itself is refused: whoever set it up must act, and the grant may be as good as ever.
_CLIENT = frozenset(
    {"invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "bad_client_secret"}
)
#: A year: what a provider names beyond is not believed.
_LONGEST = 366 * 86400.0
_QUOTED = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """`secrets` is the credential with its new tokens; `lifetime` seconds, None where the provider does not say."""

    secrets: dict[str, str]
    lifetime: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """`spent`: a person must connect again. `client`: the application's own identity is refused, or the request. `later`: for now;
    `unclear`: nobody can tell whether it was processed."""

    kind: Literal["spent", "client", "later", "unclear"]
    reason: str


def refreshable(secrets: Mapping[str, str]) -> bool:
    return all(secrets.get(name) for name in NEEDED)


def expires_at(secrets: Mapping[str, str]) -> float | None:
    """Unix seconds; None where it is not known, or was written as what is no time."""
    try:
        return parse_time(secrets["expiresAt"]) if "expiresAt" in secrets else None
    except ValueError:
        return None


def refresh_form(secrets: Mapping[str, str]) -> str:
    """The body, `application/x-www-form-urlencoded`. Holds secrets."""
    form = {"grant_type": "refresh_token", "refresh_token": secrets["refreshToken"]}
    for name, parameter in (("clientId", "client_id"), ("clientSecret", "client_secret"), ("scope", "scope")):
        if secrets.get(name):
            form[parameter] = secrets[name]
    return urlencode(form)


def read_answer(status: int, body: bytes, secrets: Mapping[str, str], now: float) -> Granted | Refused:
    """`secrets`: those that the refresh was made with. What the answer leaves out stays as it was: most providers keep the refresh
    token, and then do not repeat it."""
    if status == 429 or status == 503:
        return Refused(kind="later", reason=f"the token endpoint answered {status}")
    if status >= 500 or status == 408:
        return Refused(kind="unclear", reason=f"the token endpoint answered {status}")
    try:
        answer = parse(body)
    except NotUnderstood as error:
        answer, unread = {}, str(error)
    else:
        unread = "it is no object" if not isinstance(answer, dict) else ""
    if not isinstance(answer, dict):
        answer = {}
    word, said = _refusal(answer)
    if word in _SPENT:
        return Refused(kind="spent", reason=f"the token endpoint says {word}{said}")
    if 200 <= status < 300 and not word:
        token = answer.get("access_token")
        if isinstance(token, str) and token.strip():
            return _granted(token.strip(), answer, secrets, now)
        return Refused(
            kind="unclear",
            reason=f"the token endpoint answered {status} without an access_token{unread and f': {unread}'}",
        )
    if word in _CLIENT:
        return Refused(
            kind="client", reason=f"the token endpoint says {word}{said}: the application's settings are wrong"
        )
    return Refused(kind="client", reason=f"the token endpoint answered {status}{f' {word}' if word else ''}{said}")


def _granted(token: str, answer: Mapping[str, object], secrets: Mapping[str, str], now: float) -> Granted:
    renewed = {**secrets, "accessToken": token}
    refresh = answer.get("refresh_token")
    if isinstance(refresh, str) and refresh.strip():
        renewed["refreshToken"] = refresh.strip()
    lifetime = _lifetime(answer.get("expires_in"))
    if lifetime is None:
        renewed.pop("expiresAt", None)
    else:
        renewed["expiresAt"] = iso(now + lifetime)
    return Granted(secrets=renewed, lifetime=lifetime)


def _lifetime(value: object) -> float | None:
    """`expires_in`: seconds as a number, from some providers as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if 0 < seconds <= _LONGEST else None


def _refusal(answer: Mapping[str, object]) -> tuple[str, str]:
    """The word for what is wrong, empty where nothing is, and what the provider adds for a person."""
    word = answer.get("error")
    if not isinstance(word, str):
        status = answer.get("status")
        word = status.lower() if isinstance(status, str) and "access_token" not in answer else ""
    said = next((text for name in ("error_description", "message") if isinstance(text := answer.get(name), str)), "")
    shown = "".join(one if one.isprintable() else " " for one in said[:_QUOTED])
    return word[:60], f" ({shown})" if shown else ""
