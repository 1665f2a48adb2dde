"""Documents: the place where state lives and every decision is taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from syncd.domain.collections import Collection
from syncd.domain.jsontypes import Json, JsonObject
from syncd.domain.values import immutable

#: A write's `ttl` that keeps the document whatever its collection says.
FOREVER = math.inf
#: Most documents of one atomic batch, and most bytes of one batch and of one document. Cosmos DB's limits, kept on every
#: backend: https://learn.microsoft.com/azure/cosmos-db/concepts-limits (100 operations, 2 MB).
BATCH_LIMIT = 100
BATCH_BYTES = 2_000_000
DOCUMENT_BYTES = 2_000_000
#: Most items of one page.
PAGE_LIMIT = 1000


@immutable()
class Document:
    """One stored document. `data` holds its fields without the id; treat it as your own copy."""

    id: str
    partition: str
    data: JsonObject
    etag: str
    """Opaque, of characters that an HTTP entity tag may have between its quotes."""

    def as_json(self) -> JsonObject:
        return {"id": self.id, **self.data}


@immutable()
class Create:
    """Put if absent; Conflict where the id exists."""

    id: str
    data: JsonObject
    ttl: float | None = None
    """Seconds from this write; None: as the collection says; FOREVER: never."""


@immutable()
class Replace:
    """Compare-and-set: written only while the stored etag is `etag`; Conflict otherwise, also where it is gone."""

    id: str
    data: JsonObject
    etag: str
    ttl: float | None = None


@immutable()
class Upsert:
    """Last writer wins. For roll-ups and caches; a decision never rests on it."""

    id: str
    data: JsonObject
    ttl: float | None = None


@immutable()
class Delete:
    """Remove. With an etag, Conflict where it changed or is gone; without, removing what is not there succeeds."""

    id: str
    etag: str | None = None


Write = Create | Replace | Upsert | Delete


@dataclass(frozen=True, slots=True)
class Condition:
    """`path op value`; `path` is one of the collection's declared paths, or `id`, which is compared with whole ids. A missing field
    satisfies only `absent`."""

    path: str
    op: Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "absent", "present"]
    value: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to read. `partition=None` must be said with `across=True`: cold paths only (planner, dashboard, sweeps)."""

    partition: str | None = None
    across: bool = False
    where: Sequence[Condition] = ()
    order: str | None = None
    """A declared path; documents without it are left out. None: by id."""
    descending: bool = False
    limit: int = 100
    cursor: str | None = None
    """From the page before. Keyset: documents that came meanwhile neither repeat nor hide others."""


@dataclass(frozen=True, slots=True)
class Page:
    items: list[Document]
    cursor: str | None
    """None at the end."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do beyond the core; asked before use, never assumed."""

    backup: bool = False
    extra: frozenset[str] = field(default_factory=frozenset)


class Documents(Protocol):
    """Collections of JSON documents, each in a partition.

    Core, on every backend: put-if-absent, compare-and-set by etag, an atomic batch in one partition (at most BATCH_LIMIT writes
    and BATCH_BYTES), point reads, queries over declared paths with keyset cursors, time to live.

    A write returns when it is durable. A read may be one write of another process stale; what follows from it must be decided
    on the document that a successful write returns. Expired documents are not returned by any read.

    Every method may raise Overloaded (try again after `retry_after`) or Unavailable. Invalid: an undeclared collection or path,
    a batch or document over its limit, a cursor of another query.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    async def get(self, collection: Collection, partition: str, identifier: str) -> Document | None:
        """Point read."""
        ...

    async def get_many(self, collection: Collection, keys: Sequence[tuple[str, str]]) -> list[Document | None]:
        """Point reads of (partition, id) pairs, answered in their order."""
        ...

    async def write(self, collection: Collection, partition: str, writes: Sequence[Write]) -> list[Document | None]:
        """All of `writes` in one atomic step, or none. One answer per write: the stored document, None for a Delete.

        Raises Conflict with the index of the first write that lost; nothing was written then.
        """
        ...

    async def query(self, collection: Collection, query: Query) -> Page: ...

    async def count(
        self, collection: Collection, partition: str, where: Sequence[Condition] = (), *, at_most: int = 10_000
    ) -> int:
        """How many match in one partition; `at_most` means that many or more."""
        ...

    async def sweep(self, *, limit: int = 10_000) -> int:
        """Remove up to `limit` expired documents and say how many; 0 where the service expires by itself."""
        ...
