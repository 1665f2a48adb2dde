"""Who may do what: shared access policies, the tokens made from their keys, and what a connection was granted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, quote_plus

from tests.wire.servicebus.refusal import UNAUTHORIZED, Refused

LISTEN, SEND, MANAGE = "Listen", "Send", "Manage"
ALL = frozenset({LISTEN, SEND, MANAGE})
ROOT = "RootManageSharedAccessKey"


@dataclass(frozen=True, slots=True)
class Policy:
    name: str
    key: str
    rights: frozenset[str]


#: The namespace's policies, by name. The keys open nothing but this double.
POLICIES: Mapping[str, Policy] = {
    name: Policy(name, base64.b64encode(f"only-for-tests-{name}".encode()).decode(), frozenset(rights))
    for name, rights in ((ROOT, ALL), ("listen", {LISTEN}), ("send", {SEND}))
}


@dataclass(frozen=True, slots=True)
class Grant:
    rights: frozenset[str]
    expires: float
    """Unix seconds of the machine's clock: tokens are made by it, and a moved clock of the double must not end them."""

    def allows(self, right: str, path: str) -> None:
        """Raises Refused."""
        if self.expires <= time.time():
            raise Refused(UNAUTHORIZED, f"ExpiredToken: The token for '{path}' has expired")
        if right not in self.rights:
            raise Refused(
                UNAUTHORIZED,
                f"Unauthorized access. '{right}' claim(s) are required to perform this operation on '{path}'",
            )


def judge(token: str, expires: float) -> Grant:
    """What a token grants. Raises Refused.

    A shared access signature is checked: its key, what it signs and its end. Any other token is taken for one of Microsoft Entra:
    whether that service would have issued it is not this double's affair, and its end is the one that the client names.
    """
    if not token:
        raise Refused(UNAUTHORIZED, "There is no token")
    if not token.startswith("SharedAccessSignature "):
        return Grant(ALL, expires)
    fields = {name: values[0] for name, values in parse_qs(token.partition(" ")[2]).items()}
    policy = POLICIES.get(fields.get("skn", ""))
    if policy is None or not hmac.compare_digest(_signature(policy, fields), fields.get("sig", "")):
        raise Refused(UNAUTHORIZED, "InvalidSignature: The token has an invalid signature")
    ends = float(fields.get("se", "0"))
    if ends <= time.time():
        raise Refused(UNAUTHORIZED, "ExpiredToken: The token has expired")
    return Grant(policy.rights, ends)


def _signature(policy: Policy, fields: Mapping[str, str]) -> str:
    # Source: MicrosoftDocs, service-bus-sas: HMAC-SHA256 over the encoded resource and the end, a line each.
    signed = f"{quote_plus(fields.get('sr', ''))}\n{fields.get('se', '')}".encode()
    return base64.b64encode(hmac.new(policy.key.encode(), signed, hashlib.sha256).digest()).decode()


def covering(grants: Mapping[str, Grant], path: str) -> Grant:
    """The grant of the longest of its paths that the path lies under. Raises Refused."""
    name = path.lower()
    for granted in sorted(grants, key=len, reverse=True):
        if not granted or name == granted or name.startswith(granted + "/"):
            return grants[granted]
    raise Refused(UNAUTHORIZED, f"Unauthorized access. No token was put for '{path}'")
