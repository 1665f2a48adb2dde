"""/api/v1/webhooks: registrations, and the events that came in through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.secrets import Secret
from syncd.flows.registrations import NewRegistration
from syncd.http.models import NewWebhook, RotateWebhook, WebhookChange
from syncd.http.routes import PAGE, Reply, Route, etag_header

if TYPE_CHECKING:
    from syncd.http.routes import Ask


async def create(ask: Ask) -> Reply:
    body = ask.model(NewWebhook)
    new = NewRegistration(
        id=body.id,
        tenant_id=body.tenant_id,
        integration_id=body.integration_id,
        connection_id=body.connection_id,
        scheme=body.scheme,
        scheme_settings=body.scheme_settings,
        secret=None if body.secret is None else Secret(body.secret),
        rate=body.rate,
        max_body_bytes=body.max_body_bytes,
        enabled=body.enabled,
    )
    made = await ask.services.operate.webhooks.create(ask.principal, new)
    return Reply(made, 201, etag_header(made))


async def list_all(ask: Ask) -> Reply:
    flow = ask.services.operate.webhooks
    page = await flow.list(ask.principal, tenant_id=ask.query.get("tenantId"), paging=ask.paging())
    return Reply(page.as_json())


async def get(ask: Ask) -> Reply:
    found = await ask.services.operate.webhooks.get(ask.principal, ask.path["registrationId"])
    return Reply(found, headers=etag_header(found))


async def change(ask: Ask) -> Reply:
    enabled = ask.model(WebhookChange).enabled
    changed = await ask.services.operate.webhooks.enable(ask.principal, ask.path["registrationId"], enabled)
    return Reply(changed, headers=etag_header(changed))


async def rotate(ask: Ask) -> Reply:
    body = ask.model(RotateWebhook)
    secret = None if body.secret is None else Secret(body.secret)
    changed = await ask.services.operate.webhooks.rotate(
        ask.principal, ask.path["registrationId"], secret, overlap=body.overlap_seconds
    )
    return Reply(changed, headers=etag_header(changed))


async def delete(ask: Ask) -> Reply:
    await ask.services.operate.webhooks.delete(ask.principal, ask.path["registrationId"])
    return Reply(status=204)


async def list_events(ask: Ask) -> Reply:
    page = await ask.services.operate.webhook_events.list(
        ask.principal, ask.path["registrationId"], status=ask.query.get("status"), paging=ask.paging()
    )
    return Reply(page.as_json())


async def get_event(ask: Ask) -> Reply:
    flow = ask.services.operate.webhook_events
    return Reply(await flow.get(ask.principal, ask.path["registrationId"], ask.path["eventId"]))


async def replay_event(ask: Ask) -> Reply:
    flow = ask.services.operate.webhook_events
    return Reply(await flow.replay(ask.principal, ask.path["registrationId"], ask.path["eventId"]), 202)


_ONE = "/webhooks/{registrationId}"
ROUTES = (
    Route(
        method="POST",
        path="/webhooks",
        role="operate",
        handler=create,
        summary="Register a webhook; where no secret is given, one is made and shown this once",
        answers="the registration; its secret only where it was made here",
        status=201,
        model=NewWebhook,
    ),
    Route(
        method="GET",
        path="/webhooks",
        role="read",
        handler=list_all,
        summary="List registrations",
        answers="a page of registrations",
        query=("tenantId", *PAGE),
    ),
    Route(
        method="GET",
        path=_ONE,
        role="read",
        handler=get,
        summary="Show a registration",
        answers="the registration, without secrets",
    ),
    Route(
        method="PATCH",
        path=_ONE,
        role="operate",
        handler=change,
        summary="Disable a registration, or enable it again",
        answers="the registration",
        model=WebhookChange,
    ),
    Route(
        method="POST",
        path=f"{_ONE}/rotate",
        role="operate",
        handler=rotate,
        summary="Give it a new secret; the one before stays valid for a while",
        answers="the registration; its secret only where it was made here",
        model=RotateWebhook,
    ),
    Route(
        method="DELETE",
        path=_ONE,
        role="operate",
        handler=delete,
        summary="Delete a registration with its secrets",
        answers="nothing",
        status=204,
    ),
    Route(
        method="GET",
        path=f"{_ONE}/events",
        role="read",
        handler=list_events,
        summary="List what came in, newest first",
        answers="a page of events",
        query=("status", *PAGE),
    ),
    Route(
        method="GET",
        path=f"{_ONE}/events/{{eventId}}",
        role="read",
        handler=get_event,
        summary="Show an event",
        answers="the event",
    ),
    Route(
        method="POST",
        path=f"{_ONE}/events/{{eventId}}/replay",
        role="operate",
        handler=replay_event,
        summary="Send an event through again",
        answers="the event",
        status=202,
    ),
)
