"""Conflicts as operators see them, and deciding those that wait for a person.

The entity decides between two who resolve at once, and across a crash: it is written first, and what it then holds is what the
record says. A record that stayed open by a crash is closed by resolving it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from syncd.domain.collections import CONFLICTS
from syncd.domain.conflicts import RESOLVED_TTL, STATUSES, Choice, Decided, chosen, open_fields, settled
from syncd.domain.errors import Conflict, Invalid, NotFound
from syncd.domain.ids import partition_of
from syncd.domain.jsonbody import same
from syncd.domain.merge import ABSENT
from syncd.flows.operate.paging import FIRST_PAGE, Listing, Paging, listing, one_tenant
from syncd.ports.documents import FOREVER, PAGE_LIMIT, Condition, Query, Replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.domain.principal import Principal
    from syncd.flows.operate.audit import AuditTrail
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents

_ATTEMPTS = 8


class Resolver(Protocol):
    """What of the entities' flow is needed here."""

    async def resolve(
        self,
        tenant_id: str,
        entity_type: str,
        entity_id: str,
        connection_id: str,
        values: Mapping[str, Json],
        conflict_id: str,
    ) -> Document:
        """Write each of `values` (`ABSENT`: remove the field) whose field waits for this conflict, stop holding it, and owe it
        to every connection that takes pushes and has another value, the conflict's own included: one compare-and-set of the
        entity. A field that does not wait for this conflict (any more) stays as it is.

        Answers the entity as it stands then. Raises NotFound where it is deleted or gone.
        """
        ...


