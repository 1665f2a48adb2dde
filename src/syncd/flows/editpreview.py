"""What an edit of ours would send to whom, without doing it: the pure change of the entity, and of each link that it would owe what a
push would say. Nothing is written and nobody is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.diffs import diff
from syncd.domain.edits import edit
from syncd.domain.fields import ALL_FIELDS
from syncd.domain.pushing import sending
from syncd.domain.records import owes
from syncd.flows.subscriptions import direction_of, kind_of

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.pushing import Sending
    from syncd.flows.subscriptions import Subscriptions
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document
    from syncd.ports.provider import Providers


class EditPreview:
    def __init__(self, *, subscriptions: Subscriptions, providers: Providers, clock: Clock) -> None:
        self._subscriptions = subscriptions
        self._providers = providers
        self._clock = clock

    async def edit(self, document: Document, data: JsonObject) -> JsonObject:
        """{effect, version, changes, pushes} with `data` as the content; a push is {connectionId, operation: create | update | delete | none,
        externalId, changes, reason?}, where `reason` says why it would wait, or why nothing would be sent."""
        entity = document.data
        subscribers = await self._subscriptions.subscribers(entity["tenantId"], entity["type"])
        change = edit(
            entity,
            data,
            tenant_id=entity["tenantId"],
            entity_type=entity["type"],
            subscribers=subscribers,
            now=self._clock.now(),
        )
        after = entity if change.entity is None else change.entity
        pushes = [
            await self._push(after, connection_id) for connection_id, link in after["links"].items() if owes(link)
        ]
        return {
            "effect": change.effect,
            "version": after["version"],
            "changes": diff(entity["data"], after["data"]),
            "pushes": pushes,
        }

    async def _push(self, entity: JsonObject, connection_id: str) -> JsonObject:
        connection = await self._subscriptions.known(entity["tenantId"], connection_id, fresh=True)
        kind = None if connection is None else kind_of(self._providers, connection.data, entity["type"])
        wanted = sending(entity, connection_id, ALL_FIELDS if kind is None else kind.fields)
        told: JsonObject = {
            "connectionId": connection_id,
            "operation": "none",
            "externalId": entity["externalIds"].get(connection_id),
            "changes": [],
        }
        if connection is None:
            return {**told, "reason": "the connection is gone"}
        if direction_of(connection.data, entity["type"]) not in ("push", "both"):
            return {**told, "reason": f"the connection is not pushed {entity['type']} any more"}
        if wanted is None:
            return {**told, "reason": "it holds all that it can be told"}
        if kind is None or not kind.can(wanted.operation):
            return {**told, "reason": f"{connection.data['integrationId']} cannot {wanted.operation} {entity['type']}"}
        told |= {"operation": wanted.operation, "changes": _changes(entity, connection_id, wanted)}
        held = entity["links"][connection_id].get("held")
        if held is not None:
            told["reason"] = f"an earlier push waits for a person, and this one with it: {held['reason']}"
        elif not connection.data.get("enabled", True):
            told["reason"] = "the connection is disabled: it is sent when it is enabled"
        return told


def _changes(entity: JsonObject, connection_id: str, wanted: Sending) -> list[JsonObject]:
    """Field by field, against what the connection has."""
    base: JsonObject = entity["links"][connection_id].get("base") or {}
    before = {name: base[name] for name in wanted.changes if name in base} if wanted.operation == "update" else {}
    return diff(before, {name: value for name, value in wanted.changes.items() if value is not None})
