"""What Azure's SDKs raise, as the errors of syncd: one table for all of them, and nothing is imported for it.

A row is the full name of a class, and the first class in an error's method resolution order that has a row decides: the most
specific first, by construction. So this module costs no import of an SDK (200 ms each), and whoever uses only Blob Storage
imports only that. A test keeps the table complete over everything that the SDKs export.

Three choices that are not obvious:

- 401 and 403 become Unavailable and not AuthenticationFailed: it is *our* identity that is refused, by *our* infrastructure. No
  tenant can mend that, no tenant's credential may be marked for it, and work waits until an operator has given the right back.
- Unavailable says "certainly not processed", so it is only for requests that were not sent or were refused whole; a connection
  lost after sending is a ServerFault, an answer that did not come is TimedOut.
- Messages that Service Bus holds twice are absorbed by their ids and the documents (guarantees, G7), so a broken link is
  Unavailable there whatever was on its way.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Final

from syncd.domain.errors import (
    Conflict,
    Failure,
    Invalid,
    LeaseLost,
    NotFound,
    Overloaded,
    Rejected,
    ServerFault,
    SyncdError,
    Throttled,
    TimedOut,
    TooLarge,
    Unavailable,
)

#: In place of an error's class: its HTTP status decides, by `STATUSES`.
BY_STATUS: Final = "by status"

STATUSES: Final[dict[int, type[SyncdError]]] = {
    304: Conflict,  # a conditional read that found nothing newer
    400: Rejected,
    401: Unavailable,
    403: Unavailable,
    404: NotFound,
    408: TimedOut,  # Cosmos DB: it did not finish in time, and does not say whether it did anything
    409: Conflict,
    410: Unavailable,  # Cosmos DB: the partition has moved; refused whole
    412: Conflict,
    413: TooLarge,
    423: Conflict,
    424: Conflict,  # Cosmos DB: the operation of a batch that fell with another one
    429: Throttled,
    449: Throttled,  # Cosmos DB "retry with": a concurrent write of the same item; refused whole
    500: ServerFault,
    502: ServerFault,
    503: ServerFault,  # with a Retry-After it is Throttled
    504: ServerFault,
}

_NOT_SENT: Final = "azure.core.exceptions.ServiceRequestError"

#: After `server-busy`, whose text asks for ten seconds. Its credits are counted by the second, and of ours only one caller of each
#: connection asks again; so we come back sooner, and are at work again within ten seconds of the end of a storm.
#: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-throttling (credits; "wait 10 seconds")
SERVER_BUSY_WAIT: Final = 2.0
#: A full queue is emptied by consumers, not at once.
QUOTA_WAIT: Final = 30.0
_WAITS: Final = {
    "azure.servicebus.exceptions.ServiceBusServerBusyError": SERVER_BUSY_WAIT,
    "azure.servicebus.exceptions.ServiceBusQuotaExceededError": QUOTA_WAIT,
}

#: Codes of a 403 that is about where the request comes from, and not who sends it.
BY_NETWORK: Final = frozenset(
    {"ForbiddenByFirewall", "ForbiddenByConnection", "IpAuthorizationFailed", "AuthorizationFailure"}
)

#: Class by full name -> what it becomes. SyncdError itself is "our own mistake": retried, then for us to act.
ERRORS: Final[dict[str, type[SyncdError] | str]] = {
    # -- azure-core: all HTTP services
    "azure.core.exceptions.ServiceRequestError": Unavailable,  # refused, DNS, TLS: not sent; but see `_row`
    "azure.core.exceptions.ServiceRequestTimeoutError": Unavailable,  # no connection in time: not sent
    "azure.core.exceptions.ServiceResponseError": ServerFault,
    "azure.core.exceptions.ServiceResponseTimeoutError": TimedOut,
    "azure.core.exceptions.ClientAuthenticationError": Unavailable,
    "azure.core.exceptions.ResourceNotFoundError": NotFound,
    "azure.core.exceptions.ResourceExistsError": Conflict,
    "azure.core.exceptions.ResourceModifiedError": Conflict,
    "azure.core.exceptions.ResourceNotModifiedError": Conflict,
    "azure.core.exceptions.HttpResponseError": BY_STATUS,
    "azure.core.exceptions.ODataV4Error": BY_STATUS,
    "azure.core.exceptions.DecodeError": ServerFault,  # an answer, and none that the service gives
    "azure.core.exceptions.IncompleteReadError": ServerFault,
    "azure.core.exceptions.TooManyRedirectsError": ServerFault,
    "azure.core.exceptions.DeserializationError": ServerFault,
    "azure.core.exceptions.SerializationError": Invalid,
    "azure.core.exceptions.ResponseNotReadError": SyncdError,
    "azure.core.exceptions.StreamClosedError": SyncdError,
    "azure.core.exceptions.StreamConsumedError": SyncdError,
    "azure.core.exceptions.AzureError": ServerFault,
    # -- azure-core polling and azure-mgmt: long-running operations
    "azure.core.polling.base_polling.BadResponse": ServerFault,
    "azure.core.polling.base_polling.BadStatus": ServerFault,
    "azure.core.polling.base_polling.OperationFailed": Rejected,
    # -- azure-identity: no token, so nothing was sent
    "azure.identity._exceptions.CredentialUnavailableError": Unavailable,
    "azure.identity._exceptions.AuthenticationRequiredError": Unavailable,
    # -- azure-storage-blob
    "azure.storage.blob._shared.authentication.AzureSigningError": Unavailable,
    "azure.storage.blob._shared.response_handlers.PartialBatchErrorException": BY_STATUS,
    # -- azure-cosmos
    "azure.cosmos.exceptions.CosmosAccessConditionFailedError": Conflict,
    "azure.cosmos.exceptions.CosmosBatchOperationError": BY_STATUS,
    "azure.cosmos.exceptions.CosmosClientTimeoutError": TimedOut,
    "azure.cosmos.exceptions.CosmosHttpResponseError": BY_STATUS,
    "azure.cosmos.exceptions.CosmosResourceExistsError": Conflict,
    "azure.cosmos.exceptions.CosmosResourceNotFoundError": NotFound,
    # -- azure-servicebus
    "azure.servicebus.exceptions.AutoLockRenewFailed": LeaseLost,
    "azure.servicebus.exceptions.AutoLockRenewTimeout": LeaseLost,
    "azure.servicebus.exceptions.MessageAlreadySettled": LeaseLost,
    "azure.servicebus.exceptions.MessageLockLostError": LeaseLost,
    "azure.servicebus.exceptions.SessionLockLostError": LeaseLost,
    "azure.servicebus.exceptions.SessionCannotBeLockedError": LeaseLost,  # another replica has the session
    "azure.servicebus.exceptions.MessageNotFoundError": NotFound,
    "azure.servicebus.exceptions.MessageSizeExceededError": TooLarge,
    "azure.servicebus.exceptions.MessagingEntityAlreadyExistsError": Conflict,
    "azure.servicebus.exceptions.MessagingEntityDisabledError": Unavailable,
    "azure.servicebus.exceptions.MessagingEntityNotFoundError": Unavailable,  # the queue itself: an operator makes it
    "azure.servicebus.exceptions.OperationTimeoutError": TimedOut,
    "azure.servicebus.exceptions.ServiceBusAuthenticationError": Unavailable,
    "azure.servicebus.exceptions.ServiceBusAuthorizationError": Unavailable,
    "azure.servicebus.exceptions.ServiceBusCommunicationError": Unavailable,
    "azure.servicebus.exceptions.ServiceBusConnectionError": Unavailable,
    "azure.servicebus.exceptions.ServiceBusQuotaExceededError": Overloaded,  # full, as a bounded inbox is
    "azure.servicebus.exceptions.ServiceBusServerBusyError": Throttled,
    "azure.servicebus.exceptions.ServiceBusError": ServerFault,
    # what its AMQP library lets through
    "azure.servicebus._pyamqp.error.AMQPException": Unavailable,
    "azure.servicebus._pyamqp.error.MessageSettlementUnconfirmed": TimedOut,
    "azure.servicebus._pyamqp._transport.UnexpectedFrame": Unavailable,
    # -- what the transports let through: aiohttp while a body is streamed, sockets, TLS
    "aiohttp.client_exceptions.ClientConnectorError": Unavailable,  # with DNS, certificate and TLS subclasses
    "aiohttp.client_exceptions.InvalidURL": Unavailable,
    "aiohttp.client_exceptions.ClientError": ServerFault,
    "ssl.SSLCertVerificationError": Unavailable,
    "socket.gaierror": Unavailable,
    "builtins.ConnectionRefusedError": Unavailable,
    "builtins.ValueError": Unavailable,  # what an SDK refuses to send: a token over http, or to another host than its audience
    "builtins.TimeoutError": TimedOut,
    "builtins.OSError": ServerFault,
}

#: Signatures and keys of a connection string or of a shared access signature, should a service quote them back.
_SECRET = re.compile(
    r"(?i)\b(sig|sharedaccesskey|accountkey|sharedaccesssignature|client_secret|bearer)(=|%3d|\s+)[^\s&;'\"]+"
)
_TOLD: Final = 600


def mapped(error: BaseException, *, what: str, right: str | None = None) -> SyncdError:
    """The error of syncd for one of an SDK; raise it `from` the original. An error of syncd is returned as it is, and what no
    row knows is our own mistake (SyncdError).

    `what` was being done, to what: "Key Vault https://kv.example: reading the secret abc". `right`: what the identity needs for
    it, told where it was refused.
    """
    if isinstance(error, SyncdError):
        return error
    name, kind = _row(error)
    if name == _NOT_SENT:
        # azure-core's transport (1.41, aiohttp) says so of a connection that broke after sending too; what is inside knows.
        name, kind = _inside(error, name, kind)
    status = getattr(error, "status_code", None)
    if kind is BY_STATUS:
        kind = _by_status(status)
    assert isinstance(kind, type)  # BY_STATUS is the only row that is none
    retry_after = _WAITS.get(name) if name in _WAITS else retry_after_of(error)
    if status == 503 and (
        retry_after is not None or "ServerBusy" in _codes(error)
    ):  # the latter is how storage throttles
        kind = Throttled
    text = f"{what}: {_said(error, status).rstrip('.')}"
    if status in (401, 403):
        if _codes(error) & BY_NETWORK:
            text += ". Its firewall must admit this machine's address, or a private endpoint must lead there"
        elif right:
            text += f". The identity needs {right}"
    if issubclass(kind, Failure):
        return kind(text, retry_after=retry_after)
    return kind(text)


def _inside(error: BaseException, name: str, kind: type[SyncdError] | str) -> tuple[str, type[SyncdError] | str]:
    inner = getattr(error, "inner_exception", None)
    found = ("", kind) if inner is None else _row(inner)
    return found if found[0].startswith("aiohttp.") else (name, kind)


@contextmanager
def boundary(what: str, *, right: str | None = None) -> Iterator[None]:
    """Everything that an SDK raises inside leaves as an error of syncd; errors of ours and cancellation pass as they are."""
    try:
        yield
    except SyncdError:
        raise
    except Exception as error:  # one row or none decides; what has none is a mistake of ours and passes as it is
        if _row(error)[0] == "":
            raise
        raise mapped(error, what=what, right=right) from error


def retry_after_of(error: BaseException) -> float | None:
    """Seconds that the service asks to wait, None where it says nothing that can be read.

    `x-ms-retry-after-ms` (Cosmos DB), `retry-after-ms`, and `Retry-After` in seconds or as a date, which is measured by the
    answer's own `Date`: clocks that differ make no difference.
    """
    response = getattr(error, "response", None)
    headers = _lowered(getattr(response, "headers", None) or getattr(error, "headers", None))
    for name in ("x-ms-retry-after-ms", "retry-after-ms"):
        milliseconds = _number(headers.get(name))
        if milliseconds is not None:
            return milliseconds / 1000
    given = headers.get("retry-after")
    if given is None:
        return None
    seconds = _number(given)
    if seconds is not None:
        return seconds
    try:
        until, since = parsedate_to_datetime(given), parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (until - since).total_seconds())
    except (ValueError, TypeError):  # no dates, or one with a zone and one without
        return None


def _row(error: BaseException) -> tuple[str, type[SyncdError] | str]:
    """The name of the class whose row decides, and the row; no name where there is none.

    ServiceRequestError promises that no request was sent, but azure-core's transport raises it for every ClientError of aiohttp,
    a connection that broke before the answer among them (azure/core/pipeline/transport/_aiohttp.py): what is inside decides.
    """
    for kind in type(error).__mro__:
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name == "azure.core.exceptions.ServiceRequestError":
            inner = getattr(error, "inner_exception", None)
            if isinstance(inner, BaseException) and inner is not error and _row(inner)[0]:
                return name, _row(inner)[1]
        if name in ERRORS:
            return name, ERRORS[name]
    return "", SyncdError


def _by_status(status: object) -> type[SyncdError]:
    if not isinstance(status, int):
        return ServerFault
    return STATUSES.get(status) or (Rejected if 400 <= status < 500 else ServerFault)


def _said(error: BaseException, status: object) -> str:
    """One line of what the service said, with its status and code, and without what must not be logged."""
    lines = str(getattr(error, "message", None) or error).strip().splitlines() or [_unsaid(error)]
    text = _SECRET.sub(r"\1\2***", lines[0].strip())[:_TOLD]
    facts = [str(fact) for fact in (status, *sorted(_codes(error))) if fact and str(fact) not in text]
    return f"{' '.join(facts)}: {text}" if facts else text


def _unsaid(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__


def _codes(error: BaseException) -> set[str]:
    """The error's own code and the one inside it (OData v4), where the service gives them."""
    details = getattr(error, "error", None)
    inner = getattr(details, "innererror", None)
    found = (
        getattr(error, "error_code", None),
        getattr(details, "code", None),
        inner.get("code") if isinstance(inner, dict) else None,
    )
    return {str(getattr(code, "value", code)) for code in found if code}


def _lowered(headers: object) -> dict[str, str]:
    if not isinstance(headers, Mapping):
        return {}
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
