"""Liveness, readiness and metrics: for orchestrators and scrapers, without a token, and without anything worth hiding."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web

from syncd.http.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncd.domain.jsontypes import JsonObject
    from syncd.http.services import Services
    from syncd.ports.control import Health

#: The text format of Prometheus. https://prometheus.io/docs/instrumenting/exposition_formats/
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_HEADERS = {"Cache-Control": "no-store"}


def _answer(body: JsonObject, *, ok: bool) -> web.Response:
    return web.Response(
        status=200 if ok else 503,
        body=json.dumps(body).encode(),
        headers=_HEADERS if ok else {**_HEADERS, "Retry-After": "1"},
        content_type="application/json",
    )


def liveness(health: Health) -> web.Response:
    return _answer({"status": "ok" if health.live else "failed", "version": health.version}, ok=health.live)


def readiness(health: Health) -> web.Response:
    body: JsonObject = {
        "status": health.phase if health.phase != "running" else "ready" if health.ready else "failed",
        "version": health.version,
        "generation": health.generation,
        "roles": list(health.roles),
        "components": [
            {"name": component.name, "status": component.status, "detail": component.detail}
            for component in health.components
        ],
        "lastReloadError": health.last_reload_error,
    }
    return _answer(body, ok=health.ready and health.phase == "running")


async def healthz(request: web.BaseRequest, services: Services, path: Mapping[str, str]) -> web.Response:
    """The loop turns (it answers this) and the supervised tasks are alive. Never fails because a dependency is away."""
    return liveness(services.control.health())


async def readyz(request: web.BaseRequest, services: Services, path: Mapping[str, str]) -> web.Response:
    """Whether this replica can do any work of its roles now; what is merely degraded shows with 200."""
    return readiness(services.control.health())


async def metrics(request: web.BaseRequest, services: Services, path: Mapping[str, str]) -> web.Response:
    return web.Response(body=services.metrics(), headers={**_HEADERS, "Content-Type": METRICS_TYPE})


ENDPOINTS = (
    Endpoint("GET", "/healthz", healthz),
    Endpoint("GET", "/readyz", readyz),
    Endpoint("GET", "/metrics", metrics),
)
