"""Changes that other systems ask for by message (OutboundChange): merged into the entity as an edit of ours, so that it is owed to
every connection that takes pushes.

    row claimed -> tenant, connections and entity found by point reads -> edit | create | remove -> row processed

Done twice it is done once: the row is an audit row `change:<digit>.<hash(originId, body)>`, and a message whose row is processed ends.
A crash between the edit and the row does the edit again: the same content is no change, a create makes the same id, a tombstone stays.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from syncd.domain.collections import CONNECTIONS, ENTITIES
from syncd.domain.errors import Conflict, NotFound, NotUnderstood, Overloaded
from syncd.domain.foreign import OutboundChange
from syncd.domain.ids import USER_ID, digest, located, partition_of
from syncd.domain.outcomes import DONE, Outcome, Park
from syncd.domain.records import alias_id, entity_partition, is_alias, owes
from syncd.domain.shapes import shown_id
from syncd.domain.taskmessages import fields_of
from syncd.domain.times import iso
from syncd.flows.audit_rows import raw_of
from syncd.flows.subscriptions import direction_of
from syncd.ports.documents import PAGE_LIMIT, Condition, Document, Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncd.domain.errors import Bin
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.messages import Envelope
    from syncd.flows.audit_rows import AuditRows
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents
    from syncd.ports.observe import Observe

#: Times that an edit is made again on a newer entity at once.
_ATTEMPTS = 12


class Edits(Protocol):
    """What of flows/entities is needed. Raises as documented there."""

    async def create(
        self, tenant_id: str, entity_type: str, data: JsonObject, *, entity_id: str | None = None
    ) -> Document: ...

    async def edit(
        self, tenant_id: str, entity_type: str, entity_id: str, data: JsonObject, *, if_match: str | None = None
    ) -> Document: ...

    async def remove(
        self, tenant_id: str, entity_type: str, entity_id: str, *, if_match: str | None = None
    ) -> Document: ...


class _Refused(Exception):
    """Why it cannot be done before a person has done something."""

    def __init__(self, reason: str, where: Bin = "tenant_must_act") -> None:
        super().__init__(reason)
        self.where = where


@dataclass(frozen=True, slots=True)
class _Effect:
    name: str
    document: Document


class OutboundChanges:
    def __init__(
        self, *, documents: Documents, entities: Edits, rows: AuditRows, clock: Clock, observe: Observe
    ) -> None:
        self._documents = documents
        self._entities = entities
        self._rows = rows
        self._clock = clock
        self._observe = observe

    async def handle(self, envelope: Envelope, body: bytes) -> Outcome:
        """Work on one message of kind `change`. `body` is whole. Raises what the stores raise, and NotUnderstood."""
        change = OutboundChange.of(fields_of(body))
        tenant_id = _tenant(envelope, change)
        body_hash = hashlib.sha256(body).hexdigest()
        facts = self._facts(envelope, change, tenant_id, body)
        row = await self._rows.claim(row_id(envelope, body_hash), envelope, body_hash, facts)
        if not isinstance(row, Document):
            return row
        try:
            effect = await self._apply(change, tenant_id, envelope.connection_id or change.connection_id)
        except _Refused as refused:
            reason = str(refused)
            finished = await self._rows.finish(row, "parked", reason=reason)
            return finished or Park(bin=refused.where, reason=reason)
        entity = effect.document.data
        finished = await self._rows.finish(
            row,
            "processed",
            processedAt=iso(self._clock.now()),
            tenantId=entity["tenantId"],
            entityType=entity["type"],
            entity=effect.document.id,
            entityVersion=entity["version"],
            effect=effect.name,
        )
        if finished is None:
            self._observe("change_processed", operation=change.operation, effect=effect.name)
        return finished or DONE

    async def failed(self, envelope: Envelope, body: bytes, reason: str) -> None:
        """Say on the row that the message was parked by the executor. May be repeated."""
        await self._rows.failed(row_id(envelope, hashlib.sha256(body).hexdigest()), envelope.origin_id, reason)

    def _facts(self, envelope: Envelope, change: OutboundChange, tenant_id: str | None, body: bytes) -> JsonObject:
        received = self._clock.now() if envelope.received_at is None else envelope.received_at
        return {
            "tenantId": tenant_id,
            "integrationId": change.integration_id,
            "connectionId": envelope.connection_id or change.connection_id,
            "correlationId": envelope.correlation_id,
            "timestamp": iso(received),
            "receivedAt": iso(received),
            "eventType": f"change.{change.operation}",
            "entityId": change.entity_id,
            "operation": change.operation,
            **raw_of(body, envelope.body_ref),
        }

    # -- what is done --

    async def _apply(self, change: OutboundChange, tenant_id: str | None, named: str | None) -> _Effect:
        for _ in range(_ATTEMPTS):
            connections = await self._connections(change, tenant_id, named)
            found = await self._entity(change, connections, tenant_id)
            try:
                if found is None:
                    return await self._create(change, connections)
                return await self._changed(change, connections, found)
            except (Conflict, NotFound):  # changed or deleted meanwhile: look again
                continue
        raise Overloaded(f"the entity {change.entity_id} is being changed by too many at once", retry_after=1.0)

    async def _create(self, change: OutboundChange, connections: Sequence[Document]) -> _Effect:
        if change.operation != "create":
            raise _Refused(f"there is no entity {change.entity_id!r}")
        places = {
            (connection.data["tenantId"], entity_type)
            for connection in connections
            for entity_type in connection.data.get("entities", {})
            if change.entity_type in (None, entity_type) and _pushes(connection, entity_type)
        }
        if len(places) != 1:
            what = "no connection takes pushes of it" if not places else "the connections take several types or tenants"
            raise _Refused(f"there is no entity {change.entity_id!r}, and it cannot be told what it would be: {what}")
        [(tenant_id, entity_type)] = places
        identifier = shown_id(entity_partition(tenant_id, entity_type), change.entity_id)
        made = await self._entities.create(tenant_id, entity_type, change.changes, entity_id=identifier)
        return _Effect("created", made)

    async def _changed(self, change: OutboundChange, connections: Sequence[Document], found: Document) -> _Effect:
        entity = found.data
        tenant_id, entity_type = entity["tenantId"], entity["type"]
        mine = [one for one in connections if one.data["tenantId"] == tenant_id and _pushes(one, entity_type)]
        if not mine:
            name = change.connection_id or change.integration_id
            raise _Refused(f"the tenant has no enabled connection of {name!r} that takes pushes of {entity_type}")
        if change.operation == "delete":
            if not entity["deleted"]:
                _known(found, mine)
            removed = await self._entities.remove(tenant_id, entity_type, found.id, if_match=found.etag)
            return _Effect("unchanged" if entity["deleted"] else "deleted", removed)
        if change.operation == "update":
            if entity["deleted"]:
                raise _Refused(f"the entity {found.id!r} is deleted")
            _known(found, mine)
        data = change.changes if entity["deleted"] else {**entity["data"], **change.changes}
        edited = await self._entities.edit(tenant_id, entity_type, found.id, data, if_match=found.etag)
        if not any(_told(edited, one.id) for one in mine):
            names = ", ".join(one.id for one in mine)
            raise _Refused(
                f"the entity has this content already, and {names} was never told of it: run a backfill there"
            )
        return _Effect("unchanged" if edited.data["version"] == entity["version"] else "updated", edited)

    # -- whom and what it is about --

    async def _connections(self, change: OutboundChange, tenant_id: str | None, named: str | None) -> list[Document]:
        """Those that the message means: the named one, or all of the integration."""
        if named is not None:
            found = await self._documents.get(CONNECTIONS, named, named)
            if found is None or tenant_id not in (None, found.data["tenantId"]):
                raise _Refused(f"there is no connection {named[:80]!r}")
            return [found]
        wanted = {"integrationId": change.integration_id, "tenantId": tenant_id or _tenant_in(change.entity_id)}
        where = [Condition(path, "eq", value) for path, value in wanted.items() if value is not None]
        if not where:
            raise _Refused("the message must name its integration, its connection or its tenant")
        page = await self._documents.query(CONNECTIONS, Query(across=True, where=where, limit=PAGE_LIMIT))
        if page.cursor is not None:
            raise _Refused(f"more than {PAGE_LIMIT} connections may be meant: the message must name its tenant")
        if not page.items:
            raise _Refused(f"there is no connection of {change.integration_id!r}")
        return page.items

    async def _entity(
        self, change: OutboundChange, connections: Sequence[Document], tenant_id: str | None
    ) -> Document | None:
        """By our id; else by the id that it has in the store in a type of these connections; else by the connections' own id."""
        name = change.entity_id
        if is_alias(name):
            return None
        partition = _partition_in(name)
        if partition is not None:
            found = await self._documents.get(ENTITIES, partition, name)
            if found is not None:
                if tenant_id not in (None, found.data["tenantId"]):
                    raise _Refused(f"the tenant {tenant_id!r} has no entity {name!r}")
                return found
        places = [
            (connection.id, entity_partition(connection.data["tenantId"], entity_type))
            for connection in connections
            for entity_type in connection.data.get("entities", {})
        ]
        direct = sorted({(partition, shown_id(partition, name)) for _, partition in places})
        found_here = await self._those(direct)
        if not found_here:
            pointers = await self._documents.get_many(
                ENTITIES, [(partition, alias_id(connection_id, name)) for connection_id, partition in places]
            )
            found_here = await self._those(
                sorted({(one.partition, one.data["entityId"]) for one in pointers if one is not None})
            )
        if len(found_here) > 1:
            raise _Refused(f"{len(found_here)} entities are {name!r}: the message must name its tenant and connection")
        return found_here[0] if found_here else None

    async def _those(self, keys: Sequence[tuple[str, str]]) -> list[Document]:
        return [one for one in await self._documents.get_many(ENTITIES, keys) if one is not None]


