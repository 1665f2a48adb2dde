"""All declared routes of the admin API, in the order in which its description lists them."""

from __future__ import annotations

from syncd.http.api import (
    conflicts,
    connections,
    credentials,
    entities,
    executions,
    jobs,
    providers,
    queues,
    results,
    settings,
    tasks,
    tenants,
    webhooks,
)

ROUTES = (
    *connections.ROUTES,
    *credentials.ROUTES,
    *webhooks.ROUTES,
    *tasks.ROUTES,
    *results.ROUTES,
    *entities.ROUTES,
    *conflicts.ROUTES,
    *queues.ROUTES,
    *jobs.ROUTES,
    *executions.ROUTES,
    *providers.ROUTES,
    *settings.ROUTES,
    *tenants.ROUTES,
)
