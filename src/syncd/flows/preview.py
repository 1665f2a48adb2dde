"""What a pull would do, without doing it: the first records read from the provider, merged with what is stored, and nothing written.

    cursor as it is -> where the next run would begin -> first pages -> dedupe -> aliases, entities -> pure change -> differences

Requests are charged as any others. Between this and the pull itself both sides may change, so that it is a forecast, not a promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncd.domain.collections import CURSORS, ENTITIES
from syncd.domain.dedupe import Identity, dedupe
from syncd.domain.diffs import brief, diff
from syncd.domain.ids import located, ulid
from syncd.domain.pullcursor import begun, blank, query_hash
from syncd.domain.receiving import receive
from syncd.domain.records import alias_id, entity_partition
from syncd.domain.times import parse
from syncd.flows.accounts import account_of, incoming_of, rules_of
from syncd.flows.keys import Keying, look
from syncd.ports.provider import Fetch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.receiving import Incoming
    from syncd.flows.keys import Keys
    from syncd.flows.subscriptions import Subscriptions
    from syncd.ports.api import Api, Apis
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents
    from syncd.ports.provider import Kind, Record, Records, Unreadable

#: Records read of one type, and pages at most, because a page may be empty.
RECORDS = 100
PAGES = 10
_EFFECTS = {
    "created": "created",
    "updated": "updated",
    "deleted": "deleted",
    "unchanged": "unchanged",
    "outdated": "unchanged",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One type of one connection, as a pull would be asked for it."""

    connection: Document
    records: Records
    kind: Kind
    full: bool = False
    since: float | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """What came of the first pages. `more`: there are others."""

    records: Sequence[Record]
    unreadable: Sequence[Unreadable]
    more: bool
    asked_at: float


class Preview:
    """`lag`: as of the pull (flows/pullcursors)."""

    def __init__(
        self, *, documents: Documents, subscriptions: Subscriptions, apis: Apis, clock: Clock, lag: float = 60.0
    ) -> None:
        self._documents = documents
        self._subscriptions = subscriptions
        self._apis = apis
        self._clock = clock
        self._lag = lag

    async def read(self, wanted: Wanted) -> tuple[str | None, _Read]:
        """Where the pull would begin, and its first records. Raises what providers raise."""
        since = await self._since(wanted)
        settings = wanted.connection.data.get("settings", {})
        api = self._apis.of(account_of(wanted.connection), wanted.records.base_url(settings), books=False)
        return since, await self._pages(wanted, api, None if since is None else parse(since))

    async def merge(self, wanted: Wanted, since: str | None, read: _Read) -> JsonObject:
        """{entityType, since, fetched, counts, more, records, unreadable} of what `read` answered; a record is {externalId, entityId,
        effect: created | updated | unchanged | deleted | conflict | duplicate, changes?, conflicts?}."""
        tenant, kind = wanted.connection.data["tenantId"], wanted.kind.name
        identity = Identity.of_connection(wanted.connection.data["entities"].get(kind, {}))
        keying, keys = Keying.of(identity, "preview"), None
        if keying is None:
            deduped = dedupe(read.records, identity)
        else:
            deduped, keys = await look(
                self._documents, entity_partition(tenant, kind), wanted.connection.id, keying, read.records
            )
        incoming = [incoming_of(one, wanted.connection.id, read.asked_at) for one in deduped.kept]
        records = await self._merged(wanted, incoming, keys)
        records += [
            {"externalId": one.external_id, "entityId": None, "effect": "duplicate", "of": one.of}
            for one in deduped.duplicates
        ]
        counts: JsonObject = {}
        for one in records:
            counts[one["effect"]] = counts.get(one["effect"], 0) + 1
        return {
            "entityType": kind,
            "since": since,
            "fetched": len(read.records) + len(read.unreadable),
            "counts": counts,
            "more": read.more,
            "records": records,
            "unreadable": [
                {"position": one.position, "reason": one.reason, "raw": brief(one.raw)} for one in read.unreadable
            ],
        }

    async def _since(self, wanted: Wanted) -> str | None:
        """As the next run would decide it."""
        connection, kind = wanted.connection, wanted.kind
        found = await self._documents.get(CURSORS, connection.id, kind.name)
        data = begun(
            blank(connection.data["tenantId"], connection.id, kind.name) if found is None else found.data,
            run_id="preview",
            query=query_hash(connection.data.get("settings", {}), kind.name),
            full=wanted.full,
            incremental=kind.incremental,
            since=wanted.since,
            lag=self._lag,
            limit=RECORDS,
        )
        since: str | None = data["run"]["since"]
        return since

    async def _pages(self, wanted: Wanted, api: Api, since: float | None) -> _Read:
        records: list[Record] = []
        unreadable: list[Unreadable] = []
        cursor: str | None = None
        asked_at = self._clock.now()
        for _ in range(PAGES):
            fetch = Fetch(kind=wanted.kind.name, since=since, cursor=cursor, limit=RECORDS)
            page = await wanted.records.fetch(api, fetch)
            records += page.records
            unreadable += page.unreadable
            cursor = page.next
            if cursor is None or len(records) + len(unreadable) >= RECORDS:
                break
        more = cursor is not None or len(records) > RECORDS
        return _Read(records[:RECORDS], unreadable[:RECORDS], more, asked_at)

    async def _merged(self, wanted: Wanted, page: Sequence[Incoming], keys: Keys | None) -> list[JsonObject]:
        tenant, kind = wanted.connection.data["tenantId"], wanted.kind.name
        partition = entity_partition(tenant, kind)
        subscribers = await self._subscriptions.subscribers(tenant, kind)
        rules = rules_of(wanted.connection, kind)
        known = await self._known(partition, page)
        now = self._clock.now()
        #: What entities would have become by then: two records of a page may be one entity.
        become: dict[str, JsonObject] = {}
        shown: list[JsonObject] = []
        for one in page:
            found = known.get(one.external_id)
            if keys is not None:
                found = keys.placed(one, found)
            identifier = located(partition, ulid(now)) if found is None else found.id
            before = None if found is None else become.get(identifier, found.data)
            change = receive(
                before,
                one,
                tenant_id=tenant,
                entity_type=kind,
                subscribers=subscribers,
                now=now,
                rules=rules,
                entity_id=identifier,
            )
            after = before if change.entity is None else change.entity
            assert after is not None
            become[identifier] = after
            record: JsonObject = {
                "externalId": one.external_id,
                "entityId": None if found is None else identifier,
                "effect": "conflict" if change.resolutions else _EFFECTS[change.effect],
            }
            if changes := diff({} if before is None else before["data"], after["data"]):
                record["changes"] = changes
            if change.resolutions:
                record["conflicts"] = [
                    {name: brief(value) for name, value in resolution.as_json().items()}
                    for resolution in change.resolutions
                ]
            shown.append(record)
        return shown

    async def _known(self, partition: str, page: Sequence[Incoming]) -> dict[str, Document]:
        """By external id, the entities that their aliases lead to."""
        pointers = await self._documents.get_many(
            ENTITIES, [(partition, alias_id(one.connection_id, one.external_id)) for one in page]
        )
        owners = {
            one.external_id: str(pointer.data["entityId"])
            for one, pointer in zip(page, pointers, strict=True)
            if pointer is not None
        }
        found = await self._documents.get_many(ENTITIES, [(partition, one) for one in set(owners.values())])
        entities = {document.id: document for document in found if document is not None}
        return {external: entities[owner] for external, owner in owners.items() if owner in entities}
