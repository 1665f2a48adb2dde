"""Calling somebody's HTTP endpoint once, with the evidence kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from syncd.domain.secrets import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    secret_headers: Mapping[str, Secret] = field(default_factory=dict)
    """Sent to the URL's own origin only; a redirect elsewhere is not followed."""
    body: bytes = b""
    secret_body: Secret | None = None
    """Sent instead of `body`, and treated like `secret_headers`: a form that holds a refresh token."""
    timeout: float = 30.0
    """Seconds for everything: connecting, sending, waiting, reading."""
    max_response_bytes: int = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    duration: float
    truncated: bool = False
    """The response was longer than `max_response_bytes`; `body` holds its beginning."""


class Caller(Protocol):
    """One outgoing request under the SSRF policy.

    Any status is an Answer (a redirect to another host, and any redirect of a request with secret headers to another origin,
    is answered as it came). Raises Unavailable where the request cannot have been processed (refused, DNS, TLS), TimedOut and
    ServerFault (connection lost in mid-answer) where it may have been, Invalid where the URL is not allowed.
    """

    async def call(self, call: Call) -> Answer: ...
