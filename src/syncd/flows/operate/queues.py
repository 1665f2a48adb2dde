"""Queues and what is parked beside them, as operators see and mend them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from syncd.domain.errors import Invalid, NotFound, SyncdError
from syncd.domain.foreign import envelope_of, kind_of
from syncd.domain.ids import ulid
from syncd.domain.taskmessages import fields_of
from syncd.domain.times import iso
from syncd.flows.operate.paging import FIRST_PAGE, Listing, Paging
from syncd.flows.operate.parkedview import SHOWN_BODY, as_words, audited, listed, whole
from syncd.ports.queue import Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.domain.principal import Principal
    from syncd.flows.operate.audit import AuditTrail
    from syncd.flows.parked import Filter, Parked
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document
    from syncd.ports.queue import Peeked, Queue

#: A bulk replay answers after so long at most, and says whether more is left; asked again it goes on. Seconds.
REPLAY_BUDGET = 20.0


class QueuesFlow:
    """`names`: the queues of this deployment."""

    def __init__(
        self,
        *,
        queue: Queue,
        parked: Parked,
        clock: Clock,
        audit: AuditTrail,
        names: Collection[str],
    ) -> None:
        self._queue = queue
        self._parked = parked
        self._clock = clock
        self._audit = audit
        self._names = names

    # -- looking --

    async def list(self, principal: Principal) -> Sequence[JsonObject]:
        """Every queue with its depth. A figure that the backend cannot say is null."""
        principal.must_be_everywhere("queues")
        dead = await self._parked.counts(self._names)
        return [await self._row(name, dead[name]) for name in self._names]

    async def _row(self, name: str, dead: int) -> JsonObject:
        depth = await self._queue.depth(name)
        row: JsonObject = {
            "name": name,
            "ready": depth.ready,
            "leased": depth.leased,
            "scheduled": depth.scheduled,
            "dead": dead,
            "oldestAgeSeconds": None if depth.oldest_age is None else round(depth.oldest_age, 3),
        }
        # Only where it is so: most backends count everything.
        return {**row, "atLeast": True} if depth.at_least else row

    async def peek(self, principal: Principal, name: str, *, paging: Paging = FIRST_PAGE) -> Listing:
        """What waits, oldest first, without touching it. Messages of other tenants are left out."""
        self._check(name)
        found = await self._queue.peek(name, limit=paging.limit, after=paging.cursor)
        more = len(found) == paging.limit
        return Listing(
            items=[_peeked(one) for one in found if principal.sees(one.envelope.tenant_id)],
            cursor=found[-1].position if more else None,
        )

    async def parked(self, principal: Principal, name: str, wanted: Filter, *, paging: Paging = FIRST_PAGE) -> Listing:
        """Oldest first. A page may hold fewer than asked for; only a cursor of null is the end."""
        self._check(name)
        page = await self._parked.list(wanted, limit=paging.limit, cursor=paging.cursor)
        return Listing(
            items=[listed(one) for one in page.items if self._visible(principal, name, one)], cursor=page.cursor
        )

    async def get(self, principal: Principal, name: str, identifier: str) -> JsonObject:
        """With its body and the bodies that it had before it was edited."""
        return whole(await self._find(principal, name, identifier))

    # -- changing --

    async def send(self, principal: Principal, name: str, body: bytes, properties: Mapping[str, object]) -> JsonObject:
        """Put a message there as a producer of another system would; `properties` are its own. The envelope that it got.

        Raises NotUnderstood where nobody could say what it is. A token of some tenants says which one's it is, in the body.
        """
        principal.may_operate()
        self._check(name)
        now = self._clock.now()
        kind_of(name, fields_of(body))
        envelope = envelope_of(name, body, properties, ulid(now), now=now)
        if envelope.tenant_id is not None:
            principal.may_operate_in(envelope.tenant_id)
        elif not principal.everywhere:
            raise Invalid("the message must say whose it is", errors={"tenantId": "needed"})
        facts: JsonObject = {"kind": envelope.kind, "originId": envelope.origin_id, "bytes": len(body)}
        async with self._audit.change(principal, "queue.send", name, tenant_id=envelope.tenant_id, after=facts):
            await self._queue.send(name, [Message(envelope, body)])
        return {"queue": name, **envelope.to_json()}

    async def replay_one(self, principal: Principal, name: str, identifier: str) -> JsonObject:
        """Send it again with everything begun anew. Done twice, it is sent once."""
        principal.may_operate()
        found = await self._find(principal, name, identifier)
        async with self._audit.change(
            principal, "parked.replay", identifier, tenant_id=found.data["tenantId"], before=audited(found)
        ):
            return whole(await self._parked.replay(identifier))

    async def replay(
        self,
        principal: Principal,
        name: str,
        wanted: Filter,
        *,
        ids: Sequence[str] | None = None,
        rate: float = 50.0,
        dry_run: bool = False,
    ) -> JsonObject:
        """All that match, or all of `ids` with a word on each: one that cannot be sent again keeps no other back.

        At most `rate` a second and for REPLAY_BUDGET seconds: `more` says that some are left, and the same request goes on with
        them. A dry run counts and changes nothing.
        """
        principal.may_operate()
        self._check(name)
        answer: JsonObject = {"matched": 0, "replayed": 0, "failed": 0, "more": False, "dryRun": dry_run}
        if ids is not None:
            answer["results"] = []
        if dry_run:
            await self._replay(principal, name, wanted, ids, rate, answer)
            return answer
        what = {"ids": list(ids)} if ids is not None else {"where": as_words(wanted)}
        async with self._audit.change(principal, "parked.replay", name, tenant_id=wanted.tenant, before=what) as change:
            change.after = answer
            await self._replay(principal, name, wanted, ids, rate, answer)
        return answer

    async def _replay(
        self,
        principal: Principal,
        name: str,
        wanted: Filter,
        ids: Sequence[str] | None,
        rate: float,
        answer: JsonObject,
    ) -> None:
        """Fills `answer` in as it goes."""
        deadline = self._clock.monotonic() + REPLAY_BUDGET
        async for identifier, found in self._chosen(principal, name, wanted, ids):
            if not answer["dryRun"] and self._clock.monotonic() >= deadline:
                answer["more"] = True
                return
            reason: str | None = None
            if found is None:
                reason = _unknown(identifier)
            else:
                answer["matched"] += 1
                reason = await self._replayed(found, dry_run=answer["dryRun"])
            if reason is not None:
                answer["failed"] += 1
            elif not answer["dryRun"]:
                answer["replayed"] += 1
            if ids is not None:
                well = "matched" if answer["dryRun"] else "replayed"
                outcome = {"status": well} if reason is None else {"status": "failed", "reason": reason}
                answer["results"].append({"id": identifier, **outcome})
            if found is not None and not answer["dryRun"]:
                await self._clock.sleep(1 / rate)

    async def _replayed(self, found: Document, *, dry_run: bool) -> str | None:
        """Why it could not be sent again; None where it was, or with `dry_run` would be."""
        if dry_run:
            return "it was dropped" if found.data["status"] == "dropped" else None
        try:
            await self._parked.replay(found.id)
        except SyncdError as error:  # handled by somebody else meanwhile, or the queue takes nothing at the moment
            return str(error)
        return None

    async def edit(self, principal: Principal, name: str, identifier: str, body: Json) -> JsonObject:
        """Repair the body. What it was stays in the history."""
        principal.may_operate()
        found = await self._find(principal, name, identifier)
        async with self._audit.change(
            principal, "parked.edit", identifier, tenant_id=found.data["tenantId"], before=audited(found)
        ):
            text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
            return whole(await self._parked.edit(identifier, text.encode()))

    async def drop(self, principal: Principal, name: str, identifier: str) -> JsonObject:
        """Give it up. It can be looked at for another 30 days."""
        principal.may_operate()
        found = await self._find(principal, name, identifier)
        async with self._audit.change(
            principal, "parked.drop", identifier, tenant_id=found.data["tenantId"], before=audited(found)
        ):
            return whole(await self._parked.drop(identifier))

    async def _chosen(
        self, principal: Principal, name: str, wanted: Filter, ids: Sequence[str] | None
    ) -> AsyncIterator[tuple[str, Document | None]]:
        """Ids with their messages; None for an id under which this principal can see none."""
        if ids is not None:
            for identifier in ids:
                try:
                    yield identifier, await self._find(principal, name, identifier)
                except NotFound:
                    yield identifier, None
            return
        cursor: str | None = None
        while True:
            page = await self._parked.list(wanted, limit=100, cursor=cursor)
            for found in page.items:
                if self._visible(principal, name, found):
                    yield found.id, found
            cursor = page.cursor
            if cursor is None:
                return

    async def _find(self, principal: Principal, name: str, identifier: str) -> Document:
        self._check(name)
        found = await self._parked.get(identifier)
        if not self._visible(principal, name, found):
            raise NotFound(_unknown(identifier))
        return found

    def _visible(self, principal: Principal, name: str, found: Document) -> bool:
        return found.data["queue"] == name and principal.sees(found.data["tenantId"])

    def _check(self, name: str) -> None:
        if name not in self._names:
            raise NotFound(f"there is no queue {name[:80]!r}; there are: {', '.join(self._names)}")


def _unknown(identifier: str) -> str:
    return f"there is no parked message {identifier[:200]!r}"


def _peeked(one: Peeked) -> JsonObject:
    return {
        "position": one.position,
        **one.envelope.to_json(),
        "state": one.state,
        "enqueuedAt": iso(one.enqueued_at),
        "dueAt": iso(one.due),
        "body": one.body[:SHOWN_BODY].decode(errors="replace"),
    }
