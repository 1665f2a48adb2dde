"""Removing a tenant everywhere, in steps that may be killed anywhere and done again.

    mark        messages that came in until now end unworked (flows/purged)
    close       registrations and connections are disabled: nothing new gets in, and workers find no connection to merge into
    empty       credentials, tasks, entities, conflicts, results, cursors, events, parked messages
    remove      registrations and connections themselves

Why this order can be interrupted: whatever says where other things are goes after them. Registrations name blobs and webhook
secrets, connections name cursors and a credential, credentials name versions in the vault, rows and parked messages name bodies,
entities say in which partitions aliases lie. So a purge that died has lost no trace of what it had not removed, and the next one
begins at the top and finds it.

A purge is over when one whole pass removed nothing and no message of the tenant was being worked on when that pass began: a
handler that had read its connection before it was disabled may still write, and its lease says that it is there. A credential stays
while a refresh of it is under way: what that is granted goes into the vault, and only the document knows where.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from syncd.domain.collections import CONNECTIONS, CREDENTIALS, ENTITIES, REGISTRATIONS
from syncd.domain.errors import Conflict, NotFound
from syncd.domain.records import is_alias
from syncd.flows.purged import remove_body
from syncd.flows.purgesurvey import EMPTIED, is_being_refreshed, secret_names
from syncd.ports.documents import Delete, Replace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from syncd.domain.collections import Collection
    from syncd.flows.purged import Purged
    from syncd.flows.purgesurvey import Survey, Waiting
    from syncd.flows.registrations import Registrations
    from syncd.ports.blobs import Blobs
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents
    from syncd.ports.vault import Vault

#: Seconds that one request works, so that it is answered long before anybody loses patience.
BUDGET = 5.0


class _OutOfTime(Exception):
    """This request has done its share."""


@dataclass(slots=True)
class _Round:
    """One request's work. Something is done before the time is looked at, so that every request gets on."""

    tenant_id: str
    deadline: float
    clock: Clock
    removed: Counter[str] = field(default_factory=Counter)
    changes: int = 0
    left: int = 0
    """Credentials that the pass under way could not remove."""

    def did(self, what: str | None, count: int = 1) -> None:
        """Count, and raise _OutOfTime where the time is over. None: a change that is no removal."""
        self.changes += count
        if what is not None and count:
            self.removed[what] += count
        if count and self.clock.monotonic() >= self.deadline:
            raise _OutOfTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    removed: dict[str, int]
    """By this call."""
    waiting: Waiting
    done: bool


class Purge:
    """`survey` finds and counts; `registrations` must be the one that the accepting side uses, because it caches."""

    def __init__(
        self,
        *,
        documents: Documents,
        vault: Vault,
        blobs: Blobs,
        registrations: Registrations,
        survey: Survey,
        purged: Purged,
        clock: Clock,
        budget: float = BUDGET,
    ) -> None:
        self._documents = documents
        self._vault = vault
        self._blobs = blobs
        self._registrations = registrations
        self._survey = survey
        self._purged = purged
        self._clock = clock
        self._budget = budget

    async def run(self, tenant_id: str) -> Progress:
        """Work for `budget` seconds at most, or to the end. Asked again it goes on; after the end it finds nothing."""
        one = _Round(tenant_id, self._clock.monotonic() + self._budget, self._clock)
        await self._purged.mark(tenant_id)
        done = False
        waiting = await self._survey.waiting(tenant_id)
        try:
            while True:
                before = one.changes
                await self._pass(one)
                if one.changes == before:
                    done = waiting.leased == 0 and one.left == 0
                    break
                waiting = await self._survey.waiting(tenant_id)
        except _OutOfTime:
            pass
        return Progress(removed=dict(one.removed), waiting=waiting, done=done)

    async def _pass(self, one: _Round) -> None:
        await self._close(one)
        await self._remove_credentials(one)
        for name, collection in EMPTIED.items():
            async for page in self._survey.pages(collection, one.tenant_id):
                for document in page:
                    for reference, registration_id in _bodies(document) if name in ("events", "parked") else ():
                        one.did("bodies", int(await remove_body(self._blobs, reference, registration_id)))
                await self._remove(one, name, collection, page)
        await self._remove_registrations(one)
        await self._remove_connections(one)

    async def _close(self, one: _Round) -> None:
        async for found in self._of(REGISTRATIONS, one):
            if found.data["enabled"]:
                try:
                    await self._registrations.enable(found.id, False)
                except NotFound:
                    continue
                one.did(None)
        async for found in self._of(CONNECTIONS, one):
            if found.data.get("enabled", True):
                disabled = Replace(found.id, {**found.data, "enabled": False}, found.etag)
                with contextlib.suppress(Conflict):  # somebody edits it; at the end of this pass it is gone in any case
                    await self._documents.write(CONNECTIONS, found.partition, [disabled])
                one.did(None)

    async def _remove_credentials(self, one: _Round) -> None:
        one.left = 0
        async for page in self._survey.pages(CREDENTIALS, one.tenant_id):
            for found in page:
                if is_being_refreshed(found, self._clock.now()):
                    one.left += 1
                    continue
                # Its versions first: only the document knows their name.
                await self._remove_secrets(one, CREDENTIALS, found)
                try:
                    await self._documents.write(CREDENTIALS, found.partition, [Delete(found.id, found.etag)])
                except Conflict:  # a refresh of it has begun
                    one.left += 1
                    continue
                one.did("credentials")

    async def _remove_registrations(self, one: _Round) -> None:
        async for found in self._of(REGISTRATIONS, one):
            async for blob in self._blobs.list(f"webhooks/{found.id}/"):
                one.did("bodies", int(await self._blobs.delete(blob.name)))
            await self._remove_secrets(one, REGISTRATIONS, found)
            try:
                await self._registrations.delete(found.id)
            except NotFound:
                continue  # another purge of the same tenant
            one.did("registrations")

    async def _remove_connections(self, one: _Round) -> None:
        async for found in self._of(CONNECTIONS, one):
            await self._remove(one, "connections", CONNECTIONS, [found])

    async def _remove_secrets(self, one: _Round, collection: Collection, found: Document) -> None:
        for name in secret_names(collection, found):
            one.did("vaultVersions", await self._vault.purge(name))

    async def _of(self, collection: Collection, one: _Round) -> AsyncIterator[Document]:
        async for page in self._survey.pages(collection, one.tenant_id):
            for found in page:
                yield found

    async def _remove(self, one: _Round, name: str, collection: Collection, page: list[Document]) -> None:
        """A page lies in one partition and is no longer than a batch."""
        await self._documents.write(collection, page[0].partition, [Delete(found.id) for found in page])
        aliases = sum(is_alias(found.id) for found in page) if collection is ENTITIES else 0
        one.removed["aliases"] += aliases
        one.removed[name] += len(page) - aliases
        one.did(None, len(page))


def _bodies(document: Document) -> Iterator[tuple[str, str | None]]:
    """(blob, registration) of every body outside the document: of a row, of a parked message, and of what it was before edits."""
    data = document.data
    registration_id = data.get("registrationId")
    for holder in (data, data.get("envelope"), *data.get("history", ())):
        reference = holder.get("bodyRef") if isinstance(holder, dict) else None
        if isinstance(reference, str):
            yield reference, registration_id
