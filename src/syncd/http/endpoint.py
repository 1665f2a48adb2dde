"""An address and what serves it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from syncd.http.services import Services

#: Gets the services of the generation that the request began with, and the values of `{name}` in the path.
Serve = Callable[[web.BaseRequest, Services, Mapping[str, str]], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`path` with `{name}` for one segment. A trailing slash is always optional; ids may come percent-encoded or not."""

    method: str
    path: str
    serve: Serve
