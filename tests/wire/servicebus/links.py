"""The broker's ends of a client's links to an entity: one takes messages in, the other hands them out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cproton import ffi, lib
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
#: proton's own pointer to a delivery: without its Python object, which costs more than the delivery.
Raw = Any  # Any: cffi has no types


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

    def delivery(self, delivery: Raw) -> None:
        raise NotImplementedError


class Incoming(LinkEnd):
    """The client sends. Whole messages only reach `received`."""

    operation = "send"

    def opened(self) -> None:
        self.link.open()
        self.link.flow(CREDIT)

    def delivery(self, delivery: Raw) -> None:
        if not lib.pn_delivery_readable(delivery):
            lib.pn_delivery_settle(delivery)
            return
        if lib.pn_delivery_partial(delivery):
            return
        self.active_at = self.namespace.now()
        link = self.link._impl
        raw = bytearray(lib.pn_delivery_pending(delivery))
        lib.pn_link_recv(link, ffi.from_buffer(raw), len(raw))
        lib.pn_link_advance(link)
        try:
            self.received(bytes(raw))
        except Refused as refused:
            self.namespace.note("refused", entity=self.path, condition=refused.condition)
            reject(Delivery.wrap(delivery), refused)
        else:
            lib.pn_delivery_update(delivery, lib.PN_ACCEPTED)
        lib.pn_delivery_settle(delivery)
        credit = lib.pn_link_credit(link)
        if credit < CREDIT // 2:
            lib.pn_link_flow(link, CREDIT - credit)

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
        return lib.pn_link_credit(self.link._impl) > 0

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
            self.namespace.note("drain", entity=self.path)

    def deliver(self, stored: Stored) -> None:
        self.active_at = self.namespace.now()
        token = stored.token or stored.sequence.to_bytes(16, "little")
        link, raw = self.link._impl, stored.encoded()
        delivery = lib.pn_delivery(link, (len(token), ffi.from_buffer(token)))
        lib.pn_link_send(link, ffi.from_buffer(raw), len(raw))
        lib.pn_link_advance(link)
        if self.deletes:
            lib.pn_delivery_settle(delivery)
        self.connection.flush_soon()

    def delivery(self, delivery: Raw) -> None:
        outcome = lib.pn_delivery_remote_state(delivery)
        if not outcome:
            return
        self.active_at = self.namespace.now()
        operation = "complete" if outcome == lib.PN_ACCEPTED else _operation(Delivery.wrap(delivery))
        try:
            self.faults.check(operation)
            self._settle(operation, delivery)
        except Refused as refused:
            self.namespace.note("refused", entity=self.path, operation=operation, condition=refused.condition)
            reject(Delivery.wrap(delivery), refused)
        else:
            # The answer repeats the outcome, a rejected one without its error: anything else is a failure to the SDK.
            lib.pn_delivery_update(delivery, outcome)
        lib.pn_delivery_settle(delivery)
        self.connection.answer_alone()
        if self.faults.loses_answer(operation):
            self.connection.abort()

    def _settle(self, operation: str, delivery: Raw) -> None:
        if self.session is not None:
            self.entity.sessions.held(self.session, self)
        tag = lib.pn_delivery_tag(delivery)
        token = ffi.unpack(tag.start, tag.size)
        if operation == "complete":
            self.entity.complete(token)
        elif operation == "abandon":
            self.entity.abandon(token)
        elif operation == "defer":
            self.entity.defer(token)
        elif operation == "release":
            self.entity.release(token)
        else:
            condition = Delivery.wrap(delivery).remote.condition
            info = (condition.info if condition else None) or {}
            self.entity.dead_letter(token, info.get("DeadLetterReason"), info.get("DeadLetterErrorDescription"))


def _operation(delivery: Delivery) -> str:
    """Source: MicrosoftDocs, service-bus-amqp-protocol-guide, table of dispositions."""
    if delivery.remote_state != Delivery.MODIFIED:
        return "dead-letter" if delivery.remote_state == Delivery.REJECTED else "release"
    if delivery.remote.undeliverable:
        return "defer"
    return "abandon" if delivery.remote.failed else "release"


def reject(delivery: Delivery, refused: Refused) -> None:
    # All three fields: the SDK reads the third without looking whether it is there.
    delivery.local.condition = Condition(refused.condition, refused.description, {"double": True})
    delivery.update(Delivery.REJECTED)
