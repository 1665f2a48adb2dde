"""Errors as `application/problem+json` (RFC 9457): one table from our errors to answers, complete by test.

What an unexpected exception says never leaves the process: the answer carries a correlation id, the log line with the same id
carries the traceback.
"""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from syncd.domain import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncd.domain.jsontypes import JsonObject

CONTENT_TYPE = "application/problem+json"
#: Told in Retry-After where a temporary refusal names no time. Seconds.
DEFAULT_RETRY_AFTER = 5
#: Most specific first wins: an error is looked up along its class's ancestors.
STATUS: dict[type[errors.SyncdError], int] = {
    errors.Invalid: 400,
    errors.NotUnderstood: 422,
    errors.TooLarge: 413,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.LeaseLost: 409,
    errors.Held: 409,
    errors.Forbidden: 403,
    errors.Unauthorized: 401,
    errors.StoreUnusable: 503,
    errors.Failure: 502,
    errors.Overloaded: 503,
    errors.Throttled: 429,
    errors.Unavailable: 503,
    errors.TimedOut: 504,
    errors.ServerFault: 502,
    errors.Rejected: 502,
    errors.AuthenticationFailed: 502,
    errors.InvalidGrant: 502,
}
#: Statuses that invite another try, so that they carry Retry-After.
_TEMPORARY = frozenset({429, 503})
#: Answers given before the body was read: what follows on the connection cannot be told from a next request.
_UNREAD = frozenset({408, 413, 417})


class HttpProblem(Exception):
    """An answer that only HTTP knows (405, 408, 412, 413, 415, 417): raised by routes, never by flows."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})


def status_of(error: errors.SyncdError) -> int:
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def retry_after_header(seconds: float | None) -> str:
    """Whole seconds, at least one: the header knows no fractions, and 0 would be an invitation to hammer."""
    return str(max(1, math.ceil(DEFAULT_RETRY_AFTER if seconds is None else seconds)))


def document(
    status: int,
    detail: str,
    *,
    label: str | None = None,
    fields: Mapping[str, str] | None = None,
    correlation_id: str | None = None,
) -> JsonObject:
    """The body. `errors` lists what is wrong with which field, in the order in which it was found."""
    body: JsonObject = {
        "type": f"urn:syncd:problem:{label}" if label else "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if fields:
        body["errors"] = [{"field": field, "detail": text} for field, text in fields.items()]
    if correlation_id:
        body["correlationId"] = correlation_id
    return body


def respond(body: JsonObject, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=body["status"],
        body=json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace"),
        headers={"Cache-Control": "no-store", **(headers or {})},
        content_type=CONTENT_TYPE,
    )


def of_error(error: errors.SyncdError, *, bearer: bool = True) -> web.Response:
    """The answer to one of our own errors. Their texts are written for people and hold no secrets.

    `bearer`: a 401 asks for a token; not where no token would help, as with a webhook whose signature is wrong.
    """
    status = status_of(error)
    headers: dict[str, str] = {}
    if status in _TEMPORARY:
        headers["Retry-After"] = retry_after_header(getattr(error, "retry_after", None))
    if status == HTTPStatus.UNAUTHORIZED and bearer:
        headers["WWW-Authenticate"] = 'Bearer realm="syncd"'
    fields = getattr(error, "errors", None)
    return respond(document(status, str(error), label=error.label, fields=fields), headers)


def of_http(problem: HttpProblem) -> web.Response:
    response = respond(document(problem.status, str(problem)), problem.headers)
    if problem.status in _UNREAD:
        response.force_close()
    return response


def unexpected(correlation_id: str) -> web.Response:
    """Something that should not happen did: nothing about it is told but where to look."""
    text = "an unexpected error; the log line with this correlation id says what happened"
    return respond(document(500, text, label="internal", correlation_id=correlation_id))