class ConflictsFlow:
    def __init__(self, *, documents: Documents, entities: Resolver, audit: AuditTrail, clock: Clock) -> None:
        self._documents = documents
        self._entities = entities
        self._audit = audit
        self._clock = clock

    async def list(
        self,
        principal: Principal,
        *,
        tenant_id: str | None = None,
        status: str | None = None,
        entity_id: str | None = None,
        paging: Paging = FIRST_PAGE,
    ) -> Listing:
        """Newest first, of one tenant; of all for who sees all and names none."""
        if status is not None and status not in STATUSES:
            raise Invalid(f"there is no status {status!r}", errors={"status": f"one of {', '.join(STATUSES)}"})
        tenant = None if tenant_id is None and principal.tenants == "*" else one_tenant(principal, tenant_id)
        if tenant is not None and not principal.sees(tenant):
            return Listing(items=[])
        where = [
            Condition(path, "eq", value)
            for path, value in (("status", status), ("entityId", entity_id))
            if value is not None
        ]
        return await listing(
            self._documents,
            CONFLICTS,
            paging=paging,
            show=shown,
            partition=tenant,
            where=where,
            order="createdAt",
            descending=True,
        )

    async def get(self, principal: Principal, identifier: str) -> JsonObject:
        return shown(await self._find(principal, identifier))

    async def resolve(
        self,
        principal: Principal,
        identifier: str,
        choices: Mapping[str, Choice],
        *,
        others: Choice | None = None,
    ) -> JsonObject:
        """Decide the fields that `choices` names, and with `others` every open field besides. The connections are told.

        Raises Invalid for a choice that cannot be taken; Conflict where it is resolved already, where a newer conflict waits for
        the same field, and where somebody else decided otherwise meanwhile.
        """
        principal.may_operate()
        found = await self._find(principal, identifier)
        data = CONFLICTS.upgraded(found.data)
        tenant = data["tenantId"]
        if data["status"] != "open":
            raise Conflict(f"the conflict {identifier!r} was resolved at {data['resolvedAt']} by {data['resolvedBy']}")
        wanted = {**({} if others is None else dict.fromkeys(open_fields(data), others)), **choices}
        if not wanted:
            raise Invalid("say what is to be taken", errors={"fields": "at least one, or take for all"})
        values = chosen(data, wanted)
        related = await self._related(found)
        _refuse_outdated(found, related, values)
        async with self._audit.change(
            principal,
            "conflict.resolve",
            identifier,
            tenant_id=tenant,
            before={"entityId": data["entityId"], "open": open_fields(data)},
            after=_told(values),
        ):
            standing = await self._apply(identifier, data, values)
            decided = _decided(wanted, values, standing)
            closed = await self._close(found, decided, principal.name)
            for older in related:
                await self._close(
                    older, {name: ("superseded", value) for name, (_, value) in decided.items()}, principal.name
                )
            if standing is None:
                return shown(closed)
            lost = [name for name, (taken, _) in decided.items() if taken == "superseded"]
            if lost:
                raise Conflict(f"somebody else decided otherwise meanwhile; see the entity: {', '.join(lost)}")
        return shown(closed)

    async def _apply(self, identifier: str, data: JsonObject, values: Mapping[str, Json]) -> JsonObject | None:
        """The content that stands; None where the entity is gone, and nothing is left to decide."""
        try:
            entity = await self._entities.resolve(
                data["tenantId"], data["entityType"], data["entityId"], data["connectionId"], values, identifier
            )
        except NotFound:
            return None
        content: JsonObject = entity.data["data"]
        return content

    async def _close(self, found: Document, decided: Mapping[str, tuple[Decided, Json]], by: str) -> Document:
        for _ in range(_ATTEMPTS):
            data = CONFLICTS.upgraded(found.data)
            after = settled(data, decided, by=by, now=self._clock.now())
            if same(after, data):
                return found
            ttl = FOREVER if after["status"] == "open" else RESOLVED_TTL
            try:
                [stored] = await self._documents.write(
                    CONFLICTS, found.partition, [Replace(found.id, after, found.etag, ttl=ttl)]
                )
            except Conflict:
                again = await self._documents.get(CONFLICTS, found.partition, found.id)
                if again is None:
                    return found
                found = again
                continue
            assert stored is not None
            return stored
        raise Conflict(f"the conflict {found.id!r} is being changed by too many at once")

    async def _related(self, found: Document) -> Sequence[Document]:
        """Other open conflicts about what the same connection said of the same entity."""
        page = await self._documents.query(
            CONFLICTS,
            Query(
                partition=found.partition,
                where=[Condition("entityId", "eq", found.data["entityId"]), Condition("status", "eq", "open")],
                limit=PAGE_LIMIT,
            ),
        )
        connection = found.data["connectionId"]
        return [one for one in page.items if one.id != found.id and one.data["connectionId"] == connection]

    async def _find(self, principal: Principal, identifier: str) -> Document:
        what = f"conflict {identifier[:200]!r}"
        try:
            partition = partition_of(identifier)
        except Invalid:
            raise NotFound(f"there is no {what}") from None
        principal.must_see(partition, what)
        found = await self._documents.get(CONFLICTS, partition, identifier)
        if found is None:
            raise NotFound(f"there is no {what}")
        return found


def _refuse_outdated(found: Document, related: Sequence[Document], values: Mapping[str, Json]) -> None:
    for other in related:
        names = [name for name in open_fields(other.data) if name in values]
        if names and other.data["remoteVersion"] > found.data["remoteVersion"]:
            raise Conflict(f"the other side changed {', '.join(names)} again: resolve {other.id!r} instead")


def _decided(
    wanted: Mapping[str, Choice], values: Mapping[str, Json], standing: JsonObject | None
) -> dict[str, tuple[Decided, Json]]:
    decided: dict[str, tuple[Decided, Json]] = {}
    for name, value in values.items():
        stands = ABSENT if standing is None else standing.get(name, ABSENT)
        decided[name] = (wanted[name].taken if standing is not None and same(stands, value) else "superseded", stands)
    return decided


def _told(values: Mapping[str, Json]) -> JsonObject:
    """For the audit row: what is set, and what is removed."""
    return {
        "set": {name: value for name, value in values.items() if value is not ABSENT},
        "removed": [name for name, value in values.items() if value is ABSENT],
    }


def shown(document: Document) -> JsonObject:
    data = CONFLICTS.upgraded(document.data)
    visible = {name: value for name, value in data.items() if name != "schema"}
    return {"id": document.id, **visible, "etag": document.etag}
