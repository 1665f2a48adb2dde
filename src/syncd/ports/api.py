"""A provider's HTTP interface, as one connection may use it: authenticated, charged to its limits, bounded, on one origin."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, Protocol

from syncd.domain.jsontypes import Json, JsonObject
from syncd.domain.values import immutable

#: What a request is charged as.
ApiOperation = Literal["fetch", "create", "update", "delete"]


@immutable(kw_only=True)
class Account:
    """A connection, as far as calls in its name need it."""

    connection_id: str
    tenant_id: str
    integration_id: str
    settings: JsonObject
    credential_id: str | None = None


class Reply(Protocol):
    """A complete answer with a status that the caller accepts."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        ...

    @property
    def body(self) -> bytes: ...
    @property
    def served_at(self) -> float | None:
        """The header `Date`, Unix seconds."""
        ...

    def json(self) -> Json:
        """The body as JSON. Raises ServerFault, with the beginning of what came instead."""
        ...

    def masked(self, part: Json) -> Json:
        """A part of the answer that is kept for people: as it is, or as text without the secrets where it echoes one."""
        ...

    def next_link(self) -> str | None:
        """`rel="next"` of the header Link (RFC 8288)."""
        ...


class Api(Protocol):
    @property
    def account(self) -> Account: ...

    async def request(
        self,
        method: str,
        path: str,
        *,
        operation: ApiOperation,
        query: Mapping[str, str] | None = None,
        json: Json | None = None,
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (),
    ) -> Reply:
        """`path`: below the base URL, or a whole URL of the same origin (a next link). `json` None: no body. Any 2xx is a Reply, and so
        is a status in `accept`; every other is raised:

        Throttled (429, 503 with Retry-After, a spent quota, our own limits; with `retry_after`, and with a `reservation` where a
        turn is held), AuthenticationFailed (401, after one refresh where the credential can), Conflict (409, 412), NotFound (404,
        410), Rejected (other 4xx, 3xx to elsewhere, answers too large), ServerFault (5xx, 408, a broken answer), TimedOut,
        Unavailable (not sent at all), Invalid (another origin, an address that is not allowed).
        """
        ...


class Apis(Protocol):
    def of(self, account: Account, base_url: str, *, reservation: str | None = None, books: bool = True) -> Api:
        """For one unit of work. `reservation`: the turn that an earlier refusal held for it. `books` False: for a caller who does not
        come back; a refusal by our limits sets no turn aside for it."""
        ...
