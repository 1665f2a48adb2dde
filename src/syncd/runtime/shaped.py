"""The one place that knows in which shape entities lie in the store (domain/shapes); above it they are wrapped, with ids of ours.

Aliases and the other documents beside entities are left alone, as is every other collection. Flat and old documents are read
whatever the shape is that new ones get, so that the setting may be changed at any time.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import replace

from syncd.domain.collections import ENTITIES, Collection
from syncd.domain.errors import Invalid
from syncd.domain.records import is_alias
from syncd.domain.shapes import entity_of, flat, is_wrapped, lies_wrapped, shown_id, stored_id
from syncd.ports.documents import (
    BATCH_LIMIT,
    PAGE_LIMIT,
    Capabilities,
    Condition,
    Create,
    Delete,
    Document,
    Documents,
    Page,
    Query,
    Replace,
    Upsert,
    Write,
)

#: Before the etag of a document that lies under another system's id: its next write goes there.
_ELSEWHERE = "~"
#: Before a cursor in the old documents that follow ours.
_OLD = "old~"
_LIVE = Condition("deleted", "eq", False)
#: Pages of documents without our fields (old ones, and all aliases) that one page of a list looks through.
_LOOKED_THROUGH = 5


class ShapedDocuments:
    """The port `Documents`. `write_flat`: entities are written flat, and lists of live entities (by id, in one partition) end with the
    old documents, which have no field `deleted` to be found by. An old document takes our fields with its first write and keeps its
    place, so that its other readers find it."""

    def __init__(self, documents: Documents, *, write_flat: bool) -> None:
        self._documents = documents
        self._flat = write_flat

    @property
    def capabilities(self) -> Capabilities:
        return self._documents.capabilities

    # -- reading --

    async def get(self, collection: Collection, partition: str, identifier: str) -> Document | None:
        [found] = await self.get_many(collection, [(partition, identifier)])
        return found

    async def get_many(self, collection: Collection, keys: Sequence[tuple[str, str]]) -> list[Document | None]:
        found = await self._documents.get_many(collection, keys)
        if collection.name != ENTITIES.name:
            return found
        missed = [
            (position, (partition, stored))
            for position, (document, (partition, identifier)) in enumerate(zip(found, keys, strict=True))
            if document is None and (stored := stored_id(partition, identifier)) is not None
        ]
        if missed:
            elsewhere = await self._documents.get_many(collection, [key for _, key in missed])
            for (position, _), document in zip(missed, elsewhere, strict=True):
                found[position] = document
        return [None if document is None else _shown(document) for document in found]

    async def query(self, collection: Collection, query: Query) -> Page:
        if collection.name != ENTITIES.name:
            return await self._documents.query(collection, query)
        listing = self._flat and _LIVE in query.where and query.order is None and not query.across
        if listing and query.cursor is not None and query.cursor.startswith(_OLD):
            return await self._old(collection, query, query.limit, *_position(query.cursor))
        page = await self._documents.query(collection, query)
        items = [_shown(document) for document in page.items]
        if not listing or page.cursor is not None:
            return Page(items, page.cursor)
        left = query.limit - len(items)
        rest = await self._old(collection, query, left or 1, None, "")
        if not left:
            return Page(items, _cursor(None, "") if rest.items or rest.cursor else None)
        return Page(items + rest.items, rest.cursor)

    async def _old(self, collection: Collection, query: Query, limit: int, cursor: str | None, after: str) -> Page:
        """Up to `limit` old documents from the store's `cursor` on, those after the stored id `after`. May be empty with more to come."""
        where = [*(condition for condition in query.where if condition != _LIVE), Condition("deleted", "absent")]
        found: list[Document] = []
        for _ in range(_LOOKED_THROUGH):
            page = await self._documents.query(collection, replace(query, where=where, limit=PAGE_LIMIT, cursor=cursor))
            for document in page.items:
                if (
                    document.id <= after
                    or is_alias(document.id)
                    or entity_of(document.data, document.partition) is None
                ):
                    continue
                if len(found) == limit:
                    return Page([_shown(one) for one in found], _cursor(cursor, found[-1].id))
                found.append(document)
            cursor = page.cursor
            if cursor is None:
                break
        return Page([_shown(one) for one in found], None if cursor is None else _cursor(cursor, ""))

    async def count(
        self, collection: Collection, partition: str, where: Sequence[Condition] = (), *, at_most: int = 10_000
    ) -> int:
        return await self._documents.count(collection, partition, where, at_most=at_most)

    # -- writing --

    async def write(self, collection: Collection, partition: str, writes: Sequence[Write]) -> list[Document | None]:
        if collection.name != ENTITIES.name:
            return await self._documents.write(collection, partition, writes)
        if not self._flat and all(isinstance(one, Create) for one in writes):
            return await self._documents.write(collection, partition, writes)
        stored = await self._documents.write(collection, partition, [self._stored(partition, one) for one in writes])
        # Who removes without an etag has not looked where the document lies.
        elsewhere = [
            Delete(name)
            for one in writes
            if isinstance(one, Delete) and one.etag is None and (name := stored_id(partition, one.id)) is not None
        ]
        for start in range(0, len(elsewhere), BATCH_LIMIT):
            await self._documents.write(collection, partition, elsewhere[start : start + BATCH_LIMIT])
        return [_answer(one, document) for one, document in zip(writes, stored, strict=True)]

    def _stored(self, partition: str, write: Write) -> Write:
        """What the store is told."""
        if isinstance(write, Replace | Delete) and write.etag is not None and write.etag.startswith(_ELSEWHERE):
            name = stored_id(partition, write.id)
            if name is not None:
                write = replace(write, id=name, etag=write.etag[len(_ELSEWHERE) :])
        if self._flat and isinstance(write, Create | Replace | Upsert) and is_wrapped(write.data):
            return replace(write, data=flat(write.data))
        return write

    async def sweep(self, *, limit: int = 10_000) -> int:
        return await self._documents.sweep(limit=limit)


