"""Providers asked while somebody waits for the answer: whose matter a failure is, in words that say what to do.

401 -> the credential      404, 409 and other 4xx -> the settings, or the provider
429 and our own limits -> Throttled with its time      not allowed -> the address      no connection, no answer, 5xx -> the provider
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from syncd.domain.errors import (
    AuthenticationFailed,
    Conflict,
    Failure,
    Invalid,
    NotFound,
    Rejected,
    ServerFault,
    SyncdError,
    Throttled,
    TimedOut,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syncd.ports.documents import Document

#: Fields of what the client refuses to ask -> the setting that they come from.
_SETTINGS = {"url": "settings.baseUrl", "baseUrl": "settings.baseUrl"}


@contextmanager
def asking(connection: Document) -> Iterator[None]:
    """Around calls to a connection's provider, and nothing else. Raises what providers raise, except NotFound and Conflict, which would
    be taken for the connection's own: they come as Rejected. Every text begins with what it means for the connection."""
    try:
        yield
    except SyncdError as error:
        raise _explained(connection, error) from error


def _explained(connection: Document, error: SyncdError) -> SyncdError:
    name = connection.id
    retry_after = error.retry_after if isinstance(error, Failure) else None
    if isinstance(error, AuthenticationFailed):
        what = "is refused" if connection.data.get("credentialId") else "is needed, and there is none"
        return AuthenticationFailed(f"the credential of {name} {what}: {error}")
    if isinstance(error, Throttled):
        return Throttled(f"{name} cannot be asked now: {error}", retry_after=retry_after)
    if isinstance(error, Unavailable):
        return Unavailable(f"{name} cannot be reached: {error}", retry_after=retry_after)
    if isinstance(error, TimedOut):
        return TimedOut(f"{name} did not answer in time: {error}")
    if isinstance(error, ServerFault):
        return ServerFault(f"{name} answered with a fault: {error}")
    if isinstance(error, Invalid):
        errors = {_SETTINGS.get(path, path): text for path, text in error.errors.items()}
        return Invalid(f"{name} cannot be asked as its settings are: {error}", errors=errors)
    if isinstance(error, NotFound | Conflict | Rejected):
        return Rejected(f"{name} did not take the request, look at its settings and its credential's rights: {error}")
    return error
