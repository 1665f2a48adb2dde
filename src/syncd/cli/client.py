"""The admin API as commands use it: plain calls that answer JSON, and every failure as one line for a person."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from syncd.domain.errors import SyncdError
from syncd.domain.jsontypes import Json, JsonObject

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import aiohttp

BASE = "/api/v1"
#: A bulk replay answers within 20 s; everything else is far quicker. Seconds.
TIMEOUT = 60.0
#: Items asked for at a time; the API gives at most 1,000.
PAGE = 200


class ApiError(SyncdError):
    """What the daemon refused, or that it could not be asked. `status` is None where nothing was answered."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Json
    etag: str | None = None
    at: float | None = None
    """The daemon's wall clock, in whole Unix seconds."""


def path(*segments: str) -> str:
    """`/api/v1/a/b`, each segment encoded: ids hold colons, and a typed one may hold anything."""
    return BASE + "".join(f"/{quote(segment, safe='')}" for segment in segments)


class Api:
    """`daemon`: a running daemon answers; False: this process opened the store itself, and nobody works on it."""

    def __init__(self, runner: asyncio.Runner, *, url: str, token: str, token_from: str, daemon: bool) -> None:
        self.url = url.rstrip("/")
        self.daemon = daemon
        self._runner = runner
        self._token = token
        self._token_from = token_from
        self._session: aiohttp.ClientSession | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            self._runner.run(self._session.close())
            self._session = None

    def get(self, where: str, query: Mapping[str, str | None] | None = None) -> Json:
        return self.ask("GET", where, query=query).body

    def post(self, where: str, body: JsonObject | None = None) -> Json:
        return self.ask("POST", where, body).body

    def ask(
        self,
        method: str,
        where: str,
        body: JsonObject | None = None,
        *,
        query: Mapping[str, str | None] | None = None,
        if_match: str | None = None,
        accept: tuple[int, ...] = (),
    ) -> Answer:
        """One request. Query values of None are left out. Raises ApiError for anything but 2xx and what `accept` names."""
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if if_match is not None:
            headers["If-Match"] = f'"{if_match}"'
        text = where + _query(query or {})
        return self._runner.run(self._exchange(method, text, None if body is None else {**body}, headers, accept))

    def pages(self, where: str, query: Mapping[str, str | None] | None = None) -> Iterator[list[JsonObject]]:
        """A list, page after page, to its end. A page may be empty with more to come."""
        cursor: str | None = None
        while True:
            found = self.get(where, {"limit": str(PAGE), **(query or {}), "cursor": cursor})
            yield found["items"]
            cursor = found["cursor"]
            if cursor is None:
                return

    def listed(
        self, where: str, query: Mapping[str, str | None] | None = None, *, limit: int | None = None, paged: bool = True
    ) -> tuple[list[JsonObject], bool]:
        """At most `limit` items of a list (None: all), and whether there are more."""
        if not paged:
            items = self.get(where, query)["items"]
            return items[:limit], limit is not None and len(items) > limit
        found: list[JsonObject] = []
        asked = {**(query or {}), "limit": str(PAGE if limit is None else min(PAGE, limit + 1))}
        for page in self.pages(where, asked):
            found += page
            if limit is not None and len(found) > limit:
                return found[:limit], True
        return found, False

    def pause(self, seconds: float) -> None:
        """Between two looks at something that gives no signal. A server of ours in this process goes on meanwhile."""
        self._runner.run(asyncio.sleep(seconds))  # the daemon tells of changes only to those who stream its events

    async def _exchange(
        self, method: str, where: str, body: Json, headers: dict[str, str], accept: tuple[int, ...]
    ) -> Answer:
        import aiohttp  # here: `syncd --help` and `syncd config` must not pay for it
        from yarl import URL

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT, connect=10)
            self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        try:
            async with self._session.request(
                method, URL(self.url + where, encoded=True), json=body, headers=headers, allow_redirects=False
            ) as response:
                data, status = await response.read(), response.status
                kind, answered = response.content_type, response.headers
        except aiohttp.InvalidURL:
            raise ApiError(f"{self.url!r} is not an address") from None
        except aiohttp.ClientConnectorError as error:
            raise ApiError(f"nothing answers at {self.url} ({_reason(error)}): does the daemon run there?") from None
        except TimeoutError:
            raise ApiError(f"{self.url} did not answer within {TIMEOUT:g} s") from None
        except aiohttp.ClientError as error:
            raise ApiError(f"the connection to {self.url} broke: {str(error) or type(error).__name__}") from None
        if (200 <= status < 300 or status in accept) and (not data or kind.endswith("json")):
            etag = answered.get("ETag", "").removeprefix("W/").strip('"')
            return Answer(status, json.loads(data) if data else None, etag or None, _date(answered.get("Date")))
        if kind.endswith("json") and status >= 400:
            raise self._refused(status, json.loads(data), answered.get("Retry-After"))
        raise ApiError(f"{self.url} does not answer as syncd does: {status} {kind}", status=status)

    def _refused(self, status: int, problem: Json, retry_after: str | None) -> ApiError:
        if not isinstance(problem, dict) or "detail" not in problem:
            return ApiError(f"{self.url} does not answer as syncd does: {status}", status=status)
        text = problem["detail"]
        if status == 401:
            text += f" (the token is the one of {self._token_from})"
        if status in (429, 503) and retry_after:
            text += f"; try again in {retry_after} s"
        if "correlationId" in problem:
            text += f" (correlation id {problem['correlationId']})"
        return ApiError(text + _fields(text, problem.get("errors", [])), status=status)


def _query(given: Mapping[str, str | None]) -> str:
    pairs = [f"{name}={quote(value, safe='')}" for name, value in given.items() if value is not None]
    return f"?{'&'.join(pairs)}" if pairs else ""


def _fields(said: str, errors: list[JsonObject]) -> str:
    """What is wrong with which field, as far as the sentence before has not said it."""
    rest = [f"{one['field']}: {one['detail']}" for one in errors if one["detail"] not in said]
    if len(errors) == 1 and rest:
        return f" ({rest[0]})"
    return "".join(f"\n  {line}" for line in rest)


def _reason(error: aiohttp.ClientConnectorError) -> str:
    number = error.os_error.errno
    return os.strerror(number) if number and number > 0 else error.strerror or type(error.os_error).__name__


def _date(header: str | None) -> float | None:
    try:
        return None if header is None else parsedate_to_datetime(header).timestamp()
    except ValueError:
        return None
