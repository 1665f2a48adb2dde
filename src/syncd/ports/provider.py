"""A provider: one SaaS system, described in one file of adapters/providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from syncd.domain.events import ReceivedEvent
from syncd.domain.fields import ALL_FIELDS, Fields
from syncd.domain.jsontypes import Json, JsonObject
from syncd.domain.signatures import SignatureScheme
from syncd.domain.values import immutable
from syncd.ports.api import Api


class WebhookSource(Protocol):
    """How a provider's webhooks are signed and read. Pure: no I/O, no clock, and the same answer for the same input."""

    @property
    def scheme(self) -> SignatureScheme:
        """Its name is unique over all providers."""
        ...

    def event(self, headers: Mapping[str, str], body: bytes) -> ReceivedEvent | None:
        """What an authentic delivery says; None where it says nothing about an object (a ping).

        `headers` are those of the scheme's `kept_headers` that came, names in lower case. Raises NotUnderstood, with a reason
        for a person, for whatever cannot be read; never anything else.
        """
        ...


#: What happens when a create is sent again whose answer was lost (guarantees, G4). `idempotent`: the provider knows the key and
#: answers as before. `lookup`: the object carries a marker and is looked for first. `blind`: nobody can tell, so it is never
#: repeated by itself. `none`: objects cannot be created here.
Creates = Literal["idempotent", "lookup", "blind", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What can be done with one type of object. Flows ask for these facts, never for a provider's name."""

    name: str
    """The entity type."""
    fields: Fields = ALL_FIELDS
    """What can be written."""
    creates: Creates = "none"
    updates: bool = False
    deletes: bool = False
    conditional: bool = False
    """Updates and deletes are refused with Conflict where `version` is not the object's current one any more."""
    incremental: bool = False
    """`Fetch.since` is honoured."""
    deletes_visible: bool = False
    """Deleted objects appear in incremental pages, as records with `deleted`."""
    lookup_delay: float = 5.0
    """Seconds after a create without an answer before `find` can be believed."""

    def can(self, operation: Literal["create", "update", "delete"]) -> bool:
        if operation == "create":
            return self.creates != "none"
        return self.updates if operation == "update" else self.deletes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Which page is asked for."""

    kind: str
    since: float | None = None
    """Unix seconds: only what was changed at or after it; None: everything."""
    cursor: str | None = None
    """`RecordPage.next` of the page before; None: the first."""
    limit: int = 100
    validator: str | None = None
    """`RecordPage.validator` of the last first page of the same kind with a `since`, handed back with the next first page."""


@immutable(kw_only=True)
class Record:
    """One object as the provider shows it."""

    external_id: str
    data: JsonObject
    """Its content, in the same shape as in the provider's webhooks. Without what changes by itself (etags, times of reading)."""
    updated_at: float | None = None
    """Unix seconds, by the provider's clock; None where it does not say."""
    version: str | None = None
    """What a conditional write is conditional on (an ETag, a revision)."""
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An item of a page that is no record: kept aside with its reason, and the page goes on."""

    position: int
    reason: str
    raw: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPage:
    records: Sequence[Record]
    unreadable: Sequence[Unreadable] = ()
    next: str | None = None
    """Where the next page is; None: this was the last. Opaque to everybody but the provider; same origin, checked by `Api`."""
    served_at: float | None = None
    """The provider's clock when it answered (`Date`), Unix seconds."""
    validator: str | None = None
    """Of a first page: what to ask with the next time, so that no news costs nothing; None: forget the one before. Opaque. It
    stands for all pages of its run, so it is kept only once the last of them is stored."""
    unchanged: bool = False
    """Nothing changed since the page that `Fetch.validator` came from: there are no records, and this was the last page."""


class Records(Protocol):
    """Reading and writing a provider's objects. Stateless: whatever an answer depends on is in the arguments.

    Everything may raise what `Api.request` raises. An answer that cannot be what it should be (HTML, a 200 with an error inside, a
    list that is none) is a ServerFault, or Rejected where it says that the request was wrong. Never anything but SyncdErrors.
    """

    def base_url(self, settings: JsonObject) -> str:
        """Where the connection's API is, without a slash at the end. Raises Invalid."""
        ...

    def check(self, settings: JsonObject) -> dict[str, str]:
        """What is wrong with a connection's settings: field path below them (`types.contact.list`) -> text. Empty: nothing. Whatever
        they hold, it raises nothing; everything else here raises Invalid for settings that it complains about."""
        ...

    def kinds(self, settings: JsonObject) -> Mapping[str, Kind]:
        """The types of objects that a connection with these settings has."""
        ...

    async def test(self, api: Api) -> JsonObject:
        """One cheap authenticated call; what it tells about the account, for a person."""
        ...

    async def fetch(self, api: Api, fetch: Fetch) -> RecordPage: ...

    async def read(self, api: Api, kind: str, external_id: str) -> Record | None:
        """The object now; None where it is not there (any more)."""
        ...

    async def create(self, api: Api, kind: str, data: JsonObject, *, key: str) -> Record:
        """`data` holds writable fields. `key`, 32 hex digits, stays the same however often this create is sent."""
        ...

    async def find(self, api: Api, kind: str, data: JsonObject, *, key: str) -> Record | None:
        """The object that an earlier create with this key made, where `creates` is `lookup`."""
        ...

    async def update(
        self, api: Api, kind: str, external_id: str, changes: JsonObject, *, whole: JsonObject, version: str | None
    ) -> Record | None:
        """`changes`: the writable fields that differ from what the provider has, None where one is to be emptied; `whole`: all
        writable fields, for a provider that replaces objects. None: the object is not there (any more). Raises Conflict where
        `version` is not the current one."""
        ...

    async def delete(self, api: Api, kind: str, external_id: str, *, version: str | None) -> None:
        """Deleting what is not there succeeds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """What a provider's file declares as `PROVIDER`. Each capability is there or None; flows ask for the capability, never for
    the name."""

    name: str
    """The `integrationId` that connections and registrations use."""
    title: str
    webhooks: WebhookSource | None = None
    records: Records | None = None
    read_event: Callable[[JsonObject, ReceivedEvent], ReceivedEvent] | None = None
    """For webhooks of the generic shape (domain/events): from a connection's settings and such an event, the event with `data` as
    `Record.data`. Pure. Raises NotUnderstood, never anything else; None: it is taken as it comes."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Calls per minute that suit the provider, where settings name none: `all`, `fetch`, `create`, `update`, `delete`."""
    many_systems: bool = False
    """Its connections lead to systems that have nothing to do with each other: limits are kept for each base URL's origin."""


Providers = Mapping[str, Provider]
"""By name, sorted."""


def schemes_of(providers: Providers) -> dict[str, SignatureScheme]:
    """The signature schemes of all providers by name. Raises ValueError where two share one."""
    found: dict[str, SignatureScheme] = {}
    for provider in providers.values():
        if provider.webhooks is None:
            continue
        scheme = provider.webhooks.scheme
        if scheme.name in found:
            raise ValueError(f"two providers declare the signature scheme {scheme.name!r}")
        found[scheme.name] = scheme
    return found
