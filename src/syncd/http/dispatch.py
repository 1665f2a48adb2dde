"""From a request to its endpoint, and from whatever happens there to an answer. No exception leaves this file unanswered.

Webhooks are tried first and with one pattern: that path is measured. All else is matched against the declared endpoints.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING
from urllib.parse import unquote

import structlog
from aiohttp import web

from syncd.domain.errors import SyncdError
from syncd.http import problem, webhooks
from syncd.http.problem import HttpProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from syncd.http.endpoint import Endpoint, Serve
    from syncd.http.services import Services

_log = structlog.get_logger(__name__)
_EVENTS = re.compile(r"/webhooks/([A-Za-z0-9._-]+)/events/?").fullmatch


class Dispatch:
    """The one handler of the listener."""

    def __init__(self, *, current: Callable[[], Services], endpoints: Sequence[Endpoint]) -> None:
        self._current = current
        self._endpoints: dict[re.Pattern[str], dict[str, Serve]] = {}
        for endpoint in endpoints:
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", endpoint.path.rstrip("/"))
            self._endpoints.setdefault(re.compile(f"{pattern}/?"), {})[endpoint.method] = endpoint.serve

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        services = self._current()  # once: a reload in the middle does not change what this request sees
        try:
            event = _EVENTS(request.raw_path)
            if event is not None and request.method == "POST":
                return await webhooks.receive(request, services, event[1])
            return await self._other(request, services)
        except HttpProblem as error:
            return problem.of_http(error)
        except SyncdError as error:
            return problem.of_error(error)
        except (ConnectionError, web.RequestPayloadError):
            # The client went away, or sent less than it announced: there is nobody, or nothing, to answer.
            services.observe("http_aborted", path=_known_path(request))
            return _cut_off()
        except Exception as error:  # noqa: BLE001 - the last line of defence: answered without internals, logged with them
            correlation_id = secrets.token_hex(8)
            _log.exception("http request failed", correlationId=correlation_id, path=request.path, exc_info=error)
            services.observe("http_failed", correlationId=correlation_id)
            return problem.unexpected(correlation_id)

    async def _other(self, request: web.BaseRequest, services: Services) -> web.StreamResponse:
        path = request.rel_url.raw_path
        method = "GET" if request.method == "HEAD" else request.method
        for pattern, methods in self._endpoints.items():
            found = pattern.fullmatch(path)
            if found is None:
                continue
            serve = methods.get(method)
            if serve is None:
                allowed = ", ".join(sorted(methods))
                raise HttpProblem(
                    405, f"{request.method} is not for this address; it takes {allowed}", headers={"Allow": allowed}
                )
            values = {name: unquote(text, errors="replace") for name, text in found.groupdict().items()}
            return await serve(request, services, values)
        raise HttpProblem(404, "there is nothing at this address; /api/v1/docs lists what there is")


def _known_path(request: web.BaseRequest) -> str:
    """The first segment only: what clients make up must not become a label."""
    return "/" + request.path.lstrip("/").partition("/")[0][:20]


def _cut_off() -> web.Response:
    response = problem.respond(problem.document(400, "the body ended before its announced length"))
    response.force_close()
    return response
