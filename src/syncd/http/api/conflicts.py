"""/api/v1/conflicts"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.conflicts import Choice
from syncd.domain.errors import Invalid, NotFound
from syncd.domain.merge import ABSENT
from syncd.http.models import ConflictDecision, FieldDecision
from syncd.http.routes import PAGE, Reply, Route, etag_header

if TYPE_CHECKING:
    from syncd.flows.operate.conflicts import ConflictsFlow
    from syncd.http.routes import Ask


async def list_all(ask: Ask) -> Reply:
    page = await _flow(ask).list(
        ask.principal,
        tenant_id=ask.query.get("tenantId"),
        status=ask.query.get("status"),
        entity_id=ask.query.get("entityId"),
        paging=ask.paging(),
    )
    return Reply(page.as_json())


async def get(ask: Ask) -> Reply:
    found = await _flow(ask).get(ask.principal, ask.path["conflictId"])
    return Reply(found, headers=etag_header(found))


async def resolve(ask: Ask) -> Reply:
    body = ask.model(ConflictDecision)
    resolved = await _flow(ask).resolve(
        ask.principal,
        ask.path["conflictId"],
        {name: _choice(name, decision) for name, decision in body.decisions.items()},
        others=None if body.take is None else Choice(body.take),
    )
    return Reply(resolved, headers=etag_header(resolved))


def _choice(name: str, decision: FieldDecision) -> Choice:
    if len(decision.model_fields_set) != 1 or (decision.take is None and "take" in decision.model_fields_set):
        text = "needs one of take, value and remove"
        raise Invalid(f"fields.{name}: {text}", errors={f"fields.{name}": text})
    if decision.take is not None:
        return Choice(decision.take)
    if "value" in decision.model_fields_set:
        return Choice("value", decision.value)
    if not decision.remove:
        text = "true, or left out"
        raise Invalid(f"fields.{name}.remove: {text}", errors={f"fields.{name}.remove": text})
    return Choice("value", ABSENT)


def _flow(ask: Ask) -> ConflictsFlow:
    if ask.services.operate.conflicts is None:
        raise NotFound("no conflicts are recorded here")
    return ask.services.operate.conflicts


_ALL = "/conflicts"
_ONE = f"{_ALL}/{{conflictId}}"
ROUTES = (
    Route(
        method="GET",
        path=_ALL,
        role="read",
        handler=list_all,
        summary="List what both sides had changed, newest first; status=open lists what waits for a decision",
        answers="a page of conflicts",
        query=("tenantId", "status", "entityId", *PAGE),
    ),
    Route(
        method="GET",
        path=_ONE,
        role="read",
        handler=get,
        summary="Show a conflict with both sides of each field",
        answers="the conflict",
    ),
    Route(
        method="POST",
        path=f"{_ONE}/resolve",
        role="operate",
        handler=resolve,
        summary="Decide open fields: take ours or theirs, give a value, or remove the field; connections are sent it",
        answers="the conflict; it stays open while a field does",
        model=ConflictDecision,
    ),
)