def row_id(envelope: Envelope, body_hash: str) -> str:
    """With the body: a repaired one is another change."""
    hashed = digest("change", envelope.origin_id, body_hash)
    return located(f"change:{hashed[0]}", hashed)


def _tenant(envelope: Envelope, change: OutboundChange) -> str | None:
    if None not in (envelope.tenant_id, change.tenant_id) and envelope.tenant_id != change.tenant_id:
        raise NotUnderstood("the message names two tenants")
    return envelope.tenant_id or change.tenant_id


def _partition_in(entity_id: str) -> str | None:
    """The partition that an id of ours says; None where it is none of ours."""
    if "." not in entity_id.strip("."):
        return None
    partition = partition_of(entity_id)
    tenant_id, colon, entity_type = partition.partition(":")
    return partition if colon and USER_ID.fullmatch(tenant_id) and USER_ID.fullmatch(entity_type) else None


def _tenant_in(entity_id: str) -> str | None:
    partition = _partition_in(entity_id)
    return None if partition is None else partition.partition(":")[0]


def _pushes(connection: Document, entity_type: str) -> bool:
    direction = direction_of(connection.data, entity_type)
    return direction in ("push", "both") and bool(connection.data.get("enabled", True))


def _known(found: Document, connections: Sequence[Document]) -> None:
    """An entity of the systems before that no connection is linked with may well exist there: telling of a change would create it twice,
    and its deletion would reach nobody."""
    if found.data["version"] == 0 and not any(_told(found, one.id) for one in connections):
        names = ", ".join(one.id for one in connections)
        raise _Refused(f"it is not known which object of {names} the entity {found.id!r} is: pull it from there first")


def _told(document: Document, connection_id: str) -> bool:
    """The connection has it, or is owed it."""
    data = document.data
    return connection_id in data["externalIds"] or owes(data["links"].get(connection_id, {}))
