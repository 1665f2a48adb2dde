"""The people at a sample system, as the tour plays them: they look at its records, and change one."""

from __future__ import annotations

import aiohttp

from syncd.domain.errors import SyncdError
from syncd.domain.jsontypes import JsonObject


class Desk:
    """Usable as an async context manager."""

    def __init__(self, url: str, token: str) -> None:
        self._url = f"{url}/desk"
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"}, timeout=aiohttp.ClientTimeout(total=30)
        )

    async def __aenter__(self) -> Desk:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, method: str, path: str, body: JsonObject | None = None) -> JsonObject:
        """Raises SyncdError with what was said instead of a 2xx, aiohttp.ClientError where nobody answers."""
        async with self._session.request(method, self._url + path, json=body) as answer:
            if answer.status != 200:
                raise SyncdError(f"{method} {self._url}{path} was answered {answer.status}: {await answer.text()}")
            found: JsonObject = await answer.json()
            return found

    async def status(self) -> JsonObject:
        return await self.ask("GET", "/status")

    async def records(self) -> list[JsonObject]:
        items: list[JsonObject] = (await self.ask("GET", "/records"))["items"]
        return items

    async def change(self, contact_id: str, *, undated: bool = False, **changes: str) -> JsonObject:
        return await self.ask("POST", f"/contacts/{contact_id}", {"changes": {**changes}, "undated": undated})
