"""The cursor document of a pull: claimed, moved and given up by compare-and-set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncd.domain.collections import CURSORS
from syncd.domain.errors import Conflict, LeaseLost, Overloaded, SyncdError
from syncd.domain.pullcursor import begun, blank, finished, free_at, given_up, leased, query_hash
from syncd.ports.documents import Create, Replace

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents
    from syncd.ports.provider import Kind, Records

_ATTEMPTS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is pulled. `run_id` is the same for every slice of one run."""

    connection: Document
    records: Records
    kind: Kind
    run_id: str
    full: bool = False
    since: float | None = None

    @property
    def tenant_id(self) -> str:
        return str(self.connection.data["tenantId"])


class PullCursors:
    """`owner` is `<replica>/<boot>`. `lag`: seconds by which an incremental pull goes back behind the last one."""

    def __init__(self, *, documents: Documents, clock: Clock, owner: str, lag: float = 60.0) -> None:
        self._documents = documents
        self._clock = clock
        self._owner = owner
        self._lag = lag

    async def claim(self, source: Source, *, limit: int) -> Document:
        """The cursor with the run in it, leased to us unless the run is finished; `limit`: records of a page, where it is new. Raises
        Overloaded while another run has it."""
        connection, kind = source.connection, source.kind
        query = query_hash(connection.data.get("settings", {}), kind.name)
        for _ in range(_ATTEMPTS):
            found = await self._documents.get(CURSORS, connection.id, kind.name)
            now = self._clock.now()
            data = blank(source.tenant_id, connection.id, kind.name) if found is None else found.data
            until = free_at(data, source.run_id)
            if until is not None and until > now:
                raise Overloaded(f"another run pulls {kind.name} of {connection.id}", retry_after=until - now)
            data = begun(
                data,
                run_id=source.run_id,
                query=query,
                full=source.full,
                incremental=kind.incremental,
                since=source.since,
                lag=self._lag,
                limit=limit,
            )
            if "finished" in data["run"]:
                assert found is not None
                return found
            try:
                return await self._put(connection.id, kind.name, found, leased(data, owner=self._owner, now=now))
            except Conflict:
                continue
        raise Overloaded(f"the cursor of {connection.id} is being changed by too many at once", retry_after=1.0)

    async def write(self, source: Source, cursor: Document, data: JsonObject) -> Document:
        """Raises LeaseLost: whoever changed it has taken the run over."""
        try:
            return await self._put(source.connection.id, source.kind.name, cursor, data)
        except Conflict:
            raise LeaseLost(f"another run has taken over the cursor of {source.connection.id}") from None

    async def end(self, source: Source, *, error: str) -> Document:
        cursor = await self._documents.get(CURSORS, source.connection.id, source.kind.name)
        if cursor is None or cursor.data.get("run", {}).get("id") != source.run_id:
            raise LeaseLost(f"the cursor of {source.connection.id} is gone")
        return await self.write(source, cursor, finished(cursor.data, now=self._clock.now(), error=error))

    async def give_up(self, source: Source) -> None:
        """The lease, so that whoever comes next need not wait for its end. Best effort: it ends by itself."""
        try:
            cursor = await self._documents.get(CURSORS, source.connection.id, source.kind.name)
            if cursor is not None and cursor.data.get("run", {}).get("id") == source.run_id:
                await self.write(source, cursor, given_up(cursor.data))
        except SyncdError:
            return

    async def _put(self, partition: str, name: str, found: Document | None, data: JsonObject) -> Document:
        write = Create(name, data) if found is None else Replace(name, data, found.etag)
        [stored] = await self._documents.write(CURSORS, partition, [write])
        assert stored is not None
        return stored
