"""Request and reply over links: `$cbs` takes tokens, `<entity>/$management` operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import proton
from proton import Delivery, Link

from tests.wire.servicebus import management
from tests.wire.servicebus.links import Incoming, LinkEnd
from tests.wire.servicebus.namespace import entity_path
from tests.wire.servicebus.refusal import STATUS, Refused

if TYPE_CHECKING:
    from tests.wire.servicebus.connection import Connection


class Replies(LinkEnd):
    """The client receives replies here. One credit is one reply; without credit it waits, as the protocol says."""

    def __init__(self, connection: Connection, link: Link, path: str) -> None:
        super().__init__(connection, link, path)
        self._waiting: list[bytes] = []
        self._tag = 0

    def reply(self, message: proton.Message) -> None:
        self._waiting.append(message.encode())
        self.flow()

    def flow(self) -> None:
        while self._waiting and self.link.credit > 0:
            self._tag += 1
            delivery = self.link.delivery(self._tag.to_bytes(4, "big"))
            self.link.send(self._waiting.pop(0))
            self.link.advance()
            delivery.settle()
        if self.link.drain_mode:
            self.link.drained()
        self.connection.flush_soon()

    def delivery(self, delivery: Delivery) -> None:
        delivery.settle()


class Requests(Incoming):
    def received(self, raw: bytes) -> None:
        request = proton.Message()
        request.decode(raw)
        reply = self.answer(request)
        reply.correlation_id = request.id
        for end in self.connection.links:
            if isinstance(end, Replies) and end.path.lower() == (self.node).lower():
                end.reply(reply)
                return

    @property
    def node(self) -> str:
        return self.path

    def answer(self, request: proton.Message) -> proton.Message:
        raise NotImplementedError


class TokenRequests(Requests):
    def answer(self, request: proton.Message) -> proton.Message:
        asked = request.properties or {}
        path = entity_path(str(asked.get("name", "")))
        self.namespace.note("token", entity=path)
        expires = asked.get("expiration")
        self.connection.tokens[path.lower()] = expires / 1000 if isinstance(expires, int) else 0.0
        return proton.Message(
            properties={"status-code": proton.int32(202), "status-description": "Accepted"}, inferred=False
        )


class ManagementRequests(Requests):
    @property
    def node(self) -> str:
        return f"{self.path}/$management"

    def answer(self, request: proton.Message) -> proton.Message:
        operation = str((request.properties or {}).get("operation", ""))
        self.namespace.note("management", entity=self.path, operation=operation)
        try:
            body = management.perform(self.namespace, self.path, operation, request.body or {})
        except Refused as refused:
            self.namespace.note("refused", entity=self.path, condition=refused.condition)
            status = STATUS.get(refused.condition, 500)
            return _reply(status, refused.description, {}, proton.symbol(refused.condition))
        return _reply(204 if body is None else 200, "OK" if body is not None else "No content", body or {})


def _reply(status: int, description: str, body: object, condition: proton.symbol | None = None) -> proton.Message:
    properties: dict[str, object] = {"statusCode": proton.int32(status), "statusDescription": description}
    if condition is not None:
        properties["errorCondition"] = condition
    return proton.Message(body=body, properties=properties, inferred=False)
