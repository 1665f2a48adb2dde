"""Systems that tell of every change, as webhooks do, whoever made it: somebody there, or we."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from syncd.domain.messages import MESSAGE_LIFETIME, Envelope
from syncd.flows.accept import KIND as WEBHOOK
from syncd.ports.queue import Message
from syncd.testing.clock import FrozenClock
from tests.doubles.contract import JsonObject
from tests.doubles.rest import DOUBLES, Contact, Manners, RestDouble
from tests.integration.syncing.world import TENANT


@dataclass
class Memory:
    """What a system holds at a moment."""

    contacts: dict[str, Contact]
    numbers: int
    told: list[bytes] = field(default_factory=list)


class Telling(RestDouble):
    """`told`: bodies of the webhooks that wait to be delivered, oldest first."""

    def __init__(self, manners: Manners, clock: FrozenClock) -> None:
        self.clock = clock
        self.told: list[bytes] = []
        self.ours = 0
        """Changes of the system that were made through its API."""
        self.unreadable = 0
        """How many of the next reads of one object are refused."""
        super().__init__(manners)

    @property
    def now(self) -> float:
        return self.clock.now()

    @now.setter
    def now(self, _: float) -> None:
        """Its clock is ours."""

    def remember(self) -> Memory:
        return Memory(copy.deepcopy(self.contacts), self._numbers, list(self.told))

    def restore(self, memory: Memory, clock: FrozenClock) -> None:
        self.contacts, self._numbers = copy.deepcopy(memory.contacts), memory.numbers
        self.told, self.ours, self.clock = list(memory.told), 0, clock
        self.log.clear()
        self.faults.clear()

    def live(self) -> dict[str, JsonObject]:
        return {one: self.held("contact", one) or {} for one in self.ids("contact")}

    def writes(self) -> list[tuple[str, str]]:
        """Those that were answered well, as (method, path)."""
        return [(one.method, one.path) for one in self.log if one.method != "GET" and 200 <= one.status < 300]

    # -- each change is told --

    def _tell(self, external_id: str, operation: Literal["create", "update", "delete"]) -> None:
        event = self.event("contact", external_id, operation)
        assert event is not None
        self.told.append(event[1])

    def edit(self, kind: str, external_id: str, changes: JsonObject) -> None:
        super().edit(kind, external_id, changes)
        self._tell(external_id, "update")

    def remove(self, kind: str, external_id: str) -> None:
        if not self.manners.keeps_deleted:
            self._tell(external_id, "delete")
        super().remove(kind, external_id)
        if self.manners.keeps_deleted:
            self._tell(external_id, "delete")

    def _make(self, fields: JsonObject, key: str | None = None) -> Contact:
        made = super()._make(fields, key)
        self._tell(str(made.number), "create")
        return made

    async def _create(self, request: web.Request) -> web.Response:
        before = len(self.contacts)
        answer = await super()._create(request)
        self.ours += len(self.contacts) - before
        return answer

    async def _get(self, request: web.Request) -> web.Response:
        if self.unreadable:
            self.unreadable -= 1
            raise web.HTTPTooManyRequests
        return await super()._get(request)

    async def _update(self, request: web.Request) -> web.Response:
        answer = await super()._update(request)
        self.ours += 1
        self._tell(request.match_info["id"], "update")
        return answer

    async def _delete(self, request: web.Request) -> web.Response:
        answer = await super()._delete(request)
        self.ours += 1
        return answer


def telling(manner: str, clock: FrozenClock) -> Telling:
    double = DOUBLES[manner]()
    assert isinstance(double, RestDouble)
    return Telling(double.manners, clock)


def webhook(connection: str, body: bytes, delivery: str, received_at: float) -> Message:
    """As accepted. The same delivery twice is one event."""
    envelope = Envelope(
        kind=WEBHOOK,
        origin_id=f"{connection}~{delivery}",
        tenant_id=TENANT,
        connection_id=connection,
        received_at=received_at,
        expires_at=received_at + MESSAGE_LIFETIME,
    )
    return Message(envelope=envelope, body=json.dumps(json.loads(body)).encode())


def shared(data: Mapping[str, Any]) -> JsonObject:
    """What both systems can be told."""
    return {name: data[name] for name in ("name", "mail", "größe") if data.get(name) is not None}
