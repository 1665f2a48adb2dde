"""How each kind of credential is shown to a provider, and how its secrets are kept out of what people read."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

from syncd.domain.errors import AuthenticationFailed
from syncd.domain.secrets import Secret
from syncd.ports.credentials import Usable

DEFAULT_HEADER = "X-API-Key"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")  # RFC 9110, 5.6.2
#: Headers that belong to the exchange itself: a key sent as one of these would change what is sent.
_FRAMING = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "expect", "te", "trailer", "upgrade"}
)


def _nothing() -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorisation:
    """`headers` and `query` go with every request to the base origin, and nowhere else. Never shown."""

    headers: Mapping[str, str] = field(default_factory=_nothing, repr=False)
    query: Mapping[str, str] = field(default_factory=_nothing, repr=False)
    secrets: tuple[Secret, ...] = ()

    def masked(self, text: str) -> str:
        """`text` without the secrets, in each form in which a server might echo them."""
        for secret in self.secrets:
            value = secret.reveal()
            forms = (value, quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1])
            for form in sorted({form for form in forms if form}, key=len, reverse=True):
                text = text.replace(form, "***")
        return text


NOBODY = Authorisation()


def authorisation(usable: Usable) -> Authorisation:
    """Raises AuthenticationFailed where the credential lacks what its kind needs. Texts never hold a value."""
    match usable.kind:
        case "bearer":
            return _bearer(_needed(usable, "token"))
        case "oauth2":
            return _bearer(_needed(usable, "accessToken"))
        case "basic":
            password = _needed(usable, "password")
            pair = f"{_needed(usable, 'username').reveal()}:{password.reveal()}"
            encoded = base64.b64encode(pair.encode()).decode()
            return Authorisation(
                headers={"Authorization": f"Basic {encoded}"}, secrets=(Secret(pair), password, Secret(encoded))
            )
        case "api_key":
            return _api_key(usable)


def _bearer(token: Secret) -> Authorisation:
    return Authorisation(headers={"Authorization": f"Bearer {token.reveal()}"}, secrets=(token,))


def _api_key(usable: Usable) -> Authorisation:
    value = _needed(usable, "value")
    header, parameter = usable.secrets.get("header"), usable.secrets.get("parameter")
    if parameter:
        query = {parameter.reveal(): value.reveal()}
        if not header:
            return Authorisation(query=query, secrets=(value,))
    else:
        query = {}
    name = header.reveal() if header else DEFAULT_HEADER
    if not _TOKEN.fullmatch(name) or name.lower() in _FRAMING:
        raise AuthenticationFailed("the credential's field header is not the name of a header that may carry a key")
    return Authorisation(headers={name: value.reveal()}, query=query, secrets=(value,))


def _needed(usable: Usable, name: str) -> Secret:
    secret = usable.secrets.get(name)
    if not secret:
        raise AuthenticationFailed(f"the credential of kind {usable.kind} has no {name}")
    return secret
