"""The entity as the ledger of its pushes: leases, outcomes and holds, each one compare-and-set of the document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import ENTITIES
from syncd.domain.conflicts import ConflictRecord, carrying
from syncd.domain.errors import Conflict, Invalid
from syncd.domain.ids import partition_of
from syncd.domain.pushing import (
    creating_id,
    creating_mark,
    dropped,
    given_back,
    held,
    is_mine,
    lease_until,
    made,
    released,
    seen_hop,
    settled,
    told,
)
from syncd.domain.receiving import receive
from syncd.domain.records import alias, alias_id, owes
from syncd.domain.times import iso, parse
from syncd.flows.accounts import incoming_of
from syncd.flows.creating import content_hash, settling
from syncd.flows.intake import ATTEMPTS, contended, entity_writes
from syncd.flows.steps import former_aliases
from syncd.ports.documents import Create, Delete, Replace, Upsert

if TYPE_CHECKING:
    from collections.abc import Callable

    from syncd.domain.errors import Bin
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.merge import Rules
    from syncd.domain.messages import Envelope
    from syncd.domain.pushing import Sending
    from syncd.flows.conflicts import ConflictLog
    from syncd.flows.hints import PushHints
    from syncd.flows.subscriptions import Subscriptions
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents, Write
    from syncd.ports.observe import Observe
    from syncd.ports.provider import Kind, Record


class PushLedger:
    def __init__(
        self,
        *,
        documents: Documents,
        subscriptions: Subscriptions,
        conflicts: ConflictLog,
        hints: PushHints,
        clock: Clock,
        observe: Observe,
    ) -> None:
        self._documents = documents
        self._subscriptions = subscriptions
        self._conflicts = conflicts
        self._hints = hints
        self._clock = clock
        self._observe = observe

    async def get(self, entity_id: str) -> Document | None:
        try:
            partition = partition_of(entity_id)
        except Invalid:
            return None
        return await self._documents.get(ENTITIES, partition, entity_id)

    async def lease(
        self, document: Document, connection_id: str, taken: JsonObject, wanted: Sending, kind: Kind
    ) -> Document:
        """Write the lease; beside a create the mark that others see. Raises Conflict where the entity changed meanwhile."""
        writes = entity_writes(document.id, document, taken)
        if wanted.operation == "create":
            link = taken["links"][connection_id]
            since, until = parse(link["create"]["since"]), parse(link["push"]["until"]) + settling(kind)
            content = content_hash(link["create"]["sent"], kind.fields)
            mark = creating_mark(document.id, connection_id, content, since, until)
            writes.append(Upsert(creating_id(document.id, connection_id), mark))
        [stored, *_] = await self._documents.write(ENTITIES, document.partition, writes)
        assert stored is not None
        return stored

    async def settle(self, document: Document, connection_id: str) -> bool:
        """There is nothing to tell: the debt is over. False where the entity changed meanwhile."""
        version = document.data["links"][connection_id].get("want", 0)
        entity = settled(document.data, connection_id, version, self._clock.now())
        writes = [*entity_writes(document.id, document, entity), Delete(creating_id(document.id, connection_id))]
        try:
            await self._documents.write(ENTITIES, document.partition, writes)
        except Conflict:
            return False
        return True

    async def record(
        self,
        document: Document,
        connection_id: str,
        sent: Sending,
        record: Record | None,
        term: int,
        *,
        rules: Rules,
    ) -> None:
        """What the provider has now: version, base, external id with its alias, and whatever it made of what it was sent."""
        found: Document | None = document
        for _ in range(ATTEMPTS):
            if found is None:
                return  # purged meanwhile
            if not is_mine(found.data, connection_id, term):
                self._observe("push_lease_lost", connectionId=connection_id, entityId=found.id)
                return
            before = found.data
            if sent.operation == "create" and record is not None:
                before = made(before, connection_id, record.external_id)
            entity = await self._recorded(before, found.id, connection_id, sent, record, rules)
            writes = entity_writes(found.id, found, entity)
            if sent.operation == "create":
                assert record is not None
                writes.append(Delete(creating_id(found.id, connection_id)))
                # Deleted there by now, its aliases are written with it.
                if entity["deleted"] == found.data["deleted"]:
                    writes.append(await self._alias(found, connection_id, record.external_id))
                    if before is not found.data:
                        writes += former_aliases(found.id, entity, connection_id)
            try:
                await self._documents.write(ENTITIES, found.partition, writes)
            except Conflict:
                found = await self.get(found.id)
                continue
            await self._conflicts.write_down([(found.id, entity)])
            await self._hints.send([(found.id, entity)])
            return
        raise contended(document.partition)

    async def _recorded(
        self,
        entity: JsonObject,
        entity_id: str,
        connection_id: str,
        sent: Sending,
        record: Record | None,
        rules: Rules,
    ) -> JsonObject:
        now = self._clock.now()
        known = entity["links"][connection_id].get("remoteVersion")
        incoming = None if record is None else incoming_of(record, connection_id, now)
        if incoming is not None and known is not None and known.startswith(incoming.order):
            # Of two answers of one moment the one to what was sent last stands.
            link = {name: value for name, value in entity["links"][connection_id].items() if name != "remoteVersion"}
            entity, known = {**entity, "links": {**entity["links"], connection_id: link}}, None
        if incoming is None or known is None or incoming.follows(known):
            entity = told(entity, connection_id, sent, None if record is None else record.external_id)
        entity = settled(entity, connection_id, sent.version, now)
        if incoming is None or entity["deleted"]:
            return entity
        subscribers = await self._subscriptions.subscribers(entity["tenantId"], entity["type"])
        change = receive(
            entity,
            incoming,
            tenant_id=entity["tenantId"],
            entity_type=entity["type"],
            subscribers=subscribers,
            now=now,
            rules=rules,
            entity_id=entity_id,
        )
        if change.resolutions:
            # Changed here while it was written there, and there too.
            conflict = ConflictRecord(
                entity_id=entity_id,
                entity_type=entity["type"],
                connection_id=connection_id,
                remote_version=incoming.remote_version,
                resolutions=change.resolutions,
            )
            assert change.entity is not None
            return carrying(change.entity, conflict, now)
        return entity if change.entity is None else change.entity

    async def _alias(self, document: Document, connection_id: str, external_id: str) -> Write:
        """The new object's alias. One that leads elsewhere was made by an event that came while nobody could tell: ours stands."""
        name = alias_id(connection_id, external_id)
        pointer = await self._documents.get(ENTITIES, document.partition, name)
        data = alias(connection_id, external_id, document.id)
        if pointer is None:
            return Create(name, data)
        if pointer.data["entityId"] != document.id:
            self._observe("entity_twin", connectionId=connection_id, entityId=pointer.data["entityId"])
        return Replace(name, data, pointer.etag)

    async def give_back(
        self,
        entity_id: str,
        connection_id: str,
        term: int,
        *,
        due: float,
        hop: int,
        tried: bool,
        error: str | None,
        tag: str | None = None,
        seen: bool = False,
        settles: float | None = None,
    ) -> None:
        """The lease is over and the debt stands. Nothing where the lease is not ours any more. `tag`: of the state that was just
        read and merged, for the next conditional write; `seen`: one was, so nothing is to be made anew. `settles`: of a create that may have been made, when that is known at the
        latest, Unix seconds; None: not by itself."""

        def change(entity: JsonObject) -> JsonObject | None:
            if not is_mine(entity, connection_id, term):
                return None
            now = self._clock.now()
            return given_back(
                entity, connection_id, now=now, due=due, hop=hop, tried=tried, error=error, tag=tag, seen=seen
            )

        await self._changed(entity_id, connection_id, change, tried=tried, settles=settles)

    async def hold(
        self,
        entity_id: str,
        connection_id: str,
        bin_name: Bin,
        reason: str,
        *,
        envelope: Envelope,
        term: int | None = None,
        tried: bool = True,
        gone: bool = False,
    ) -> bool:
        """The debt waits for a person, who finds it by the message of `envelope`. False where it does not: another message came first, or
        nothing is owed any more. `term`: of our lease; without one a live lease of another is left alone. `gone`: there is nothing to
        update; what that person says decides whether it is made anew. May be repeated."""
        by_this = False

        def change(entity: JsonObject) -> JsonObject | None:
            nonlocal by_this
            by_this = False
            link = entity["links"].get(connection_id, {})
            if not owes(link) or (term is not None and not is_mine(entity, connection_id, term)):
                return None
            until = lease_until(entity, connection_id)
            if term is None and until is not None and until > self._clock.now():
                return None
            if "held" in link:
                by_this = link["held"].get("message") == envelope.broker_id
                return seen_hop(entity, connection_id, envelope.hop)
            by_this = True
            tried_before = bool(link.get("create", {}).get("tried"))
            return held(
                entity,
                connection_id,
                bin_name=bin_name,
                reason=reason,
                hop=envelope.hop,
                tried=tried if term is not None else tried_before,
                now=self._clock.now(),
                message=envelope.broker_id,
                gone=gone,
            )

        await self._changed(entity_id, connection_id, change, tried=tried)
        return by_this

    async def release(self, entity_id: str, connection_id: str, before: float, *, looked: bool = True) -> None:
        """A person has looked and says: go on, with whatever was held before then (Unix seconds); with `looked` false it goes on as if it
        had only waited. May be repeated."""
        await self._changed(
            entity_id, connection_id, lambda entity: released(entity, connection_id, before, looked=looked), tried=True
        )

    async def drop(self, entity_id: str, connection_id: str) -> None:
        """A person gave the push up: the debt is forgiven. May be repeated."""

        def change(entity: JsonObject) -> JsonObject | None:
            return dropped(entity, connection_id) if "held" in entity["links"].get(connection_id, {}) else None

        await self._changed(entity_id, connection_id, change, tried=True)

    async def _changed(
        self,
        entity_id: str,
        connection_id: str,
        change: Callable[[JsonObject], JsonObject | None],
        *,
        tried: bool,
        settles: float | None = None,
    ) -> None:
        for _ in range(ATTEMPTS):
            found = await self.get(entity_id)
            entity = None if found is None else change(found.data)
            if found is None or entity is None:
                return
            ended = await self._ended(found, connection_id, tried=tried, settles=settles)
            writes = [*entity_writes(entity_id, found, entity), *ended]
            try:
                await self._documents.write(ENTITIES, found.partition, writes)
            except Conflict:
                continue
            return
        raise contended(partition_of(entity_id))

    async def _ended(
        self, document: Document, connection_id: str, *, tried: bool, settles: float | None
    ) -> list[Write]:
        """The mark of a create whose call is over: gone, or, where it may have been made, known by its content from `settles` on."""
        name = creating_id(document.id, connection_id)
        if not tried:
            return [Delete(name)]
        mark = await self._documents.get(ENTITIES, document.partition, name)
        if mark is None:
            return []
        return [Upsert(name, {**mark.data, "until": mark.data["since"] if settles is None else iso(settles)})]
