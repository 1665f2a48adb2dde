"""What was received by a registration: its audit rows, newest first, from all of its partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import AUDIT_ROWS
from syncd.domain.errors import Invalid, NotFound
from syncd.domain.ids import partition_of
from syncd.ports.documents import Condition, Document, Page, Query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from syncd.ports.documents import Documents

#: The first hexadecimal digit of the hash spreads a registration's rows over so many partitions.
_PARTITIONS = tuple("0123456789abcdef")


class ReceivedEvents:
    def __init__(self, *, documents: Documents) -> None:
        self._documents = documents

    async def get(self, event_id: str) -> Document:
        """Raises NotFound: also for an event that was accepted and is not worked on yet."""
        try:
            found = await self._documents.get(AUDIT_ROWS, partition_of(event_id), event_id)
        except Invalid:
            found = None
        if found is None:
            raise NotFound(f"there is no event {event_id!r}")
        return found

    async def list(self, registration_id: str, *, limit: int = 100, cursor: str | None = None) -> Page:
        """Newest first. The cursor is the last row's time and id, so that rows that come meanwhile move nothing."""
        after = _position(cursor)
        streams = [self._rows(f"{registration_id}:{digit}", limit, after) for digit in _PARTITIONS]
        heads = [(row, rows) for rows in streams if (row := await anext(rows, None)) is not None]
        items: list[Document] = []
        while heads and len(items) < limit:
            newest = max(range(len(heads)), key=lambda index: _order(heads[index][0]))
            row, rows = heads.pop(newest)
            items.append(row)
            following = await anext(rows, None)
            if following is not None:
                heads.append((following, rows))
        return Page(items, "~".join(_order(items[-1])) if heads else None)

    async def _rows(self, partition: str, limit: int, after: tuple[str, str] | None) -> AsyncIterator[Document]:
        where = () if after is None else (Condition("timestamp", "le", after[0]),)
        cursor: str | None = None
        while True:
            page = await self._documents.query(
                AUDIT_ROWS,
                Query(partition=partition, where=where, order="timestamp", descending=True, limit=limit, cursor=cursor),
            )
            for row in page.items:
                if after is None or _order(row) < after:
                    yield row
            cursor = page.cursor
            if cursor is None:
                return


def _order(row: Document) -> tuple[str, str]:
    return row.data["timestamp"], row.id


def _position(cursor: str | None) -> tuple[str, str] | None:
    if cursor is None:
        return None
    stamp, separator, identifier = cursor.partition("~")
    if not separator:
        raise Invalid("the cursor is not one of this list", errors={"cursor": "not of this list"})
    return stamp, identifier
