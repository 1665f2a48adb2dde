"""The operations of `<entity>/$management`.

Names and maps: MicrosoftDocs, service-bus-amqp-request-response.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import proton

from tests.wire.servicebus import message as wire
from tests.wire.servicebus.access import LISTEN, SEND
from tests.wire.servicebus.encoding import Malformed
from tests.wire.servicebus.namespace import Namespace
from tests.wire.servicebus.refusal import ARGUMENT, NOT_ALLOWED, Refused

#: A request's map, of whatever AMQP types the client put in.
Body = Mapping[str, Any]  # Any: the wire decides, each operation checks what it needs
Reply = dict[str, Any]  # Any: values of proton's types


def perform(namespace: Namespace, path: str, operation: str, body: Body) -> Reply | None:
    """The reply's map, None for 204. `operation` without its prefix. Raises Refused."""
    handler = _OPERATIONS.get(operation)
    if handler is None:
        raise Refused(NOT_ALLOWED, f"There is no operation {operation!r}")
    try:
        return handler(namespace, path, body)
    except KeyError as missing:
        raise Refused(ARGUMENT, f"{operation} needs {missing}") from missing
    except (Malformed, TypeError, ValueError, AttributeError) as error:
        raise Refused(ARGUMENT, f"{operation} was asked for with something else: {error}") from error


def right(operation: str) -> str:
    """What one must be allowed to do for it."""
    return SEND if operation in ("schedule-message", "cancel-scheduled-message") else LISTEN


def _renew_lock(namespace: Namespace, path: str, body: Body) -> Reply:
    entity = namespace.usable(path)
    expirations = [proton.timestamp(round(entity.renew(token) * 1000)) for token in _tokens(body)]
    return {"expirations": proton.Array(proton.UNDESCRIBED, proton.Data.TIMESTAMP, *expirations)}


def _peek(namespace: Namespace, path: str, body: Body) -> Reply | None:
    entity = namespace.source(path)
    found = entity.peek(int(body["from-sequence-number"]), int(body["message-count"]), body.get("session-id"))
    return {"messages": [{"message": stored.encoded()} for stored in found]} if found else None


def _receive_deferred(namespace: Namespace, path: str, body: Body) -> Reply:
    entity = namespace.usable(path)
    deletes = int(body.get("receiver-settle-mode", 1)) == 0
    found = [entity.by_number(int(number), "deferred") for number in body["sequence-numbers"]]
    messages = []
    for stored in found:
        if deletes:
            del entity.stored[stored.sequence]
            messages.append({"message": stored.encoded()})
        else:
            entity.lock(stored)
            messages.append({"lock-token": UUID(bytes_le=stored.token or b""), "message": stored.encoded()})
    return {"messages": messages}


def _settle(namespace: Namespace, path: str, body: Body) -> Reply:
    entity = namespace.usable(path)
    if (session := body.get("session-id")) is not None:
        entity.sessions.held(str(session))
    status = body["disposition-status"]
    for token in _tokens(body):
        if status == "completed":
            entity.complete(token)
        elif status == "abandoned":
            entity.abandon(token)
        elif status == "suspended":
            entity.dead_letter(token, body.get("deadletter-reason"), body.get("deadletter-description"))
        elif status == "defered":
            entity.defer(token)
        else:
            raise Refused(ARGUMENT, f"There is no disposition {status!r}")
    return {}


def _schedule(namespace: Namespace, path: str, body: Body) -> Reply:
    messages = [wire.parse(bytes(each["message"])) for each in body["messages"]]
    # A duplicate answers with a number as well; it names no message.
    numbers = [number or 0 for number in namespace.send(path, messages)]
    return {"sequence-numbers": proton.Array(proton.UNDESCRIBED, proton.Data.LONG, *numbers)}


def _cancel(namespace: Namespace, path: str, body: Body) -> Reply:
    entity = namespace.usable(path)
    for number in body["sequence-numbers"]:
        entity.cancel(int(number))
    return {}


def _renew_session(namespace: Namespace, path: str, body: Body) -> Reply:
    sessions = namespace.usable(path).sessions
    return {"expiration": proton.timestamp(round(sessions.renew(str(body["session-id"])) * 1000))}


def _get_state(namespace: Namespace, path: str, body: Body) -> Reply:
    return {"session-state": namespace.usable(path).sessions.held(str(body["session-id"])).state}


def _set_state(namespace: Namespace, path: str, body: Body) -> Reply:
    state = body["session-state"]
    namespace.usable(path).sessions.set_state(str(body["session-id"]), None if state is None else bytes(state))
    return {}


def _list_sessions(namespace: Namespace, path: str, body: Body) -> Reply | None:
    sessions = namespace.usable(path).sessions
    names = sessions.listed(body["last-updated-time"] / 1000, int(body["skip"]), int(body["top"]))
    return {"skip": proton.int32(int(body["skip"]) + len(names)), "sessions-ids": names} if names else None


def _tokens(body: Body) -> list[bytes]:
    return [token.bytes_le for token in body["lock-tokens"]]


_OPERATIONS: dict[str, Callable[[Namespace, str, Body], Reply | None]] = {
    "renew-lock": _renew_lock,
    "peek-message": _peek,
    "receive-by-sequence-number": _receive_deferred,
    "update-disposition": _settle,
    "schedule-message": _schedule,
    "cancel-scheduled-message": _cancel,
    "renew-session-lock": _renew_session,
    "get-session-state": _get_state,
    "set-session-state": _set_state,
    "get-message-sessions": _list_sessions,
}
