"""What a client's attach is answered: a link end of the right kind, or a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proton import Condition, Link

from tests.wire.servicebus.links import Consumer, LinkEnd, Producer
from tests.wire.servicebus.namespace import MANAGEMENT, entity_path
from tests.wire.servicebus.refusal import Refused
from tests.wire.servicebus.requests import ManagementRequests, Replies, TokenRequests

if TYPE_CHECKING:
    from tests.wire.servicebus.connection import Connection

CBS = "$cbs"


def attach(connection: Connection, link: Link) -> None:
    """`link.is_sender` is this end's view: the client receives on it."""
    address = (link.remote_source if link.is_sender else link.remote_target).address or ""
    path = entity_path(address)
    try:
        end = _end(connection, link, path)
    except Refused as refused:
        connection.broker.namespace.note("refused", entity=path, condition=refused.condition)
        # A refused link is attached without source and target, then closed with the reason.
        # Source: MicrosoftDocs, service-bus-amqp-protocol-guide ("Create link").
        link.open()
        close(link, refused)
        return
    link.source.copy(link.remote_source)
    link.target.copy(link.remote_target)
    link.snd_settle_mode = link.remote_snd_settle_mode
    link.rcv_settle_mode = link.remote_rcv_settle_mode
    connection.links.append(end)
    link.end = end
    connection.broker.namespace.note("attach", entity=path, link=type(end).__name__, name=link.name)
    end.opened()


def _end(connection: Connection, link: Link, path: str) -> LinkEnd:
    name = path.lower()
    if name == CBS or name.endswith(MANAGEMENT):
        if link.is_sender:
            return Replies(connection, link, path)
        if name == CBS:
            return TokenRequests(connection, link, path)
        return ManagementRequests(connection, link, path.removesuffix(path[-len(MANAGEMENT) :]))
    if link.is_sender:
        return Consumer(connection, link, path)
    return Producer(connection, link, path)


def close(link: Link, refused: Refused) -> None:
    link.condition = Condition(refused.condition, refused.description)
    link.close()
