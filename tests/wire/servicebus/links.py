"""The broker's ends of a client's links to an entity: one takes messages in, the other hands them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proton import Condition, Delivery, Link, symbol

from tests.wire.servicebus import message as wire
from tests.wire.servicebus.access import LISTEN, SEND
from tests.wire.servicebus.encoding import Malformed
from tests.wire.servicebus.entity import Entity
from tests.wire.servicebus.refusal import DECODE, NOT_FOUND, SESSION_LOCK_LOST, TOO_LARGE, Refused
from tests.wire.servicebus.stored import Stored

if TYPE_CHECKING:
    from tests.wire.servicebus.connection import Connection

#: Credit of a sending client, topped up at half: a client that gets no more than the first grant stalls.
CREDIT = 1000
_OUTCOMES = {Delivery.ACCEPTED: "complete", Delivery.RELEASED: "release", Delivery.REJECTED: "dead-letter"}


class LinkEnd:
    def __init__(self, connection: Connection, link: Link, path: str) -> None:
        self.connection = connection
        self.link = link
        self.path = path
        self.namespace = connection.broker.namespace
        self.faults = connection.broker.faults
        self.active_at = self.namespace.now()
        """When something last went over it, by the double's clock."""

    def opened(self) -> None:
        self.link.open()

    def check(self) -> None:
        """Raises Refused if the link may not go on: entity gone or disabled, token ended."""

    def gone(self) -> None:
        """The client, or its connection, has left."""

    def flow(self) -> None:
        """The client's credit changed."""

    def delivery(self, delivery: Delivery) -> None:
        raise NotImplementedError


class Incoming(LinkEnd):
    """The client sends. Whole messages only reach `received`."""

    operation = "send"

    def opened(self) -> None:
        self.link.open()
        self.link.flow(CREDIT)

    def delivery(self, delivery: Delivery) -> None:
        if delivery.settled and not delivery.readable:
            delivery.settle()
            return
        if not delivery.readable or delivery.partial:
            return
        self.active_at = self.namespace.now()
        raw = bytes(self.link.recv(delivery.pending) or b"")
        self.link.advance()
        try:
            self.received(raw)
        except Refused as refused:
            self.namespace.note("refused", entity=self.path, condition=refused.condition)
            reject(delivery, refused)
        else:
            delivery.update(Delivery.ACCEPTED)
        delivery.settle()
        if self.link.credit < CREDIT // 2:
            self.link.flow(CREDIT - self.link.credit)

    def received(self, raw: bytes) -> None:
        """Raises Refused."""
        raise NotImplementedError


class Producer(Incoming):
    def __init__(self, connection: Connection, link: Link, path: str) -> None:
        super().__init__(connection, link, path)
        self.faults.check("attach")
        self.check()
        self.link.max_message_size = limit = self.namespace.target(path).spec.max_message_size
        # A batch above 1 MiB is refused whatever the maximum of one message. Source: service-bus-quotas.
        self.link.properties = {symbol("com.microsoft:max-message-batch-size"): min(limit, 1_048_576)}

    def check(self) -> None:
        self.connection.allows(SEND, self.path)
        self.namespace.target(self.path)

    def received(self, raw: bytes) -> None:
        self.faults.check("send")
        self.check()
        limit = self.link.max_message_size
        if len(raw) > limit:
            raise Refused(
                TOO_LARGE, f"The message (size: {len(raw)} bytes) is larger than is currently allowed ({limit} bytes)"
            )
        try:
            messages = wire.batch(raw) or [wire.parse(raw)]
        except Malformed as error:
            raise Refused(DECODE, str(error)) from error
        self.namespace.send(self.path, messages)
        if self.faults.loses_answer("send"):
            self.connection.abort()


class Consumer(LinkEnd):
    def __init__(self, connection: Connection, link: Link, path: str, entity: Entity) -> None:
        super().__init__(connection, link, path)
        self.entity = entity
        self.deletes = link.remote_snd_settle_mode == Link.SND_SETTLED
        self.session: str | None = None
        self.check()

    def check(self) -> None:
        self.connection.allows(LISTEN, self.path)
        if self.namespace.usable(self.path) is not self.entity:
            raise Refused(NOT_FOUND, f"The messaging entity '{self.path}' was deleted and made again")

    def opened(self) -> None:
        self.link.open()
        self.entity.attach(self)

    def gone(self) -> None:
        self.entity.detach(self)

    def lost_session(self) -> None:
        """Its session lock ran out."""
        self.connection.detach(self, Refused(SESSION_LOCK_LOST, f"The session lock of {self.session!r} has expired"))

    def ready(self) -> bool:
        return self.link.credit > 0

    def flow(self) -> None:
        self.active_at = self.namespace.now()
        try:
            if self.link.credit > 0:
                self.faults.check("receive")
        except Refused as refused:
            self.connection.detach(self, refused)
            return
        self.entity.expire()
        self.entity.dispatch()
        if self.link.drain_mode:
            self.link.drained()

    def deliver(self, stored: Stored) -> None:
        self.active_at = self.namespace.now()
        token = stored.token or stored.sequence.to_bytes(16, "little")
        delivery = self.link.delivery(token)
        delivery.token = token
        self.link.send(stored.encoded())
        self.link.advance()
        if self.deletes:
            delivery.settle()
        self.connection.flush_soon()

    def delivery(self, delivery: Delivery) -> None:
        outcome = delivery.remote_state
        if not outcome:
            return
        self.active_at = self.namespace.now()
        operation = _OUTCOMES.get(outcome) or _modified(delivery)
        try:
            self.faults.check(operation)
            self._settle(operation, delivery)
        except Refused as refused:
            self.namespace.note("refused", entity=self.path, operation=operation, condition=refused.condition)
            reject(delivery, refused)
        else:
            # The answer repeats the outcome, a rejected one without its error: anything else is a failure to the SDK.
            delivery.update(outcome)
        delivery.settle()
        if self.faults.loses_answer(operation):
            self.connection.abort()

    def _settle(self, operation: str, delivery: Delivery) -> None:
        if self.session is not None:
            self.entity.sessions.held(self.session, self)
        token = delivery.token
        if operation == "complete":
            self.entity.complete(token)
        elif operation == "abandon":
            self.entity.abandon(token)
        elif operation == "defer":
            self.entity.defer(token)
        elif operation == "release":
            self.entity.release(token)
        else:
            info = (delivery.remote.condition.info if delivery.remote.condition else None) or {}
            self.entity.dead_letter(token, info.get("DeadLetterReason"), info.get("DeadLetterErrorDescription"))


def _modified(delivery: Delivery) -> str:
    """Source: MicrosoftDocs, service-bus-amqp-protocol-guide, table of dispositions."""
    if delivery.remote.undeliverable:
        return "defer"
    return "abandon" if delivery.remote.failed else "release"


def reject(delivery: Delivery, refused: Refused) -> None:
    # All three fields: the SDK reads the third without looking whether it is there.
    delivery.local.condition = Condition(refused.condition, refused.description, {"double": True})
    delivery.update(Delivery.REJECTED)
