"""What a client's attach is answered: a link end of the right kind, or a refusal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import proton
from proton import Condition, Link, Terminus

from tests.wire.servicebus.links import Consumer, LinkEnd, Producer
from tests.wire.servicebus.namespace import MANAGEMENT, entity_path
from tests.wire.servicebus.refusal import NOT_ALLOWED, TIMEOUT, Refused
from tests.wire.servicebus.requests import ManagementRequests, Replies, TokenRequests

if TYPE_CHECKING:
    from tests.wire.servicebus.connection import Connection

CBS = "$cbs"
SESSION_FILTER = "com.microsoft:session-filter"
#: How long a receiver may wait for the next free session if it does not say. Source: the SDK's own default, 65 s with its margin.
SESSION_WAIT = 60.0
#: .NET ticks of the Unix epoch. Source: azure.servicebus DATETIMEOFFSET_EPOCH.
_EPOCH_TICKS = 621_355_968_000_000_000


def attach(connection: Connection, link: Link) -> None:
    """`link.is_sender` is this end's view: the client receives on it."""
    address = (link.remote_source if link.is_sender else link.remote_target).address or ""
    path = entity_path(address)
    try:
        end = _end(connection, link, path)
    except Refused as refused:
        refuse(connection, link, path, refused)
        return
    if isinstance(end, Consumer) and end.entity.spec.requires_session:
        _with_session(connection, end)
    else:
        _accept(connection, end)


def refuse(connection: Connection, link: Link, path: str, refused: Refused) -> None:
    """A refused link is attached without source and target, then closed with the reason.

    Source: MicrosoftDocs, service-bus-amqp-protocol-guide ("Create link").
    """
    connection.broker.namespace.note("refused", entity=path, operation="attach", condition=refused.condition)
    link.source.type = link.target.type = Terminus.UNSPECIFIED
    link.open()
    close(link, refused)


def close(link: Link, refused: Refused) -> None:
    link.condition = Condition(refused.condition, refused.description)
    link.close()


def _end(connection: Connection, link: Link, path: str) -> LinkEnd:
    name = path.lower()
    if name == CBS or name.endswith(MANAGEMENT):
        if link.is_sender:
            return Replies(connection, link, path)
        return TokenRequests(connection, link, path) if name == CBS else ManagementRequests(connection, link, path)
    if not link.is_sender:
        return Producer(connection, link, path)
    connection.broker.faults.check("attach")
    entity = connection.broker.namespace.usable(path)
    if entity.spec.requires_session != _asks_for_session(link):
        which = "requires sessions" if entity.spec.requires_session else "does not require sessions"
        raise Refused(NOT_ALLOWED, f"'{path}' {which}: this kind of message receiver cannot be created on it")
    return Consumer(connection, link, path, entity)


def _accept(connection: Connection, end: LinkEnd) -> None:
    link = end.link
    link.source.copy(link.remote_source)
    link.target.copy(link.remote_target)
    link.snd_settle_mode = link.remote_snd_settle_mode
    link.rcv_settle_mode = link.remote_rcv_settle_mode
    if isinstance(end, Consumer) and end.session is not None:
        _answer_session(end, end.session)
    connection.join(end)
    connection.broker.namespace.note("attach", entity=end.path, link=type(end).__name__, name=link.name)
    end.opened()


def _filters(link: Link) -> dict[object, object]:
    data = link.remote_source.filter
    data.rewind()
    if data.next() is None:
        return {}
    value = data.get_object()
    return value if isinstance(value, dict) else {}


def _asks_for_session(link: Link) -> bool:
    return SESSION_FILTER in _filters(link)


def _with_session(connection: Connection, end: Consumer) -> None:
    """Take the session it names, or wait for the next free one: the attach is answered when there is one."""
    wanted = _filters(end.link)[SESSION_FILTER]
    name = wanted.value if isinstance(wanted, proton.Described) else wanted
    milliseconds = (end.link.remote_properties or {}).get("com.microsoft:timeout")
    seconds = SESSION_WAIT if milliseconds is None else milliseconds / 1000
    sessions = end.entity.sessions

    def settled(*, last: bool = False) -> bool:
        """Is the attach answered, one way or the other?"""
        if connection.closed:
            return True
        try:
            session = sessions.accept(None if name is None else str(name), end)
            if session is None:
                if not last:
                    return False
                raise Refused(TIMEOUT, "There was no session with messages that could be accepted in time")
            end.session = session.name
            _accept(connection, end)
        except Refused as refused:
            refuse(connection, end.link, end.path, refused)
        connection.flush_soon()
        return True

    def give_up() -> None:
        if settled in sessions.waiting:
            sessions.waiting.remove(settled)
            settled(last=True)

    if not settled():
        sessions.waiting.append(settled)
        connection.broker.namespace.note("waiting for a session", entity=end.path)
        # The client waits by its own clock, so this is real time whatever the double's clock does.
        asyncio.get_running_loop().call_later(seconds, give_up)


def _answer_session(end: Consumer, session: str) -> None:
    """What the client reads from the attach: which session it got, and until when."""
    ticks = round(end.entity.sessions.locked_until(session) * 10_000_000) + _EPOCH_TICKS
    end.link.properties = {proton.symbol("com.microsoft:locked-until-utc"): ticks}
    filters = end.link.source.filter
    filters.clear()
    filters.put_object({proton.symbol(SESSION_FILTER): session})
