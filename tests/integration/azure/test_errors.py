"""The table of errors: complete over what the SDKs export, and right row by row."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from aiohttp.client_exceptions import ClientConnectorError, ClientOSError, InvalidURL, ServerDisconnectedError
from azure.core import exceptions as core
from azure.cosmos import exceptions as cosmos
from azure.identity import CredentialUnavailableError
from azure.servicebus import exceptions as servicebus
from azure.servicebus._pyamqp.error import AMQPConnectionError, ErrorCondition

from syncd.adapters.azure.errors import ERRORS, STATUSES, boundary, mapped, retry_after_of
from syncd.domain import errors as ours
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

PACKAGES = (
    "azure.core",
    "azure.cosmos",
    "azure.identity",
    "azure.keyvault.secrets",
    "azure.mgmt.containerinstance",
    "azure.mgmt.core",
    "azure.servicebus",
    "azure.storage.blob",
)


def exported(package: str) -> Iterator[type[BaseException]]:
    """Every exception class that a public module of the package shows."""
    found = importlib.import_module(package)
    names = [package]
    below = (module.name for module in pkgutil.walk_packages(found.__path__, f"{package}."))
    names += [name for name in below if not any(part.startswith("_") for part in name.split("."))]
    for name in names:
        try:
            module_found = importlib.import_module(name)
        except ImportError:  # for another transport, or for tracing: libraries that are not installed
            continue
        for value in vars(module_found).values():
            if inspect.isclass(value) and issubclass(value, Exception) and value.__module__.startswith("azure."):
                yield value


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("package", PACKAGES)
def test_every_exception_that_an_sdk_exports_has_a_row_of_its_own(package: str) -> None:
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in exported(package)}
    assert len(names) >= {"azure.core": 19, "azure.cosmos": 6, "azure.servicebus": 19, "azure.identity": 2}.get(
        package, 0
    )
    assert sorted(names - ERRORS.keys()) == []


@pytest.mark.parametrize("name", [name for name in ERRORS if name.startswith("azure.")])
def test_every_row_is_of_a_class_that_exists(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    kind = getattr(importlib.import_module(module), attribute)
    assert f"{kind.__module__}.{kind.__qualname__}" == name
    assert issubclass(kind, Exception)


def test_rows_and_statuses_become_errors_that_the_domain_knows() -> None:
    known = {kind for kind in vars(ours).values() if inspect.isclass(kind) and issubclass(kind, SyncdError)}
    assert {kind for kind in ERRORS.values() if not isinstance(kind, str)} <= known
    assert set(STATUSES.values()) <= known


def test_the_table_costs_no_import_of_an_sdk() -> None:
    code = "import sys, syncd.adapters.azure.errors; print([m for m in sys.modules if m.split('.')[0] == 'azure'])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


class Answer:
    """As much of an SDK's response as its errors read."""

    def __init__(self, status: int, headers: Mapping[str, str] = {}, reason: str = "Refused") -> None:
        self.status_code, self.headers, self.reason = status, headers, reason

    def text(self, *_: Any) -> str:
        return ""


def http(status: int, headers: Mapping[str, str] = {}, kind: type[Exception] = core.HttpResponseError) -> Exception:
    return kind(message="said the service", response=Answer(status, headers))


ROWS: list[tuple[Exception, type[SyncdError]]] = [
    (core.ServiceRequestError("refused"), Unavailable),
    (core.ServiceRequestError("cut", error=ServerDisconnectedError()), ServerFault),
    (core.ServiceRequestError("reset", error=ClientOSError(104, "reset")), ServerFault),
    (core.ServiceRequestError("refused", error=ClientConnectorError(None, OSError(111, "no"))), Unavailable),  # type: ignore[arg-type]  # the key is only for its text
    (core.ServiceRequestError("url", error=InvalidURL("x")), Unavailable),
    (core.ServiceRequestTimeoutError("no connection"), Unavailable),
    (core.ServiceResponseError("lost"), ServerFault),
    (core.ServiceResponseTimeoutError("silent"), TimedOut),
    (core.ClientAuthenticationError("AADSTS7000215: Invalid client secret"), Unavailable),
    (CredentialUnavailableError("ManagedIdentityCredential authentication unavailable"), Unavailable),
    (http(400), Rejected),
    (http(401, kind=core.ClientAuthenticationError), Unavailable),
    (http(403), Unavailable),
    (http(404, kind=core.ResourceNotFoundError), NotFound),
    (http(408), TimedOut),
    (http(409, kind=core.ResourceExistsError), Conflict),
    (http(410), Unavailable),
    (http(412, kind=core.ResourceModifiedError), Conflict),
    (http(413), TooLarge),
    (http(418), Rejected),
    (http(429), Throttled),
    (http(449), Throttled),
    (http(500), ServerFault),
    (http(503), ServerFault),
    (http(503, {"Retry-After": "5"}), Throttled),
    (http(599), ServerFault),
    (
        cosmos.CosmosHttpResponseError(429, "Request rate is large", Answer(429, {"x-ms-retry-after-ms": "12"})),
        Throttled,
    ),
    (cosmos.CosmosHttpResponseError(449, "retry with"), Throttled),
    (cosmos.CosmosResourceNotFoundError(404, "gone"), NotFound),
    (cosmos.CosmosResourceExistsError(409, "there"), Conflict),
    (cosmos.CosmosAccessConditionFailedError(412, "changed"), Conflict),
    (cosmos.CosmosBatchOperationError(0, {}, 412, "changed"), Conflict),
    (cosmos.CosmosBatchOperationError(0, {"x-ms-retry-after-ms": "7"}, 429, "large"), Throttled),
    (cosmos.CosmosClientTimeoutError(), TimedOut),
    (servicebus.ServiceBusServerBusyError(), Throttled),
    (servicebus.ServiceBusQuotaExceededError(), Overloaded),
    (servicebus.MessageLockLostError(), LeaseLost),
    (servicebus.MessageAlreadySettled(action="complete"), LeaseLost),
    (servicebus.MessagingEntityNotFoundError(), Unavailable),
    (servicebus.MessageSizeExceededError(), TooLarge),
    (servicebus.OperationTimeoutError(), TimedOut),
    (servicebus.ServiceBusAuthorizationError(), Unavailable),
    (servicebus.ServiceBusError("some subclass of the future"), ServerFault),
    (AMQPConnectionError(ErrorCondition.SocketError, description="reset"), Unavailable),
    (core.SerializationError("not ours"), Invalid),
    (ConnectionRefusedError(111, "refused"), Unavailable),
    (ConnectionResetError(104, "reset"), ServerFault),
    (TimeoutError(), TimedOut),
]


