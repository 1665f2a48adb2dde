"""Where a push goes, and what can be done there; and a push whose lease is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.receiving import agreed
from syncd.domain.values import immutable
from syncd.flows.creating import content_hash
from syncd.flows.subscriptions import direction_of, kind_of

if TYPE_CHECKING:
    from syncd.domain.pushing import Sending
    from syncd.flows.subscriptions import Subscriptions
    from syncd.ports.documents import Document
    from syncd.ports.provider import Kind, Provider, Providers, Record, Records


@immutable(kw_only=True)
class Target:
    """The connection that is owed, and what can be done there."""

    connection: Document
    provider: Provider
    records: Records
    kind: Kind

    def can(self, wanted: Sending) -> bool:
        return self.kind.can(wanted.operation)


@immutable(kw_only=True)
class Leased:
    """A push whose lease is ours."""

    target: Target
    document: Document
    wanted: Sending
    term: int
    tried: bool
    """An earlier attempt to create it may have succeeded."""

    @property
    def connection_id(self) -> str:
        return self.target.connection.id

    @property
    def there(self) -> str | None:
        """The id of the object that is to be written, or that was there and is to be made anew."""
        known: str | None = self.document.data["externalIds"].get(self.connection_id)
        return self.wanted.external_id or known

    @property
    def unseen(self) -> bool:
        """To be looked at first: it could be written on a condition, and nothing is known to put there; or it was not there when it
        was written last, which a person may have mended since."""
        if self.document.data["links"][self.connection_id].get("gone") == "anew":
            return not self.tried
        return self.wanted.operation != "create" and self.target.kind.conditional and self.wanted.tag is None

    @property
    def missing(self) -> str:
        """For the person who must say what is to become of an object that is not there: what their word will do."""
        what = f"{self.target.kind.name} {self.wanted.external_id}: it is not there (any more), or is hidden from us. "
        if self.target.kind.can("create"):
            return what + (
                "Replay looks again, and makes it anew if it is still not there. Drop leaves it so: it is told nothing until it is "
                "seen there again"
            )
        return what + "None can be made there. Replay looks again. Drop gives this change up"

    def as_known(self, record: Record) -> bool:
        """Is what shall be deleted still what we knew when it was? Only a change there since then is worth more than the deletion."""
        base, fields = agreed(self.document.data["links"][self.connection_id], record.data), self.target.kind.fields
        if self.wanted.operation != "delete" or base is None:
            return False
        return content_hash(base, fields) == content_hash(record.data, fields)


class Targets:
    def __init__(self, *, subscriptions: Subscriptions, providers: Providers) -> None:
        self._subscriptions = subscriptions
        self._providers = providers

    async def find(self, tenant_id: str, connection_id: str, entity_type: str, *, fresh: bool) -> Target | str:
        """Or why there is nothing to push to. `fresh`: as it is, not as it was a few seconds ago."""
        connection = await self._subscriptions.known(tenant_id, connection_id, fresh=fresh)
        if connection is None:
            return "gone"
        if not connection.data.get("enabled", True):
            return "disabled"
        if direction_of(connection.data, entity_type) not in ("push", "both"):
            return "not pushed"
        provider = self._providers.get(connection.data["integrationId"])
        kind = kind_of(self._providers, connection.data, entity_type)
        if provider is None or provider.records is None or kind is None:
            return "not writable"
        return Target(connection=connection, provider=provider, records=provider.records, kind=kind)
