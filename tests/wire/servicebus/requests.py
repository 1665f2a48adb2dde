"""Request and reply over links: `$cbs` takes tokens, `<entity>/$management` operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import proton
from cproton import lib
from proton import Link

from tests.wire.servicebus import management
from tests.wire.servicebus.access import judge
from tests.wire.servicebus.links import Incoming, LinkEnd, Raw
from tests.wire.servicebus.namespace import MANAGEMENT, entity_path
from tests.wire.servicebus.refusal import DECODE, NOT_FOUND, STATUS, Refused

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

    def delivery(self, delivery: Raw) -> None:
        lib.pn_delivery_settle(delivery)


class Requests(Incoming):
    def received(self, raw: bytes) -> None:
        self.active_at = self.namespace.now()
        request = proton.Message()
        try:
            request.decode(raw)
        except proton.ProtonException as error:
            raise Refused(DECODE, str(error)) from error
        reply = self.answer(request)
        if reply is None:
            self.connection.abort()
            return
        reply.correlation_id = request.id
        for end in self.connection.links:
            if isinstance(end, Replies) and end.path.lower() == self.path.lower():
                end.reply(reply)
                return
        raise Refused(NOT_FOUND, f"There is no link on which to answer from '{self.path}'")

    def answer(self, request: proton.Message) -> proton.Message | None:
        """None: the answer is lost, with the connection."""
        raise NotImplementedError


class TokenRequests(Requests):
    def answer(self, request: proton.Message) -> proton.Message | None:
        asked = request.properties or {}
        path = entity_path(str(asked.get("name", "")))
        expires = asked.get("expiration")
        self.namespace.note("token", entity=path)
        try:
            self.faults.check("token")
            grant = judge(str(request.body or ""), expires / 1000 if isinstance(expires, int) else 0.0)
        except Refused as refused:
            self.namespace.note("refused", entity=path, operation="token", condition=refused.condition)
            status = STATUS.get(refused.condition, 500)
            return _token_reply(status, refused.description)
        self.connection.grants[path.lower()] = grant
        return None if self.faults.loses_answer("token") else _token_reply(202, "Accepted")


class ManagementRequests(Requests):
    def __init__(self, connection: Connection, link: Link, path: str) -> None:
        super().__init__(connection, link, path)
        self.entity_path = path[: -len(MANAGEMENT)]
        self.namespace.exists(self.entity_path)

    def answer(self, request: proton.Message) -> proton.Message | None:
        operation = str((request.properties or {}).get("operation", ""))
        name = operation.removeprefix("com.microsoft:")
        self.namespace.note("management", entity=self.entity_path, operation=name)
        try:
            self.faults.check("management", name)
            self.connection.allows(management.right(name), self.entity_path)
            body = management.perform(self.namespace, self.entity_path, name, request.body or {})
        except Refused as refused:
            self.namespace.note("refused", entity=self.entity_path, operation=name, condition=refused.condition)
            status = STATUS.get(refused.condition, 500)
            return _reply(status, refused.description, {}, proton.symbol(refused.condition))
        if self.faults.loses_answer("management", name):
            return None
        return _reply(204 if body is None else 200, "OK" if body is not None else "No content", body or {})


def _token_reply(status: int, description: str) -> proton.Message:
    # These two names have hyphens, those of a management reply are in camel case: so it is at the service.
    properties = {"status-code": proton.int32(status), "status-description": description}
    return proton.Message(properties=properties, inferred=False)


def _reply(status: int, description: str, body: object, condition: proton.symbol | None = None) -> proton.Message:
    properties: dict[str, object] = {"statusCode": proton.int32(status), "statusDescription": description}
    if condition is not None:
        properties["errorCondition"] = condition
    return proton.Message(body=body, properties=properties, inferred=False)
