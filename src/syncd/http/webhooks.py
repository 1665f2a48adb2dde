"""`POST /webhooks/{registrationId}/events`: raw bytes in, one durable write, 200.

This is the path that senders wait for. It touches nothing that it does not need: no router, no middleware, no task or timer for
a body that came with its headers, headers of the answer made once.

Content types: JSON and anything `+json`, forms (some providers wrap their JSON in one), `text/plain` (senders that cannot say
otherwise), or none, which is read as JSON. Anything else is 415. Compressed bodies are 415: signatures cover what was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from multidict import CIMultiDict

from syncd.domain.errors import Overloaded, Unauthorized
from syncd.http.endpoint import Endpoint
from syncd.http.problem import HttpProblem, of_error
from syncd.http.reading import read_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncd.http.services import Services

_HEADERS = CIMultiDict({"Content-Type": "application/json", "Cache-Control": "no-store"})
_TYPES = frozenset({"", "application/json", "application/x-www-form-urlencoded", "text/plain"})
#: What arrives in one piece with its headers is at most this, whatever it announces. Bytes; aiohttp's read buffer.
_SMALL = 64 * 1024


async def receive(request: web.BaseRequest, services: Services, registration_id: str) -> web.Response:
    """401 where it cannot be told who sent it. Raises what else `Accept.receive` raises, and HttpProblem for what only HTTP knows."""
    accept = services.accept
    if accept is None:
        raise Overloaded("this replica does not take webhooks; another one of the deployment does")
    headers = request.headers
    declared = headers.get("Content-Type", "")
    if declared != "application/json":
        media = declared.partition(";")[0].strip().lower()
        if media not in _TYPES and not media.endswith("+json"):
            raise HttpProblem(415, "webhooks are taken as JSON, as a form or as text")
    stream = request.content
    if stream.is_eof() and (request.content_length or 0) <= _SMALL and "Content-Encoding" not in headers:
        body: bytes = stream.read_nowait()  # it came with its headers; accept compares it with the registration's limit
    else:
        body = await _read(request, services, registration_id)
    try:
        accepted = await accept.receive(registration_id, headers, body, services.clock.now())
    except Unauthorized as error:
        return of_error(error, bearer=False)
    answer = f'{{"status":"{accepted.status}","eventId":"{accepted.event_id}"}}'
    return web.Response(body=answer.encode(), headers=_HEADERS)


async def _read(request: web.BaseRequest, services: Services, registration_id: str) -> bytes:
    """A body that is still coming: how much of it is waited for is the registration's to say, before any of it is held."""
    registration = await services.registrations.find(registration_id)
    try:
        return await read_body(request, limit=registration.max_body_bytes, timeout=services.limits.body_timeout)
    except HttpProblem as error:
        services.observe("webhook_rejected", registration=registration_id, reason=f"http_{error.status}")
        raise


async def _by_pattern(request: web.BaseRequest, services: Services, path: Mapping[str, str]) -> web.Response:
    """The same for addresses that the short pattern does not take: with a query string, or with a percent-encoded id."""
    return await receive(request, services, path["registrationId"])


ENDPOINTS = (Endpoint("POST", "/webhooks/{registrationId}/events", _by_pattern),)
