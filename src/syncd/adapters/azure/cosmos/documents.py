"""The port `Documents` on Cosmos DB: point reads, queries in one partition, transactional batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from syncd.adapters.azure.cosmos.account import Account, Charge
from syncd.adapters.azure.cosmos.layout import Layout
from syncd.adapters.azure.cosmos.selection import (
    Statement,
    compile_count,
    compile_points,
    compile_query,
    cursor_after,
)
from syncd.adapters.azure.cosmos.stored import etag_of, expired, fields_of, given_id, stored_id
from syncd.adapters.azure.cosmos.writing import writing
from syncd.domain.collections import Collection
from syncd.domain.jsontypes import Json, JsonObject
from syncd.domain.keyset import check_declared
from syncd.ports.clock import Clock
from syncd.ports.documents import Capabilities, Condition, Document, Page, Query, Write

if TYPE_CHECKING:
    from azure.cosmos.aio import ContainerProxy

#: Ids of one query. The text of a query holds 512 KB (concepts-limits).
_POINTS = 200


class CosmosDocuments:
    """Time to live is the service's: `sweep` has nothing to do. What it has not deleted yet is left out of point reads, and a create
    takes its place; a Replace with its etag brings it back, which loses nothing, as nobody has written it since."""

    capabilities = Capabilities()

    def __init__(self, account: Account, *, clock: Clock) -> None:
        self._account = account
        self._clock = clock

    @property
    def skew(self) -> float:
        """Seconds by which the clock is proved to be ahead of the account's, below 0 behind it; 0 before the first answer."""
        return self._account.skew.seconds

    async def get(self, collection: Collection, partition: str, identifier: str) -> Document | None:
        [document] = await self.get_many(collection, [(partition, identifier)])
        return document

    async def get_many(self, collection: Collection, keys: Sequence[tuple[str, str]]) -> list[Document | None]:
        check_declared(collection)
        layout = await self._account.layout(collection)
        places = [(layout.key_of(partition), stored_id(identifier)) for partition, identifier in keys]
        wanted: dict[str, list[str]] = {}
        for key, name in dict.fromkeys(places):
            wanted.setdefault(key, []).append(name)
        found: dict[tuple[str, str], JsonObject] = {}

        async def one(key: str, name: str) -> None:
            item = await self._account.item(collection, key, name)
            if item is not None:
                found[key, name] = item

        async def several(key: str, names: Sequence[str]) -> None:
            for item in await self._rows(collection, compile_points(key, names)):
                found[key, item["id"]] = item

        await asyncio.gather(
            *(one(key, names[0]) for key, names in wanted.items() if len(names) == 1),
            *(
                several(key, names[start : start + _POINTS])
                for key, names in wanted.items()
                if len(names) > 1
                for start in range(0, len(names), _POINTS)
            ),
        )
        # An item is handed out once: who asks for it twice may change one of the two.
        repeated = len(set(places)) < len(places)
        return [
            self._document(layout, _own(found.get(place)) if repeated else found.get(place), partition)
            for place, (partition, _) in zip(places, keys, strict=True)
        ]

    async def write(self, collection: Collection, partition: str, writes: Sequence[Write]) -> list[Document | None]:
        check_declared(collection)
        return await writing(self._account, collection, partition, writes, now=self._clock.now())

    async def query(self, collection: Collection, query: Query) -> Page:
        check_declared(collection)
        layout = await self._account.layout(collection)
        rows = await self._rows(collection, compile_query(layout, query, self._clock.now()))
        page = rows[: query.limit]
        cursor = cursor_after(layout, query, page[-1]) if len(rows) > query.limit else None
        items = [self._document(layout, row, query.partition or layout.partition_of(row)) for row in page]
        return Page([item for item in items if item is not None], cursor)

    async def count(
        self, collection: Collection, partition: str, where: Sequence[Condition] = (), *, at_most: int = 10_000
    ) -> int:
        """All are counted, by the index: that is cheaper here than reading `at_most` of them."""
        check_declared(collection)
        layout = await self._account.layout(collection)
        # One number a page of the service's work.
        counted = await self._rows(collection, compile_count(layout, partition, where, self._clock.now()))
        return min(at_most, sum(counted))

    async def sweep(self, *, limit: int = 10_000) -> int:
        return 0

    # -- reading --

    async def _rows(self, collection: Collection, statement: Statement) -> list[Json]:
        async def rows(container: ContainerProxy, _: Layout, charge: Charge) -> list[Json]:
            # Without a partition key the SDK asks all partitions and merges what they answer.
            ask = partial(
                container.query_items,
                statement.text,
                parameters=statement.parameters,
                max_item_count=statement.page,
                response_hook=charge,
            )
            return [row async for row in (ask() if statement.key is None else ask(partition_key=statement.key))]

        return await self._account.on("query", collection, rows, read=True) or []

    def _document(self, layout: Layout, item: JsonObject | None, partition: str) -> Document | None:
        if item is None or expired(item, self._clock.now()) or not layout.holds(item, partition):
            return None
        return Document(given_id(item["id"]), partition, layout.collection.upgraded(fields_of(item)), etag_of(item))


def _own(item: JsonObject | None) -> JsonObject | None:
    """A copy as deep as JSON is."""
    if item is None:
        return None
    copied: JsonObject = _copied(item)
    return copied


def _copied(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _copied(one) for name, one in value.items()}
    return [_copied(one) for one in value] if isinstance(value, list) else value
