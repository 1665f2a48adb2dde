"""SyncTaskMessage: the message that asks for one run of a sync task. Pure.

    { integrationId, tenantId, connectionId, syncMode, priority, correlationId, enqueuedAt, taskId?, entityType?, generation?, full?,
      since? }

Ours name their task and its generation. Producers of the systems in use send the documented fields only, encoded once or twice, with
properties of their own: such a message asks for a run of its task as it is, and one without a task gets a task made under a hash.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from syncd.domain.errors import Invalid, NotUnderstood
from syncd.domain.ids import digest, located
from syncd.domain.jsonbody import parse_message
from syncd.domain.messages import MESSAGE_LIFETIME, Envelope, lane_of
from syncd.domain.tasks import LANE_NUMBERS, MODES, Mode, Priority, SyncTask, origin_of, priority_of
from syncd.domain.times import iso

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject

#: The kind of these messages.
KIND = "task"
#: Where each mode is worked on; `bidirectional` pulls first.
QUEUES: dict[Mode, str] = {"pull": "sync-inbound", "bidirectional": "sync-inbound", "push": "sync-outbound"}
_NEEDED = ("tenantId", "integrationId", "connectionId")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMessage:
    tenant_id: str
    integration_id: str
    connection_id: str
    mode: Mode
    priority: Priority
    entity_type: str | None
    """None: all types of the connection."""
    task_id: str
    """As the task is stored; a hash below the tenant where the message names no task."""
    generation: int | None
    """None: another producer's; it asks for a run of the task as it is."""
    correlation_id: str | None
    origin_id: str
    full: bool = False
    since: float | None = None
    """Unix seconds."""
    named: bool = True
    """False: it names no task, so that one is made for it."""

    @classmethod
    def of(cls, fields: JsonObject, *, origin_id: str) -> TaskMessage:
        """From the body's fields. `origin_id`: the envelope's. Raises Invalid naming every field that is missing or wrong."""
        wrong = {name: "needed" for name in _NEEDED if not _is_text(fields.get(name))}
        mode = fields.get("syncMode", "pull")
        if mode not in MODES:
            wrong["syncMode"] = f"one of {', '.join(get_args(Mode))}"
        for name in ("taskId", "entityType", "correlationId"):
            if fields.get(name) is not None and not _is_text(fields[name]):
                wrong[name] = "text"
        since = SyncTask(fields).since
        if since is None and fields.get("since") is not None:
            wrong["since"] = "an ISO 8601 time"
        if wrong:
            told = "; ".join(f"{name}: {text}" for name, text in wrong.items())
            raise Invalid(f"the message is no SyncTaskMessage: {told}", errors=wrong)
        generation = fields.get("generation")
        ours = isinstance(generation, int) and not isinstance(generation, bool) and "taskId" in fields
        origin = origin_id if ours else foreign_origin(fields, origin_id)
        tenant = fields["tenantId"]
        return cls(
            tenant_id=tenant,
            integration_id=fields["integrationId"],
            connection_id=fields["connectionId"],
            mode=mode,
            priority=priority_of(fields),
            entity_type=fields.get("entityType"),
            task_id=fields.get("taskId") or located(tenant, origin),
            generation=generation if ours else None,
            correlation_id=fields.get("correlationId"),
            origin_id=origin,
            full=fields.get("full") is True,
            since=since,
            named=fields.get("taskId") is not None,
        )

    def task_document(self, now: float) -> JsonObject:
        """The task of a message that names none."""
        document: JsonObject = {
            "type": "message",
            "tenantId": self.tenant_id,
            "integrationId": self.integration_id,
            "connectionId": self.connection_id,
            "syncMode": self.mode,
            "priority": self.priority,
            "enabled": True,
            "status": "queued",
            "generation": 0,
            "origins": [[self.origin_id, 0]],
            "createdAt": iso(now),
            "updatedAt": iso(now),
        }
        if self.entity_type is not None:
            document["entityType"] = self.entity_type
        if self.full:
            document["full"] = True
        if self.since is not None:
            document["since"] = iso(self.since)
        return document


def fields_of(body: bytes | str) -> JsonObject:
    """The fields of a body that was encoded once or twice. Raises NotUnderstood."""
    return parse_message(body.encode() if isinstance(body, str) else body)


def foreign_origin(fields: JsonObject, sequence: str) -> str:
    """The origin of a message without our properties: by what it asks for and the correlation, which is the same for a whole tick of the
    old scheduler; else the broker's `sequence` number."""
    correlation, task_id = fields.get("correlationId"), fields.get("taskId")
    if not (isinstance(correlation, str) and correlation):
        return sequence
    if isinstance(task_id, str) and task_id:
        return digest(correlation, task_id)
    asked = [str(fields.get(name) or "") for name in (*_NEEDED, "syncMode", "entityType")]
    return digest(correlation, *asked)


def queue_of(task: SyncTask) -> str:
    return QUEUES[task.mode]


def body_for(data: JsonObject, task_id: str, task: SyncTask, now: float) -> bytes:
    """The body of the message for the generation that `data` is in. What the document does not know is left out."""
    wire: JsonObject = {
        "integrationId": task.integration_id,
        "tenantId": task.tenant_id,
        "connectionId": task.connection_id,
        "syncMode": task.mode,
        "priority": task.priority,
        "correlationId": data.get("correlationId"),
        "enqueuedAt": iso(now),
        "taskId": task_id,
        "entityType": task.entity_type,
        "generation": task.generation,
        "full": task.full or None,
        "since": None if task.since is None else iso(task.since),
    }
    present = {name: value for name, value in wire.items() if value is not None}
    return json.dumps(present, ensure_ascii=False, separators=(",", ":")).encode()


def envelope_for(data: JsonObject, task_id: str, task: SyncTask, now: float, *, hop: int) -> Envelope:
    correlation = data.get("correlationId")
    return Envelope(
        kind=KIND,
        origin_id=origin_of(task_id, task.generation),
        hop=hop,
        lane=lane_of(LANE_NUMBERS[task.priority]),
        group=f"{task.tenant_id}:{task.connection_id}" if task.connection_id else None,
        tenant_id=task.tenant_id,
        connection_id=task.connection_id,
        received_at=now,
        expires_at=now + MESSAGE_LIFETIME,
        correlation_id=correlation if isinstance(correlation, str) else None,
    )


def task_of_origin(origin_id: str) -> tuple[str, int]:
    """Task and generation of one of our messages. Raises NotUnderstood for another's."""
    task_id, tilde, generation = origin_id.rpartition("~")
    if not (tilde and task_id and generation.isascii() and generation.isdecimal()):
        raise NotUnderstood(f"{origin_id[:100]!r} is not the origin of a task's message")
    return task_id, int(generation)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)
