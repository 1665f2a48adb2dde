"""The broker's ends of a client's links to an entity: one takes messages in, the other hands them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proton import Condition, Delivery, Link

from tests.wire.servicebus import message as wire
from tests.wire.servicebus.encoding import Malformed
from tests.wire.servicebus.refusal import DECODE, Refused
from tests.wire.servicebus.stored import Stored

if TYPE_CHECKING:
    from tests.wire.servicebus.connection import Connection

#: Credit of a sending client, topped up at half. Source: measured at the service by the SDK's own logs.
CREDIT = 1000


class LinkEnd:
    def __init__(self, connection: Connection, link: Link, path: str) -> None:
        self.connection = connection
        self.link = link
        self.path = path
        self.namespace = connection.broker.namespace

    def opened(self) -> None:
        self.link.open()

    def gone(self) -> None:
        """The client, or its connection, has left."""

    def flow(self) -> None:
        """The client's credit changed."""

    def delivery(self, delivery: Delivery) -> None:
        raise NotImplementedError


class Incoming(LinkEnd):
    """The client sends. Whole messages only reach `received`."""

    def opened(self) -> None:
        self.link.open()
        self.link.flow(CREDIT)

    def delivery(self, delivery: Delivery) -> None:
        if delivery.settled and not delivery.readable:
            delivery.settle()
            return
        if not delivery.readable or delivery.partial:
            return
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
        raise NotImplementedError


class Producer(Incoming):
    def __init__(self, connection: Connection, link: Link, path: str) -> None:
        super().__init__(connection, link, path)
        target = self.namespace.target(path)
        self.link.max_message_size = target.spec.max_message_size

    def received(self, raw: bytes) -> None:
        try:
            messages = wire.batch(raw) or [wire.parse(raw)]
        except Malformed as error:
            raise Refused(DECODE, str(error)) from error
        self.namespace.send(self.path, messages)


class Consumer(LinkEnd):
    def __init__(self, connection: Connection, link: Link, path: str) -> None:
        super().__init__(connection, link, path)
        self.entity = self.namespace.usable(path)
        self.deletes = link.remote_snd_settle_mode == Link.SND_SETTLED
        self.session: str | None = None

    def opened(self) -> None:
        self.link.open()
        self.entity.attach(self)

    def gone(self) -> None:
        self.entity.detach(self)

    def ready(self) -> bool:
        return self.link.credit > 0

    def flow(self) -> None:
        self.entity.expire()
        self.entity.dispatch()
        if self.link.drain_mode:
            self.link.drained()

    def deliver(self, stored: Stored) -> None:
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
        try:
            self._settle(delivery, outcome)
        except Refused as refused:
            reject(delivery, refused)
        else:
            delivery.update(outcome)
            if outcome == Delivery.MODIFIED:
                delivery.local.failed = delivery.remote.failed
                delivery.local.undeliverable = delivery.remote.undeliverable
        delivery.settle()

    def _settle(self, delivery: Delivery, outcome: int) -> None:
        token, entity = delivery.token, self.entity
        if outcome == Delivery.ACCEPTED:
            entity.complete(token)
        elif outcome == Delivery.RELEASED:
            entity.release(token)
        elif outcome == Delivery.REJECTED:
            info = (delivery.remote.condition.info if delivery.remote.condition else None) or {}
            entity.dead_letter(token, info.get("DeadLetterReason"), info.get("DeadLetterErrorDescription"))
        elif delivery.remote.undeliverable:
            entity.defer(token)
        elif delivery.remote.failed:
            entity.abandon(token)
        else:
            entity.release(token)


def reject(delivery: Delivery, refused: Refused) -> None:
    # All three fields: the SDK reads the third without looking whether it is there.
    delivery.local.condition = Condition(refused.condition, refused.description, {"double": True})
    delivery.update(Delivery.REJECTED)
