"""One client's connection: bytes in, proton's events to the links, bytes out (late, or not at all, where a test says so)."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import TYPE_CHECKING

import proton
from cproton import ffi, lib
from proton import Event

from tests.wire.servicebus import attaching
from tests.wire.servicebus.access import Grant, covering
from tests.wire.servicebus.refusal import Refused

if TYPE_CHECKING:
    from tests.wire.servicebus.broker import Broker
    from tests.wire.servicebus.links import LinkEnd

#: What the service announces. Source: MicrosoftDocs, service-bus-amqp-protocol-guide.
MAX_FRAME = 65_536
_names = itertools.count(1)


class Connection(asyncio.Protocol):
    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.name = f"connection-{next(_names)}"
        self._ends: dict[object, LinkEnd] = {}
        """By proton's pointer to the link."""
        self.grants: dict[str, Grant] = {}
        """What the tokens allow, by the entity's path in lower case."""
        self.frozen = False
        """Half open: what comes is not read, and nothing is written."""
        self._socket: asyncio.Transport | None = None
        self._late: deque[bytes] = deque()
        self._flushing = False
        self._collector = proton.Collector()
        self._connection = proton.Connection()
        self._connection.collect(self._collector)
        self._transport = proton.Transport(proton.Transport.SERVER)
        self._transport.max_frame_size = MAX_FRAME
        self._transport.sasl().allowed_mechs("ANONYMOUS")
        self._transport.bind(self._connection)

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._socket = transport
        self.broker.connections.add(self)
        self.broker.namespace.note("open", connection=self.name)

    def data_received(self, data: bytes) -> None:
        if self.broker.faults.silent or self.frozen:
            return
        at = 0
        while at < len(data):
            room = self._transport.capacity()
            if room <= 0:
                self.abort()
                return
            self._transport.push(data[at : at + room])
            at += room
            self._events()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.broker.connections.discard(self)
        for link in self.links:
            self._part(link)
        self._socket = None
        self._transport.unbind()
        self._collector.release()
        self.broker.namespace.note("close", connection=self.name)

    @property
    def closed(self) -> bool:
        return self._socket is None

    def allows(self, right: str, path: str) -> None:
        """Raises Refused if no token that was put here does."""
        covering(self.grants, path).allows(right, path)

    def freeze(self) -> None:
        """Half open from now on: the peer is gone without a word, and the machine's TCP still acknowledges."""
        self.frozen = True

    def abort(self) -> None:
        """Reset, as when the machine behind it dies."""
        if self._socket is not None:
            self._socket.abort()

    # proton

    def _events(self) -> None:
        # Deliveries and credit come by the thousand: they go past proton's Python objects, which cost more than all the rest.
        collector = self._collector._impl
        while (event := lib.pn_collector_peek(collector)) != ffi.NULL:
            kind = lib.pn_event_type(event)
            if kind == lib.PN_DELIVERY:
                delivery = lib.pn_event_delivery(event)
                # A link that was refused or detached has no end any more: what was on its way there is dropped.
                if (end := self._ends.get(lib.pn_delivery_link(delivery))) is not None:
                    end.delivery(delivery)
            elif kind == lib.PN_LINK_FLOW:
                if (end := self._ends.get(lib.pn_event_link(event))) is not None:
                    end.flow()
            elif (lived := self._collector.peek()) is not None:
                self._lifecycle(lived.type, lived)
            lib.pn_collector_pop(collector)

    def _lifecycle(self, kind: object, event: Event) -> None:
        if kind == Event.CONNECTION_REMOTE_OPEN:
            self._connection.container = "syncd-double"
            self._connection.open()
        elif kind == Event.SESSION_REMOTE_OPEN:
            event.session.open()
        elif kind == Event.LINK_REMOTE_OPEN:
            attaching.attach(self, event.link)
        elif kind in (Event.LINK_REMOTE_CLOSE, Event.LINK_REMOTE_DETACH):
            if (end := self._ends.get(event.link._impl)) is not None:
                self._part(end)
            event.link.close()
        elif kind == Event.SESSION_REMOTE_CLOSE:
            event.session.close()
        elif kind == Event.CONNECTION_REMOTE_CLOSE:
            self._connection.close()
        elif kind == Event.TRANSPORT_ERROR:
            self.broker.namespace.note("protocol error", connection=self.name, why=str(self._transport.condition))

    def detach(self, link: LinkEnd, refused: Refused) -> None:
        """Close one link with the reason."""
        self._part(link)
        attaching.close(link.link, refused)
        self.flush_soon()

    @property
    def links(self) -> list[LinkEnd]:
        return list(self._ends.values())

    def join(self, end: LinkEnd) -> None:
        self._ends[end.link._impl] = end

    def _part(self, end: LinkEnd) -> None:
        del self._ends[end.link._impl]
        end.gone()

    def answer_alone(self) -> None:
        """Make a frame of the last disposition now: proton would put a row of them into one.

        Each settlement is answered for itself, as a service that works on them side by side does. The SDK is made for that: where
        one frame answers many, all but one of those who wait run into its socket timeout.
        """
        lib.pn_transport_pending(self._transport._impl)

    def flush_soon(self) -> None:
        """Write once, after everything that is happening now."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        self._flushing = False
        if self._socket is None:
            return
        self._events()
        while (pending := self._transport.pending()) > 0:
            out = self._transport.peek(pending)
            self._transport.pop(pending)
            if out:
                self._write(bytes(out))
        if pending < 0:
            self._socket.close()

    def _write(self, data: bytes) -> None:
        faults = self.broker.faults
        if faults.silent or self.frozen or self._socket is None:
            return
        if faults.latency <= 0 and not self._late:
            self._socket.write(data)
            return
        self._late.append(data)
        asyncio.get_running_loop().call_later(faults.latency, self._write_late)

    def _write_late(self) -> None:
        data = self._late.popleft()
        if self._socket is not None and not self.broker.faults.silent and not self.frozen:
            self._socket.write(data)
