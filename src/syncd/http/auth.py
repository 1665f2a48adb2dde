"""Who may use the admin API: bearer tokens, failed log-ins, and the dashboard's sessions.

A candidate is hashed first and the hash compared with every configured one, in constant time and without an early exit: neither
which token nor how much of it was right can be timed.

Failed log-ins are counted per peer. Past the limit wrong tokens are answered 429 instead of 401; a right token is refused too
once the peer has tried that many *different* wrong ones: a guesser learns nothing any more, while a job that repeats one
outdated token cannot lock the operator beside it out.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncd.domain.errors import Throttled, Unauthorized
from syncd.domain.times import HOUR, MINUTE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncd.domain.principal import Principal
    from syncd.domain.secrets import Secret
    from syncd.ports.clock import Clock

#: Most failures of one peer that are remembered, however many are allowed.
_MOST_FAILURES = 20_000
FAILURE_WINDOW = MINUTE
#: Peers remembered; the ones that failed longest ago are forgotten first.
PEERS = 10_000
#: A dashboard log-in ends after so many seconds, or with the token that opened it.
SESSION_LIFETIME = 12 * HOUR
SESSIONS = 1_000


def _hash(text: str | bytes) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text).digest()


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal
    digest: bytes


class Tokens:
    """The configured tokens of one generation."""

    def __init__(self, tokens: Sequence[tuple[Principal, Secret]], *, failures: int = 10) -> None:
        self.failures = failures
        """Failed log-ins of one peer in FAILURE_WINDOW seconds before they are refused."""
        self._known = tuple(_Known(principal, _hash(secret.reveal())) for principal, secret in tokens if secret)

    def find(self, digest: bytes) -> Principal | None:
        """Whose token has this hash. Looks at all of them, always."""
        found: Principal | None = None
        for known in self._known:
            if hmac.compare_digest(known.digest, digest):
                found = known.principal
        return found


class FailedLogins:
    """What each peer got wrong within the last FAILURE_WINDOW seconds. Outlives generations."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._peers: OrderedDict[str, deque[tuple[float, bytes]]] = OrderedDict()

    def _recent(self, peer: str) -> deque[tuple[float, bytes]]:
        failures = self._peers.get(peer)
        if failures is None:
            return deque()
        oldest = self._clock.monotonic() - FAILURE_WINDOW
        while failures and failures[0][0] <= oldest:
            failures.popleft()
        if not failures:
            del self._peers[peer]
        return failures

    def wait(self, peer: str, *, allowed: int, different: bool) -> float:
        """Seconds until this peer may try again; 0 for now. `different`: count only different wrong tokens."""
        failures = self._recent(peer)
        count = len({digest for _, digest in failures}) if different else len(failures)
        return failures[0][0] + FAILURE_WINDOW - self._clock.monotonic() if count >= allowed else 0.0

    def add(self, peer: str, digest: bytes) -> None:
        failures = self._recent(peer)
        self._peers.setdefault(peer, failures)
        self._peers.move_to_end(peer)
        if len(failures) >= _MOST_FAILURES:
            failures.popleft()
        failures.append((self._clock.monotonic(), digest))
        while len(self._peers) > PEERS:
            self._peers.popitem(last=False)


def peer_key(address: str | None) -> str:
    """One key per client: an IPv6 client owns a /64."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return address or "unknown"
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


class Door:
    """Decides who is asking. One per server: failed log-ins and sessions outlive a generation, tokens do not."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._failed = FailedLogins(clock=clock)
        self._sessions: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    def bearer(self, tokens: Tokens, authorization: str | None, peer: str | None) -> Principal:
        """Raises Unauthorized, or Throttled after too many failed log-ins."""
        if not authorization:
            raise Unauthorized("send the header Authorization: Bearer <token>")
        scheme, _, candidate = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized("the scheme of the Authorization header must be Bearer")
        return self._check(tokens, _hash(candidate.strip()), peer)

    def _check(self, tokens: Tokens, digest: bytes, peer: str | None) -> Principal:
        principal = tokens.find(digest)
        key = peer_key(peer)
        wait = self._failed.wait(key, allowed=tokens.failures, different=principal is not None)
        if principal is None:
            self._failed.add(key, digest)
        if wait > 0:
            raise Throttled("too many failed log-ins from this address", retry_after=wait)
        if principal is None:
            raise Unauthorized("this token is not known here")
        return principal

    def open_session(self, tokens: Tokens, candidate: str, peer: str | None) -> str:
        """A new session's cookie value: random, kept here only as its hash. Raises as `bearer`."""
        digest = _hash(candidate.strip())
        self._check(tokens, digest, peer)
        cookie = secrets.token_urlsafe(32)
        self._sessions[_hash(cookie)] = (digest, self._clock.monotonic() + SESSION_LIFETIME)
        while len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)
        return cookie

    def session(self, tokens: Tokens, cookie: str | None) -> Principal | None:
        """Whose session this is; None where there is none, it is over, or its token is not configured any more."""
        if not cookie:
            return None
        key = _hash(cookie)
        digest, until = self._sessions.get(key, (b"", 0.0))
        if until <= self._clock.monotonic():
            self._sessions.pop(key, None)
            return None
        return tokens.find(digest)

    def close_session(self, cookie: str | None) -> None:
        if cookie:
            self._sessions.pop(_hash(cookie), None)
