"""Webhook addresses of the systems in use: other ways to name the registration, the same handler behind them.

    POST /api/WebhookReceiver                  x-webhook-id, or ?registrationId=
    POST /api/webhooks[/{registrationId}[/events]]   the same where the path names none
    POST /webhooks/{provider}                  x-webhook-id, or ?registrationId=; without them the provider's name is the registration's id

Signature, limits and the one durable write are those of `webhooks.receive`, and so are the statuses. Whoever calls these addresses was
answered `{success, ...}` before: the answer has these names beside today's. `eventType` and `entityId` are left out, because nothing is
read before it is durable; they are on the event's row (`GET /api/v1/webhooks/{id}/events`). `synced` meant "queued": here it is true
whenever the status is 200, where the systems before also answered 200 to events that they had lost.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web

from syncd.domain.errors import SyncdError
from syncd.domain.ids import USER_ID
from syncd.http import problem, webhooks
from syncd.http.endpoint import Endpoint
from syncd.http.problem import HttpProblem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncd.http.services import Services

HEADER, PARAMETER = "x-webhook-id", "registrationId"
_SEGMENT, _PROVIDER = "registrationId", "provider"
#: The texts that callers were told, by status; any other keeps its own.
_TEXTS = {
    401: "Webhook signature verification failed",
    404: "Webhook registration not found",
    429: "Rate limit exceeded",
}
_MISSING = "Missing webhook registration ID"


async def _receive(request: web.BaseRequest, services: Services, path: Mapping[str, str]) -> web.Response:
    try:
        return _accepted(await webhooks.receive(request, services, _registration(request, path)))
    except HttpProblem as error:
        return _refused(problem.of_http(error))
    except SyncdError as error:
        return _refused(problem.of_error(error))


def _registration(request: web.BaseRequest, path: Mapping[str, str]) -> str:
    """Raises HttpProblem 400 where nothing names one, or the name can be none."""
    named = (
        path.get(_SEGMENT) or request.headers.get(HEADER) or request.rel_url.query.get(PARAMETER) or path.get(_PROVIDER)
    )
    if not named:
        raise HttpProblem(
            400, f"{_MISSING}: name it in the header {HEADER}, as ?{PARAMETER}=, or call /webhooks/<id>/events"
        )
    if not USER_ID.fullmatch(named):
        raise HttpProblem(400, "that cannot be the id of a webhook registration")
    return named


def _accepted(response: web.Response) -> web.Response:
    if response.status != 200:
        return _refused(response)
    return _extended(response, {"success": True, "message": "Webhook received and queued", "synced": True})


def _refused(response: web.Response) -> web.Response:
    said = json.loads(_bytes(response))
    names: dict[str, object] = {"success": False, "error": _TEXTS.get(response.status, said["detail"])}
    if response.status == 400 and said["detail"].startswith(_MISSING):
        names["error"] = _MISSING
    if "Retry-After" in response.headers:
        names["retryAfterSeconds"] = int(response.headers["Retry-After"])
    return _extended(response, names)


def _extended(response: web.Response, names: dict[str, object]) -> web.Response:
    response.body = json.dumps({**names, **json.loads(_bytes(response))}, ensure_ascii=False).encode()
    return response


def _bytes(response: web.Response) -> bytes:
    body = response.body
    assert isinstance(body, bytes)
    return body


ENDPOINTS = tuple(
    Endpoint("POST", path, _receive)
    for path in (
        # The host of the functions took names in any case; these are the two that people write.
        "/api/WebhookReceiver",
        "/api/webhookreceiver",
        "/api/webhooks",
        f"/api/webhooks/{{{_SEGMENT}}}",
        f"/api/webhooks/{{{_SEGMENT}}}/events",
        f"/webhooks/{{{_PROVIDER}}}",
    )
)
