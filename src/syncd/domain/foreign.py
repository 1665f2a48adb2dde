"""Messages of producers that know nothing of our properties: what such a message is, and the envelope that it gets.

    SyncTaskMessage   {integrationId, tenantId, connectionId, syncMode, priority, correlationId, enqueuedAt, taskId?, entityType?}
    WebhookEvent      {integrationId, tenantId, eventType, entityType, entityId, operation, data, timestamp}
    OutboundChange    {integrationId, entityId, operation, changes, tenantId?, connectionId?, correlationId?}

Bodies are JSON, encoded once or twice. No producer of these sets a message id, and its correlation id is one for a whole tick: what makes
two messages one is the correlation with what they ask for (originId below), else nothing but the broker's own number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from syncd.domain.errors import NotUnderstood
from syncd.domain.events import OPERATIONS, Operation
from syncd.domain.ids import USER_ID, digest
from syncd.domain.jsonbody import canonical
from syncd.domain.messages import MESSAGE_LIFETIME, Envelope, lane_of
from syncd.domain.taskmessages import KIND as TASK
from syncd.domain.taskmessages import fields_of, foreign_origin
from syncd.domain.tasks import LANE_NUMBERS, priority_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncd.domain.jsontypes import JsonObject

WEBHOOK = "webhook"
CHANGE = "change"
#: Where they are taken, with the kind of a message that cannot be read: its handler says why, and it is parked.
TAKEN_ON = {"sync-inbound": TASK, "sync-outbound": CHANGE}
#: Characters of an entity's id; Cosmos DB allows 1,023 bytes of a document's.
_MOST_ID = 500
#: Characters of a correlation id that is kept.
_MOST_CORRELATION = 200
_TRACEPARENT = 55


def kind_of(queue: str, fields: JsonObject) -> str:
    """Which kind of message these fields are. Raises NotUnderstood with what they lack."""
    if queue not in TAKEN_ON:
        raise NotUnderstood(f"messages of other systems are taken on {' and '.join(TAKEN_ON)}, not on {queue[:80]}")
    if "entityType" in fields and "data" in fields:
        return WEBHOOK
    if "entityId" in fields or "changes" in fields:
        return CHANGE
    if any(fields.get(name) for name in ("syncMode", "taskId", "connectionId", "integrationId")):
        return TASK
    raise NotUnderstood(
        "it is none of SyncTaskMessage (integrationId, tenantId, connectionId, syncMode), WebhookEvent (entityType, entityId, "
        "operation, data) and OutboundChange (integrationId, entityId, operation, changes)"
    )


def envelope_of(
    queue: str, body: bytes | str, properties: Mapping[str, object], sequence: str, *, now: float
) -> Envelope:
    """The envelope of a message that has none. `properties`: the producer's own, the broker's `correlationId` among them; what the body
    says goes before them. `sequence`: the broker's number of the message, never given again while anything of it is remembered.
    `now`: Unix seconds. Raises nothing: what cannot be read gets the kind whose handler says so."""
    try:
        fields = fields_of(body)
        kind = kind_of(queue, fields)
    except NotUnderstood:
        fields, kind = {}, TAKEN_ON.get(queue, CHANGE)
    correlation = _text(fields, properties, "correlationId")
    tenant, connection = _user_id(fields, properties, "tenantId"), _user_id(fields, properties, "connectionId")
    trace = properties.get("traceparent", properties.get("Diagnostic-Id"))
    return Envelope(
        kind=kind,
        origin_id=_origin(kind, fields, properties, correlation, f"{queue}:{sequence}"),
        lane=lane_of(LANE_NUMBERS[priority_of(fields)]) if kind == TASK else "normal",
        group=f"{tenant}:{connection}" if tenant and connection else None,
        tenant_id=tenant,
        connection_id=connection,
        received_at=now,
        expires_at=now + MESSAGE_LIFETIME,
        correlation_id=None if correlation is None else correlation[:_MOST_CORRELATION],
        traceparent=trace if isinstance(trace, str) and len(trace) == _TRACEPARENT and trace.isascii() else None,
    )


def _origin(
    kind: str, fields: JsonObject, properties: Mapping[str, object], correlation: str | None, numbered: str
) -> str:
    if correlation is None:
        return numbered
    if kind == TASK:
        task_id = _text(fields, properties, "taskId")
        return foreign_origin({**fields, "correlationId": correlation, "taskId": task_id}, numbered)
    entity_id, operation = fields.get("entityId"), fields.get("operation", "update")
    if not (isinstance(entity_id, str | int) and isinstance(operation, str)):
        return numbered
    # With the content: two changes of one entity under one correlation are two, and neither may stand for the other.
    content = canonical(fields.get("data" if kind == WEBHOOK else "changes"))
    return digest(kind, correlation, str(entity_id), operation, content)


def _text(fields: JsonObject, properties: Mapping[str, object], name: str) -> str | None:
    for value in (fields.get(name), properties.get(name)):
        if isinstance(value, str) and value:
            return value
    return None


def _user_id(fields: JsonObject, properties: Mapping[str, object], name: str) -> str | None:
    value = _text(fields, properties, name)
    return value if value is not None and USER_ID.fullmatch(value) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundChange:
    """Somebody else's edit of an entity, to be told to the connections of an integration."""

    entity_id: str
    """Ours, an old document's, or the object's id at the connection."""
    operation: Operation
    changes: JsonObject
    """Fields with their new values; a null is a value. What is not named stays."""
    integration_id: str | None
    tenant_id: str | None
    connection_id: str | None
    entity_type: str | None
    """No field of the documented shape: for a create of something unknown."""

    @classmethod
    def of(cls, fields: JsonObject) -> OutboundChange:
        """Raises NotUnderstood naming every field that is missing or wrong."""
        wrong: list[str] = []
        entity_id = fields.get("entityId")
        if (
            isinstance(entity_id, bool)
            or not isinstance(entity_id, str | int)
            or not 0 < len(str(entity_id)) <= _MOST_ID
        ):
            wrong.append(f"entityId: text of 1 to {_MOST_ID} characters")
        operation = fields.get("operation")
        if operation not in OPERATIONS:
            wrong.append(f"operation: one of {', '.join(OPERATIONS)}")
        changes = fields.get("changes")
        if changes is None and operation == "delete":
            changes = {}
        if not isinstance(changes, dict):
            wrong.append("changes: a JSON object")
        names = ("integrationId", "tenantId", "connectionId", "entityType")
        wrong += [f"{name}: text" for name in names if not isinstance(fields.get(name), str | None)]
        if wrong:
            raise NotUnderstood(f"the message is no OutboundChange: {'; '.join(wrong)}")
        integration, tenant, connection, entity_type = (fields.get(name) or None for name in names)
        return cls(
            entity_id=str(entity_id),
            operation=cast("Operation", operation),
            changes=cast("JsonObject", changes),
            integration_id=integration,
            tenant_id=tenant,
            connection_id=connection,
            entity_type=entity_type,
        )