def _shown(document: Document) -> Document:
    if is_alias(document.id) or (_is_ours(document.partition, document.id) and lies_wrapped(document.data)):
        return document
    entity = entity_of(document.data, document.partition)
    if entity is None:
        if _is_ours(document.partition, document.id) or not is_wrapped(document.data):
            return document
        entity = document.data  # an old one that was written wrapped
    identifier = shown_id(document.partition, document.id)
    etag = document.etag if identifier == document.id else _ELSEWHERE + document.etag
    return Document(identifier, document.partition, entity, etag)


def _is_ours(partition: str, identifier: str) -> bool:
    """Does an id of the store say its partition?"""
    return identifier.startswith(partition) and identifier[len(partition) : len(partition) + 1] == "."


def _answer(write: Write, stored: Document | None) -> Document | None:
    """The stored document as the writer gave it, with what the store added."""
    if stored is None or isinstance(write, Delete) or (stored.data is write.data and stored.id == write.id):
        return stored
    if "schema" in stored.data:
        write.data["schema"] = stored.data["schema"]
    etag = stored.etag if stored.id == write.id else _ELSEWHERE + stored.etag
    return Document(write.id, stored.partition, write.data, etag)


def _cursor(cursor: str | None, after: str) -> str:
    return _OLD + base64.urlsafe_b64encode(json.dumps([cursor, after]).encode()).decode()


def _position(cursor: str) -> tuple[str | None, str]:
    try:
        inner, after = json.loads(base64.b64decode(cursor[len(_OLD) :], altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError):
        inner, after = 0, 0
    if not (isinstance(inner, str | None) and isinstance(after, str)):
        raise Invalid("the cursor is not one of ours", errors={"cursor": "take it from the page before"})
    return inner, after
