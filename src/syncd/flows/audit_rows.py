"""The audit row of an event: one document that holds its lease and its outcome (decision 0, G2).

status   accepted (somebody works on it, or will) -> processed | parked | failed; parked and failed -> accepted on a replay
lease    term, owner, until, hop: who works on it now
raw      what came, for a person and for a repair: text, base64, or the name of a blob
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from syncd.domain.collections import AUDIT_ROWS, REJECTED_ROW_TTL
from syncd.domain.errors import Conflict, Overloaded
from syncd.domain.events import known_by_body_alone
from syncd.domain.ids import partition_of
from syncd.domain.outcomes import DONE, Outcome, Park, Snooze
from syncd.domain.times import iso, parse
from syncd.ports.documents import Create, Document, Replace

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.messages import Envelope
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents

_ATTEMPTS = 12
#: Hashes of other bodies that came under the same delivery id, kept on the row.
_OTHER_BODIES = 5


class AuditRows:
    """`owner` is `<replica>/<boot>`. `sole`: this process alone can hold leases in the store (embedded), so that one of another
    boot is void. `lease` and `body_dedupe_window` in seconds."""

    def __init__(
        self,
        *,
        documents: Documents,
        clock: Clock,
        owner: str,
        sole: bool = False,
        lease: float = 90.0,
        body_dedupe_window: float = 60.0,
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._owner = owner
        self._sole = sole
        self._lease = lease
        self._body_dedupe_window = body_dedupe_window

    async def claim(self, event_id: str, envelope: Envelope, body_hash: str, facts: JsonObject) -> Document | Outcome:
        """The row, ours to work on, or how this message ends instead. `facts` are what is known of the event so far."""
        partition = partition_of(event_id)
        for _ in range(_ATTEMPTS):
            now = self._clock.now()
            fresh: JsonObject = {
                **facts,
                "status": "accepted",
                "bodyHash": body_hash,
                "originId": envelope.origin_id,
                "hop": envelope.hop,
                "term": 1,
                "owner": self._owner,
                "until": iso(now + self._lease),
                "duplicates": 0,
                "schema": AUDIT_ROWS.schema,
            }
            try:
                [row] = await self._documents.write(AUDIT_ROWS, partition, [Create(event_id, fresh)])
                assert row is not None
                return row
            except Conflict:
                row = await self._documents.get(AUDIT_ROWS, partition, event_id)
            if row is None:
                continue
            data = AUDIT_ROWS.upgraded(row.data)
            verdict, noted = self._judge(data, envelope, body_hash, now)
            if verdict is None:
                kept: JsonObject = {name: data[name] for name in ("duplicates", "otherBodies") if name in data}
                noted = {**fresh, **kept, "term": data["term"] + 1}
            if noted is not None:
                try:
                    [row] = await self._documents.write(AUDIT_ROWS, partition, [Replace(event_id, noted, row.etag)])
                except Conflict:
                    continue
            assert row is not None
            return row if verdict is None else verdict
        raise Overloaded(f"the event {event_id} is being worked on by too many at once", retry_after=1.0)

    def _judge(
        self, row: JsonObject, envelope: Envelope, body_hash: str, now: float
    ) -> tuple[Outcome | None, JsonObject | None]:
        """How the message ends (None: it takes the row over), and what to note on the row first."""
        ours = row["originId"] == envelope.origin_id
        if not ours and row["bodyHash"] != body_hash:
            others = row.get("otherBodies", [])
            noted = None if body_hash in others else {**row, "otherBodies": [*others, body_hash][-_OTHER_BODIES:]}
            reason = (
                "another body came under a delivery id that was used: "
                f"the first has sha256 {row['bodyHash'][:16]}..., this one {body_hash[:16]}..."
            )
            return Park(bin="poison", reason=reason), noted
        if row["status"] == "processed":
            received = envelope.received_at or 0.0
            since = received - parse(row["receivedAt"])
            if not ours and known_by_body_alone(envelope.origin_id) and since >= self._body_dedupe_window:
                return None, None  # the same words again, long after: a new event
            # A delivery of this very message again is no duplicate of the sender's.
            again = iso(received) != row["receivedAt"]
            return DONE, {**row, "duplicates": row["duplicates"] + 1} if again else None
        until = parse(row["until"])
        # A higher hop exists only after the outcome of the lower one was recorded: whoever held the lease has finished.
        superseded = ours and envelope.hop > row["hop"]
        void = self._sole and row["owner"] != self._owner
        if row["status"] == "accepted" and until > now and not superseded and not void:
            return Snooze(until=until, reason=f"the event is being worked on by {row['owner']}"), None
        return None, None

    async def finish(self, row: Document, status: str, **facts: object) -> Outcome | None:
        """Record the outcome. None: recorded. Otherwise the lease was lost and this is how the message ends: done where another
        has processed the event, asleep while another is at it."""
        ttl = None if status == "processed" else REJECTED_ROW_TTL
        term = row.data["term"]
        for _ in range(_ATTEMPTS):
            data = {**row.data, **facts, "status": status, "until": iso(self._clock.now())}
            try:
                await self._documents.write(AUDIT_ROWS, row.partition, [Replace(row.id, data, row.etag, ttl=ttl)])
                return None
            except Conflict:
                found = await self._documents.get(AUDIT_ROWS, row.partition, row.id)
            if found is None or found.data["status"] == "processed":
                return DONE
            if found.data["term"] != term:
                return Snooze(until=parse(found.data["until"]), reason="another took the event over")
            row = found  # only counters changed
        raise Overloaded(f"the event {row.id} is being written by too many at once", retry_after=1.0)

    async def failed(self, event_id: str, origin_id: str, reason: str) -> None:
        """Say on the row that its message was parked after retries, unless it ended otherwise or belongs to another message."""
        partition = partition_of(event_id)
        for _ in range(_ATTEMPTS):
            row = await self._documents.get(AUDIT_ROWS, partition, event_id)
            if row is None or row.data["status"] != "accepted" or row.data["originId"] != origin_id:
                return
            data = {**row.data, "status": "failed", "reason": reason, "until": iso(self._clock.now())}
            try:
                await self._documents.write(
                    AUDIT_ROWS, partition, [Replace(event_id, data, row.etag, ttl=REJECTED_ROW_TTL)]
                )
                return
            except Conflict:
                continue


def raw_of(body: bytes, body_ref: str | None) -> JsonObject:
    """A body as a document keeps it."""
    if body_ref is not None:
        return {"bodyRef": body_ref}
    try:
        return {"raw": body.decode(), "rawEncoding": "text"}
    except UnicodeDecodeError:
        return {"raw": base64.b64encode(body).decode(), "rawEncoding": "base64"}


def body_of(kept: JsonObject) -> bytes:
    """The bytes of `raw_of`; empty where they are in a blob."""
    raw: str = kept.get("raw", "")
    return base64.b64decode(raw) if kept.get("rawEncoding") == "base64" else raw.encode()
