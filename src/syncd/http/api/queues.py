"""/api/v1/queues: depths, what waits, and what is parked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from syncd.domain.errors import Invalid
from syncd.flows.operate.parkedview import chosen
from syncd.http.models import ParkedEdit, Replay, Send
from syncd.http.routes import PAGE, Reply, Route

if TYPE_CHECKING:
    from syncd.http.routes import Ask


async def list_all(ask: Ask) -> Reply:
    return Reply({"items": list(await ask.services.operate.queues.list(ask.principal)), "cursor": None})


async def peek(ask: Ask) -> Reply:
    page = await ask.services.operate.queues.peek(ask.principal, ask.path["queue"], paging=ask.paging())
    return Reply(page.as_json())


async def send(ask: Ask) -> Reply:
    given = ask.model(Send)
    text = given.body if isinstance(given.body, str) else json.dumps(given.body, ensure_ascii=False)
    flow = ask.services.operate.queues
    return Reply(await flow.send(ask.principal, ask.path["queue"], text.encode(), given.properties), 202)


async def parked(ask: Ask) -> Reply:
    query = ask.query
    wanted = chosen(
        ask.path["queue"],
        tenant=query.get("tenantId"),
        connection=query.get("connectionId"),
        bin_name=query.get("bin"),
        reason=query.get("reason"),
        kind=query.get("kind"),
        before=query.get("before"),
        after=query.get("after"),
    )
    page = await ask.services.operate.queues.parked(ask.principal, ask.path["queue"], wanted, paging=ask.paging())
    return Reply(page.as_json())


async def get(ask: Ask) -> Reply:
    return Reply(await ask.services.operate.queues.get(ask.principal, ask.path["queue"], ask.path["parkedId"]))


async def replay(ask: Ask) -> Reply:
    body = ask.model(Replay)
    filters = body.fields("ids", "rate", "dry_run")
    if (body.ids is None) == (not filters):
        raise Invalid(
            "say which messages: ids, or at least one of reason, bin, kind, tenantId, connectionId, before, after",
            errors={"ids": "either ids or a filter"},
        )
    wanted = chosen(
        ask.path["queue"],
        now=ask.services.clock.now(),
        tenant=body.tenant_id,
        connection=body.connection_id,
        bin_name=body.bin,
        reason=body.reason,
        kind=body.kind,
        before=body.before,
        after=body.after,
    )
    return Reply(
        await ask.services.operate.queues.replay(
            ask.principal, ask.path["queue"], wanted, ids=body.ids, rate=body.rate, dry_run=body.dry_run
        )
    )


async def replay_one(ask: Ask) -> Reply:
    flow = ask.services.operate.queues
    return Reply(await flow.replay_one(ask.principal, ask.path["queue"], ask.path["parkedId"]), 202)


async def edit(ask: Ask) -> Reply:
    flow = ask.services.operate.queues
    body = ask.model(ParkedEdit).body
    return Reply(await flow.edit(ask.principal, ask.path["queue"], ask.path["parkedId"], body))


async def drop(ask: Ask) -> Reply:
    return Reply(await ask.services.operate.queues.drop(ask.principal, ask.path["queue"], ask.path["parkedId"]))


_ONE = "/queues/{queue}/parked/{parkedId}"
_FILTERS = ("tenantId", "connectionId", "bin", "reason", "kind", "before", "after")
ROUTES = (
    Route(
        method="GET",
        path="/queues",
        role="read",
        handler=list_all,
        summary="List queues with their depths",
        answers="name, ready, leased, scheduled, dead (parked) and oldestAgeSeconds of each; atLeast where there may be more",
    ),
    Route(
        method="GET",
        path="/queues/{queue}/peek",
        role="read",
        handler=peek,
        summary="Look at what waits, oldest first, without touching it",
        answers="a page of messages",
        query=PAGE,
    ),
    Route(
        method="POST",
        path="/queues/{queue}/send",
        role="operate",
        handler=send,
        summary="Send a SyncTaskMessage, WebhookEvent or OutboundChange as another system would",
        answers="the envelope that the message got",
        status=202,
        model=Send,
    ),
    Route(
        method="GET",
        path="/queues/{queue}/parked",
        role="read",
        handler=parked,
        summary="List parked messages, oldest first",
        answers="a page of parked messages",
        query=(*_FILTERS, *PAGE),
    ),
    Route(
        method="POST",
        path="/queues/{queue}/replay",
        role="operate",
        handler=replay,
        summary="Replay parked messages by id or by filter; answers within 20 s, and goes on when asked again",
        answers="matched, replayed, failed, whether more are left, and with ids what became of each (results)",
        model=Replay,
    ),
    Route(
        method="GET",
        path=_ONE,
        role="read",
        handler=get,
        summary="Show a parked message with its body",
        answers="the parked message",
    ),
    Route(
        method="POST",
        path=f"{_ONE}/replay",
        role="operate",
        handler=replay_one,
        summary="Replay one parked message",
        answers="the parked message",
        status=202,
    ),
    Route(
        method="PUT",
        path=_ONE,
        role="operate",
        handler=edit,
        summary="Put another body into a parked message",
        answers="the parked message",
        model=ParkedEdit,
    ),
    Route(
        method="DELETE",
        path=_ONE,
        role="operate",
        handler=drop,
        summary="Drop a parked message; it can be looked at for another 30 days",
        answers="the parked message",
    ),
)
