"""The port `Caller` over aiohttp: one request, every status an answer, every failure one of ours."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from syncd.adapters.http.errormap import mapped
from syncd.adapters.http.reading import ENCODINGS, read_bounded
from syncd.adapters.http.ssrf import OutgoingPolicy
from syncd.domain.errors import Invalid
from syncd.ports.caller import Answer

if TYPE_CHECKING:
    from syncd.ports.caller import Call
    from syncd.ports.clock import Clock
    from syncd.ports.observe import Observe

#: Redirects followed inside one call.
MAX_REDIRECTS = 5
_KEEP_METHOD = frozenset({307, 308})
_ANY_METHOD = frozenset({301, 302, 303, 307, 308})
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f]")


class HttpCaller:
    """Redirects are followed to the same origin only (scheme, host and port), and only where the method stays what it was: 307 and
    308 always, the others for GET and HEAD. Everything else is answered as it came.
    """

    def __init__(
        self, *, session: aiohttp.ClientSession, policy: OutgoingPolicy, clock: Clock, observe: Observe, user_agent: str
    ) -> None:
        self._session = session
        self._policy = policy
        self._clock = clock
        self._observe = observe
        self._user_agent = user_agent

    async def call(self, call: Call) -> Answer:
        url = _url(call.url)
        target = f"{call.method} {url.scheme}://{url.raw_authority.rpartition('@')[2]}{url.raw_path}"
        headers = self._headers(call)
        seen = SimpleNamespace(connected=False)
        started = self._clock.monotonic()
        status = 0
        try:
            async with asyncio.timeout(call.timeout):
                answer = await self._follow(call, url, headers, seen, started)
                status = answer.status
                return answer
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            ours = mapped(error, connected=seen.connected, target=target)
            if ours is None:
                raise
            raise ours from error
        finally:
            self._observe("http_call", target=target, status=status, duration=self._clock.monotonic() - started)

    def _headers(self, call: Call) -> dict[str, str]:
        headers = {"User-Agent": self._user_agent, "Accept-Encoding": ENCODINGS, **call.headers}
        for name, secret in call.secret_headers.items():
            headers[name] = secret.reveal()
        for name, value in headers.items():
            # Checked here, because the library's own message might hold the value.
            if _FORBIDDEN.search(name) or _FORBIDDEN.search(value):
                rule = "no line breaks or control characters"
                raise Invalid(f"the value of header {name!r} cannot be sent: {rule}", errors={name: rule})
        return headers

    async def _follow(
        self, call: Call, url: URL, headers: dict[str, str], seen: SimpleNamespace, started: float
    ) -> Answer:
        for hop in range(MAX_REDIRECTS + 1):
            self._policy.check_url(url, secret=bool(call.secret_headers))
            async with self._session.request(
                call.method,
                url,
                headers=headers,
                data=call.body or None,
                allow_redirects=False,
                skip_auto_headers=() if call.body else ("Content-Type",),
                trace_request_ctx=seen,
            ) as response:
                following = _next(call.method, url, response) if hop < MAX_REDIRECTS else None
                if following is not None:
                    url = following
                    continue
                body, truncated = await read_bounded(response, call.max_response_bytes)
                return Answer(
                    status=response.status,
                    headers={name.lower(): value for name, value in response.headers.items()},
                    body=body,
                    duration=self._clock.monotonic() - started,
                    truncated=truncated,
                )
        raise AssertionError("the last hop is always answered")


def _url(text: str) -> URL:
    if _FORBIDDEN.search(text) or text != text.strip():
        raise Invalid("this URL is not allowed: it holds a space or a control character", errors={"url": "no spaces"})
    try:
        return URL(text)
    except ValueError as error:
        raise Invalid(f"this is not a URL: {error}", errors={"url": "https://host/path"}) from error


def _next(method: str, url: URL, response: aiohttp.ClientResponse) -> URL | None:
    """Where to ask instead; None where the answer stands."""
    allowed = _ANY_METHOD if method in ("GET", "HEAD") else _KEEP_METHOD
    location = response.headers.get("Location")
    if response.status not in allowed or not location:
        return None
    try:
        following = url.join(URL(location))
        same = following.absolute and following.origin() == url.origin()
    except ValueError:
        return None
    return following.with_fragment(None) if same else None
