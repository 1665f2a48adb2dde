"""What the HTTP library raises, as the errors of syncd: one table, most specific first.

Two facts decide: whether the request may have reached the server (then an answer that got lost is not a reason to send again), and
whose fault it is. Where no connection was made, nothing was processed, whatever the exception.
"""

from __future__ import annotations

import ssl

import aiohttp

from syncd.domain.errors import Failure, Invalid, ServerFault, SyncdError, TimedOut, Unavailable

#: Exception class -> the error it becomes once a connection existed. A test keeps it complete over the library's classes.
ERRORS: tuple[tuple[type[BaseException], type[SyncdError]], ...] = (
    # certainly not processed: no connection, no TLS session, or not the server we meant
    (aiohttp.ClientConnectorError, Unavailable),  # with DNS, certificate, TLS, proxy and Unix-socket subclasses
    (aiohttp.ServerFingerprintMismatch, Unavailable),
    (aiohttp.ConnectionTimeoutError, Unavailable),
    (ssl.SSLCertVerificationError, Unavailable),
    # the URL cannot be right
    (aiohttp.InvalidURL, Invalid),
    (aiohttp.NonHttpUrlClientError, Invalid),
    (aiohttp.RedirectClientError, Invalid),
    # may have been processed
    (aiohttp.ServerTimeoutError, TimedOut),
    (TimeoutError, TimedOut),
    (aiohttp.ServerConnectionError, ServerFault),
    (aiohttp.ClientConnectionError, ServerFault),  # reset or broken pipe after connecting
    (aiohttp.ClientPayloadError, ServerFault),
    (aiohttp.UploadAbortedError, ServerFault),
    (aiohttp.ClientResponseError, ServerFault),  # an answer that is no HTTP
    (aiohttp.ClientError, ServerFault),
    (OSError, ServerFault),
    (ValueError, Invalid),  # a header or URL that the library refuses to send
)


def mapped(error: BaseException, *, connected: bool, target: str) -> SyncdError | None:
    """The error of syncd for `error`; None where it is none of the library's. `target` is told to the reader."""
    kind = next((ours for theirs, ours in ERRORS if isinstance(error, theirs)), None)
    if kind is None:
        return None
    # The library's own text would show the whole URL, and a key may be a part of its query.
    said = (error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)) or type(error).__name__
    if issubclass(kind, Failure) and not connected:
        return Unavailable(f"{target}: no connection: {said}")
    if kind is ServerFault:
        return ServerFault(f"{target}: connection lost before the answer was complete: {said}")
    if kind is TimedOut:
        return TimedOut(f"{target}: no complete answer in time")
    return kind(f"{target}: {said}")
