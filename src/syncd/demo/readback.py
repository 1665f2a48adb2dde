"""The admin API as the tour uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from syncd.domain.errors import SyncdError
from syncd.domain.jsontypes import JsonObject

#: Most that a page of the API holds.
PAGE = 1000
#: Between two looks at something that gives no signal. Seconds.
LOOK = 0.05


class Api:
    """Asks one of several daemons, and stays with it until nobody answers there. `token_file`: where their admin token is."""

    def __init__(self, urls: Sequence[str], token_file: Path) -> None:
        self._urls = urls
        self._asked = 0
        self._token_file = token_file
        # A kept connection would be a broken one after the kill.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True), timeout=aiohttp.ClientTimeout(total=30)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ready(self, url: str) -> bool:
        """Does /readyz of that daemon answer 200 now?"""
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self._session.get(f"{url}/readyz") as answer:
                return answer.status == 200
        return False

    async def ask(
        self, method: str, path: str, body: JsonObject | None = None, query: Mapping[str, str] | None = None
    ) -> JsonObject:
        """Raises SyncdError with what was said instead of a 2xx, aiohttp.ClientError where nobody answers."""
        for _ in self._urls[1:]:
            asked = self._asked
            try:
                return await self._ask(asked, method, path, body, query)
            except aiohttp.ClientConnectorError:  # nobody listens: nothing was asked, and the next one can be
                if self._asked == asked:
                    self._asked = (asked + 1) % len(self._urls)
        return await self._ask(self._asked, method, path, body, query)

    async def _ask(
        self, asked: int, method: str, path: str, body: JsonObject | None, query: Mapping[str, str] | None
    ) -> JsonObject:
        token = await asyncio.to_thread(self._token_file.read_text)
        async with self._session.request(
            method,
            f"{self._urls[asked]}/api/v1{path}",
            json=body,
            params=query or {},
            headers={"Authorization": f"Bearer {token.strip()}"},
        ) as answer:
            if not 200 <= answer.status < 300:
                raise SyncdError(f"{method} {path} was answered {answer.status}: {await answer.text()}")
            found: JsonObject = await answer.json()
            return found

    async def queues(self) -> list[JsonObject]:
        items: list[JsonObject] = (await self.ask("GET", "/queues"))["items"]
        return items

    async def waiting(self) -> int:
        """Messages that are ready, leased or scheduled, as far as the backend counts them."""
        return sum(
            int(queue[state] or 0) for queue in await self.queues() for state in ("ready", "leased", "scheduled")
        )

    async def all(self, path: str, **query: str) -> list[JsonObject]:
        items: list[JsonObject] = []
        cursor = ""
        while True:
            page = await self.ask(
                "GET", path, query={**query, "limit": str(PAGE)} | ({"cursor": cursor} if cursor else {})
            )
            items += page["items"]
            if page["cursor"] is None:
                return items
            cursor = page["cursor"]
