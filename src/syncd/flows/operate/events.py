"""What became of the events of one registration: its rows, newest first, and sending one through again.

The rows of a registration lie in sixteen partitions, by the first digit of the event's hash, so that a burst does not fall on
one of them. A list merges the sixteen by time.
"""

from __future__ import annotations

import base64
import heapq
import json
from typing import TYPE_CHECKING

import anyio

from syncd.domain.collections import AUDIT_ROWS, REJECTED_ROW_TTL
from syncd.domain.errors import Conflict, Invalid, NotFound
from syncd.domain.ids import partition_of
from syncd.domain.messages import MESSAGE_LIFETIME, Envelope
from syncd.domain.times import iso, parse
from syncd.flows.accept import KIND, QUEUE
from syncd.flows.audit_rows import body_of
from syncd.flows.operate.paging import FIRST_PAGE, Listing, Paging
from syncd.ports.documents import Condition, Query, Replace
from syncd.ports.queue import Message

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.flows.operate.audit import AuditTrail
    from syncd.flows.operate.webhooks import WebhooksFlow
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents
    from syncd.ports.queue import Queue

STATUSES = ("accepted", "duplicate", "rejected", "parked", "processed", "failed")
_DIGITS = "0123456789abcdef"
#: Never shown: what steers the engine only.
_INNER = frozenset({"schema", "term", "owner", "until", "hop", "originId"})


class WebhookEventsFlow:
    def __init__(
        self, *, documents: Documents, queue: Queue, webhooks: WebhooksFlow, audit: AuditTrail, clock: Clock
    ) -> None:
        self._documents = documents
        self._queue = queue
        self._webhooks = webhooks
        self._audit = audit
        self._clock = clock

    async def _newest(
        self, partition: str, status: str | None, last: tuple[str, str] | None, limit: int
    ) -> list[Document]:
        """One more than `limit` of what comes after `last`. Rows of the very same moment are told apart by their ids."""
        where = [Condition("status", "eq", status)] if status else []
        if last is not None:
            where.append(Condition("timestamp", "le", last[0]))
        found: list[Document] = []
        cursor: str | None = None
        while True:
            page = await self._documents.query(
                AUDIT_ROWS,
                Query(
                    partition=partition,
                    where=where,
                    order="timestamp",
                    descending=True,
                    limit=min(limit + 1, 1000),
                    cursor=cursor,
                ),
            )
            found += [document for document in page.items if last is None or _position(document) < last]
            cursor = page.cursor
            if cursor is None or len(found) > limit:
                # Within one moment the store's order of ids is its own; ours decides what a page holds.
                return sorted(found, key=_position, reverse=True)

    async def list(
        self,
        principal: Principal,
        registration_id: str,
        *,
        status: str | None = None,
        paging: Paging = FIRST_PAGE,
    ) -> Listing:
        """Newest first. Raises NotFound for a registration that is not there or not this principal's."""
        await self._webhooks.find(principal, registration_id)
        if status is not None and status not in STATUSES:
            raise Invalid(f"there is no status {status!r}", errors={"status": f"one of {', '.join(STATUSES)}"})
        last = None if paging.cursor is None else _read_cursor(paging.cursor)
        found: list[list[Document]] = [[] for _ in _DIGITS]

        async def read(index: int, digit: str) -> None:
            found[index] = await self._newest(f"{registration_id}:{digit}", status, last, paging.limit)

        async with anyio.create_task_group() as group:
            for index, digit in enumerate(_DIGITS):
                group.start_soon(read, index, digit)
        merged = list(heapq.merge(*found, key=_position, reverse=True))
        items = merged[: paging.limit]
        more = len(merged) > paging.limit
        return Listing(
            items=[shown(document) for document in items], cursor=_write_cursor(_position(items[-1])) if more else None
        )

    async def get(self, principal: Principal, registration_id: str, event_id: str) -> JsonObject:
        return shown(await self.find(principal, registration_id, event_id))

    async def replay(self, principal: Principal, registration_id: str, event_id: str) -> JsonObject:
        """Send its message through once more, also where it was processed: a connection may list its type only since.

        The row is opened first where it says processed, because a processed row answers every further message; a message that
        is sent twice is absorbed by the row. Raises Conflict for what was rejected (nothing authentic is kept of it) and for
        what is being worked on.
        """
        principal.may_operate()
        row = await self.find(principal, registration_id, event_id)
        data = AUDIT_ROWS.upgraded(row.data)
        now = self._clock.now()
        if "originId" not in data:
            raise Conflict("the event was rejected: nothing of it is kept that could be sent through")
        if data["status"] == "accepted" and parse(data["until"]) > now:
            raise Conflict(f"the event is being worked on until {data['until']}; wait for that")
        tenant_id = data["tenantId"]
        async with self._audit.change(
            principal, "event.replay", event_id, tenant_id=tenant_id, before={"status": data["status"]}
        ):
            if data["status"] == "processed":
                opened = {**data, "status": "accepted", "until": iso(now)}
                [written] = await self._documents.write(
                    AUDIT_ROWS, row.partition, [Replace(row.id, opened, row.etag, ttl=REJECTED_ROW_TTL)]
                )
                assert written is not None
                row = written
            await self._queue.send(QUEUE, [_message(row.id, data, now)])
        return shown(row)

    async def find(self, principal: Principal, registration_id: str, event_id: str) -> Document:
        await self._webhooks.find(principal, registration_id)
        partition = partition_of(event_id)
        found = None
        if partition.rpartition(":")[0] == registration_id:
            found = await self._documents.get(AUDIT_ROWS, partition, event_id)
        if found is None:
            raise NotFound(f"the registration {registration_id!r} has no event {event_id[:200]!r}")
        return found


def shown(document: Document) -> JsonObject:
    data = AUDIT_ROWS.upgraded(document.data)
    visible = {name: value for name, value in data.items() if name not in _INNER}
    return {"id": document.id, "eventId": document.id, **visible}


def _message(event_id: str, row: JsonObject, now: float) -> Message:
    """The event's message as its next hop, from what its row keeps."""
    connection = row.get("connectionId")
    envelope = Envelope(
        kind=KIND,
        origin_id=row["originId"],
        hop=row["hop"] + 1,
        group=f"{row['tenantId']}:{connection or row.get('integrationId')}",
        tenant_id=row["tenantId"],
        connection_id=connection,
        registration_id=row.get("registrationId"),
        event_id=event_id,
        received_at=parse(row["receivedAt"]),
        expires_at=now + MESSAGE_LIFETIME,
        correlation_id=row.get("correlationId"),
        body_ref=row.get("bodyRef"),
        headers=row.get("headers", {}),
    )
    return Message(envelope=envelope, body=body_of(row))


def _position(document: Document) -> tuple[str, str]:
    return document.data["timestamp"], document.id


def _write_cursor(position: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def _read_cursor(cursor: str) -> tuple[str, str]:
    try:
        timestamp, identifier = json.loads(base64.urlsafe_b64decode(cursor))
    except ValueError:
        timestamp = identifier = None
    if not (isinstance(timestamp, str) and isinstance(identifier, str)):
        raise Invalid("the cursor is not one of this list", errors={"cursor": "take it from the page before"})
    return timestamp, identifier
