"""What was given up because a system was away comes back by itself, once, when the system answers again.

Every answer with a good status is noted for its connection: in memory at once, and in the document `answered` among its cursors at most
once a minute, which is what another replica goes by. A message that is parked as `exhausted` is replayed where its connection answered
after it was parked. Its envelope says so from then on: should it be exhausted again, a person has to look.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from syncd.domain.collections import CURSORS
from syncd.domain.errors import Conflict, NotFound, SyncdError
from syncd.domain.times import iso, parse
from syncd.flows.parked import Filter
from syncd.flows.together import together
from syncd.ports.documents import PAGE_LIMIT, Upsert

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from syncd.domain.jsontypes import Json
    from syncd.flows.parked import Parked
    from syncd.ports.api import Account, Api, ApiOperation, Apis, Reply
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents

NAME = "answered"
#: Seconds between two writes of one connection's note.
_WRITTEN_EVERY = 60.0
#: Connections kept in memory; of the others the document is read.
_CONNECTIONS = 10_000
#: Pages of parked messages looked at in one pass; the next pass goes on behind them.
_PAGES_PER_PASS = 10
#: Sent again at the same moment.
_AT_ONCE = 16


class Answered:
    """When each connection's system last gave a good answer."""

    def __init__(self, *, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock
        self._seen: dict[str, float] = {}
        self._written: dict[str, float] = {}

    async def saw(self, account: Account) -> None:
        """Raises nothing: the answer that it is about must not be lost over it."""
        name, now = account.connection_id, self._clock.now()
        self._seen[name] = now
        if now - self._written.get(name, -_WRITTEN_EVERY) < _WRITTEN_EVERY:
            return
        self._written[name] = now
        for kept in (self._seen, self._written):
            if len(kept) > _CONNECTIONS:
                del kept[next(iter(kept))]
        data = {
            "tenantId": account.tenant_id,
            "connectionId": name,
            "kind": NAME,
            "at": iso(now),
            "schema": CURSORS.schema,
        }
        try:
            await self._documents.write(CURSORS, name, [Upsert(NAME, data)])
        except SyncdError:
            self._written.pop(name, None)

    async def at(self, connection_id: str) -> float | None:
        """Unix seconds; None: never, as far as anybody knows."""
        found = await self._documents.get(CURSORS, connection_id, NAME)
        times = [self._seen[connection_id]] if connection_id in self._seen else []
        if found is not None:
            times.append(parse(found.data["at"]))
        return max(times, default=None)


class NotedApis:
    """The port `Apis`, with every good answer noted."""

    def __init__(self, apis: Apis, answered: Answered) -> None:
        self._apis = apis
        self._answered = answered

    def of(self, account: Account, base_url: str, *, reservation: str | None = None, books: bool = True) -> Api:
        return _NotedApi(self._apis.of(account, base_url, reservation=reservation, books=books), self._answered)


class _NotedApi:
    def __init__(self, api: Api, answered: Answered) -> None:
        self._api = api
        self._answered = answered

    @property
    def account(self) -> Account:
        return self._api.account

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
        reply = await self._api.request(
            method, path, operation=operation, query=query, json=json, headers=headers, accept=accept
        )
        await self._answered.saw(self._api.account)
        return reply


class Exhausted:
    """A duty of maintenance."""

    def __init__(self, *, parked: Parked, answered: Answered) -> None:
        self._parked = parked
        self._answered = answered
        self._cursor: str | None = None

    async def replay(self) -> int:
        """How many were sent again. Killed anywhere, the next pass resumes it: a message on its way back is replayed on."""
        told: list[str] = []
        answers: dict[str, float | None] = {}

        async def again(identifier: str) -> None:
            try:
                await self._parked.replay(identifier, by_itself=True)
            except (Conflict, NotFound):
                return  # a person was quicker
            told.append(identifier)

        for _ in range(_PAGES_PER_PASS):
            page = await self._parked.list(Filter(bin="exhausted"), limit=PAGE_LIMIT, cursor=self._cursor)
            self._cursor = page.cursor
            due: list[str] = []
            for document in page.items:
                data = document.data
                connection = data.get("connectionId")
                begun = data["status"] == "replaying" and data.get("byItself") is True
                if connection is None or data["envelope"].get("resumed") or (data["status"] != "parked" and not begun):
                    continue
                if connection not in answers:
                    answers[connection] = await self._answered.at(connection)
                at = answers[connection]
                if not begun and (at is None or at <= parse(data["parkedAt"])):
                    continue
                due.append(document.id)
            await together([partial(again, identifier) for identifier in due], most=_AT_ONCE)
            if self._cursor is None:
                break
        return len(told)
