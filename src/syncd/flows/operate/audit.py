"""Who changed what: one row per change, written before the change and closed after it.

The row cannot be in one batch with the change (another partition, often another collection). So it is written first with the
outcome `begun`; a crash in between leaves a row that says so, never a change that nobody answers for.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from syncd.domain.collections import AUDIT
from syncd.domain.errors import SyncdError
from syncd.domain.ids import located, ulid
from syncd.domain.times import day, iso
from syncd.flows.operate.redaction import redacted
from syncd.ports.documents import Create, Replace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.domain.principal import Principal
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents


class Change:
    """One change under way. Set `after` (and `before`) where they are known only inside."""

    def __init__(self, before: Json, after: Json) -> None:
        self.before = before
        self.after = after


class AuditTrail:
    def __init__(self, *, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    @asynccontextmanager
    async def change(
        self,
        principal: Principal,
        action: str,
        subject: str,
        *,
        tenant_id: str | None = None,
        before: Json = None,
        after: Json = None,
    ) -> AsyncIterator[Change]:
        """Around one change: `action` is `<resource>.<verb>`, `subject` the id. What looks like a secret is not written.

        The row ends as `done`, or `failed` with the kind of error. The change's own error comes through.
        """
        now = self._clock.now()
        partition = day(now)
        row: JsonObject = {
            "schema": AUDIT.schema,
            "at": iso(now),
            "actor": principal.name,
            "action": action,
            "subject": subject,
            "tenantId": tenant_id,
            "outcome": "begun",
        }
        change = Change(before, after)
        [stored] = await self._documents.write(
            AUDIT, partition, [Create(located(partition, ulid(now)), _with(row, change))]
        )
        assert stored is not None
        outcome = "done"
        try:
            yield change
        except BaseException as error:
            outcome = f"failed: {error.label if isinstance(error, SyncdError) else type(error).__name__}"
            raise
        finally:
            # Shielded: the change is made, and a client that hangs up must not leave its row open.
            with anyio.CancelScope(shield=True):
                closed = {**_with(row, change), "outcome": outcome}
                await self._close(partition, stored.id, closed, stored.etag)

    async def _close(self, partition: str, identifier: str, row: JsonObject, etag: str) -> None:
        try:
            await self._documents.write(AUDIT, partition, [Replace(identifier, row, etag)])
        except SyncdError:
            # The change itself stands or failed already; a row that stays `begun` says less, but nothing wrong.
            return


def _with(row: JsonObject, change: Change) -> JsonObject:
    return {**row, "before": redacted(change.before), "after": redacted(change.after)}