@pytest.mark.parametrize(("error", "expected"), ROWS, ids=[f"{type(e).__name__}-{n}" for n, (e, _) in enumerate(ROWS)])
def test_an_error_becomes_what_its_row_says_and_tells_what_was_being_done(
    error: Exception, expected: type[SyncdError]
) -> None:
    result = mapped(error, what="Key Vault: reading abc")
    assert type(result) is expected
    assert str(result).startswith("Key Vault: reading abc: ")
    assert "\n" not in str(result)


WAITS: list[tuple[dict[str, str], float | None]] = [
    ({"x-ms-retry-after-ms": "1500", "Retry-After": "9"}, 1.5),
    ({"retry-after-ms": "20"}, 0.02),
    ({"retry-after": "7"}, 7.0),
    ({"Retry-After": "0.25"}, 0.25),
    ({"Retry-After": "Sun, 22 Nov 2026 08:00:30 GMT", "Date": "Sun, 22 Nov 2026 08:00:00 GMT"}, 30.0),
    ({"Retry-After": "Sun, 22 Nov 2026 08:00:00 GMT", "Date": "Sun, 22 Nov 2026 08:00:30 GMT"}, 0.0),
    ({"Retry-After": "Sun, 22 Nov 2026 08:00:30 GMT"}, None),
    ({"Retry-After": "Sun, 22 Nov 2026 08:00:30 -0000", "Date": "Sun, 22 Nov 2026 08:00:00 GMT"}, None),
    ({"Retry-After": "soon"}, None),
    ({"Retry-After": "-3"}, None),
    ({"Retry-After": "inf"}, None),
    ({"Retry-After": "nan"}, None),
    ({}, None),
]


@pytest.mark.parametrize(("headers", "seconds"), WAITS)
def test_the_wait_is_read_in_each_form_that_a_service_uses(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_of(http(429, headers)) == seconds
    result = mapped(http(429, headers), what="x")
    assert isinstance(result, Throttled)
    assert result.retry_after == seconds


def test_service_bus_tells_no_number_and_a_busy_one_is_asked_again_before_the_ten_seconds_of_its_text() -> None:
    busy = mapped(servicebus.ServiceBusServerBusyError(), what="x")
    full = mapped(servicebus.ServiceBusQuotaExceededError(), what="x")
    assert isinstance(busy, Failure)
    assert isinstance(full, Failure)
    assert (busy.retry_after, full.retry_after) == (2.0, 30.0)


def test_a_refusal_of_rights_names_the_right_that_is_missing() -> None:
    refused = mapped(http(403), what="reading", right="the role 'Key Vault Secrets User'")
    assert str(refused) == "reading: 403: said the service. The identity needs the role 'Key Vault Secrets User'"
    assert "identity needs" not in str(mapped(http(500), what="reading", right="the role"))


@pytest.mark.parametrize(
    "said",
    [
        "no: SharedAccessKey=canary; Endpoint=sb://x",
        "https://x.blob/c?sv=1&sig=canary%3D&se=2",
        "Authorization: Bearer canary",
        "AccountKey=canary==;EndpointSuffix=x",
    ],
)
def test_a_secret_that_a_service_quotes_is_not_repeated(said: str) -> None:
    assert "canary" not in str(mapped(core.ServiceRequestError(said), what="x"))


def test_an_error_of_ours_stays_itself_and_one_that_nobody_knows_is_our_mistake() -> None:
    mine = NotFound("there is none")
    assert mapped(mine, what="x") is mine
    assert type(mapped(KeyError("x"), what="y")) is SyncdError


def test_the_boundary_maps_what_it_knows_and_keeps_the_cause() -> None:
    cause = core.ServiceRequestError("refused")
    with pytest.raises(Unavailable) as caught, boundary("reading"):
        raise cause
    assert caught.value.__cause__ is cause
    with pytest.raises(NotFound, match="mine"), boundary("reading"):
        raise NotFound("mine")
    with pytest.raises(KeyError), boundary("reading"):
        raise KeyError("a mistake of ours")
    with pytest.raises(KeyboardInterrupt), boundary("reading"):
        raise KeyboardInterrupt
