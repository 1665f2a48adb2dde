"""One exchange over the session: the request, its redirects inside the origin, and a bounded answer; every failure one of ours.

What the port `Caller` and the port `Api` have in common.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping

import aiohttp
from yarl import URL

from syncd.adapters.http.client import REACH, RESENT, Reach
from syncd.adapters.http.errormap import mapped
from syncd.adapters.http.reading import read_bounded
from syncd.adapters.http.ssrf import OutgoingPolicy
from syncd.domain.errors import Invalid
from syncd.domain.values import immutable

#: Redirects followed inside one exchange.
MAX_REDIRECTS = 5
_KEEP_METHOD = frozenset({307, 308})
_ANY_METHOD = frozenset({301, 302, 303, 307, 308})
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f]")


@immutable(kw_only=True)
class Exchange:
    """What is sent. `headers` and `carried` may hold secrets, so an Exchange is never shown."""

    method: str
    url: URL
    headers: Mapping[str, str]
    body: bytes
    secret: bool
    """It carries a secret: plain http:// is refused but for loopback."""
    timeout: float
    """Seconds for everything: connecting, sending, waiting, reading."""
    max_response_bytes: int
    carried: Mapping[str, str] | None = None
    """Query parameters that redirects inside the origin get as well, where they lack them."""

    def __repr__(self) -> str:
        return f"Exchange({self.target})"

    @property
    def target(self) -> str:
        """Method, host and path, as texts for people name it: no query, no user name."""
        return f"{self.method} {shown(self.url)}"


@immutable(kw_only=True)
class Exchanged:
    url: URL
    """That answered, after redirects."""
    status: int
    headers: dict[str, str]
    """Names in lower case; what came several times is joined with commas (RFC 9110, 5.2)."""
    body: bytes
    truncated: bool


def shown(url: URL) -> str:
    return f"{url.scheme}://{url.raw_authority.rpartition('@')[2]}{url.raw_path}"


def read_url(text: str) -> URL:
    """Raises Invalid."""
    if _FORBIDDEN.search(text) or text != text.strip():
        raise Invalid("this URL is not allowed: it holds a space or a control character", errors={"url": "no spaces"})
    try:
        return URL(text)
    except ValueError as error:
        raise Invalid(f"this is not a URL: {error}", errors={"url": "https://host/path"}) from error


def check_headers(headers: Mapping[str, str]) -> None:
    """Raises Invalid for what cannot be sent. Checked here, because the library's own message might hold the value."""
    if not _FORBIDDEN.search("".join([part for item in headers.items() for part in item])):
        return
    for name, value in headers.items():
        if _FORBIDDEN.search(name) or _FORBIDDEN.search(value):
            rule = "no line breaks or control characters"
            raise Invalid(f"the value of header {name!r} cannot be sent: {rule}", errors={name: rule})


async def exchange(
    session: aiohttp.ClientSession,
    policy: OutgoingPolicy,
    wanted: Exchange,
    *,
    redirected: Callable[[], Awaitable[None]] | None = None,
) -> Exchanged:
    """Redirects are followed to the same origin only (scheme, host and port), and only where the method stays what it was: 307 and
    308 always, the others for GET and HEAD. Everything else is answered as it came. `redirected` is called before each further
    request.

    Raises Unavailable, TimedOut, ServerFault and Invalid as `errormap` says.
    """
    reach = Reach()
    REACH.set(reach)
    try:
        async with asyncio.timeout(wanted.timeout):
            return await _follow(session, policy, wanted, redirected)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        ours = mapped(error, connected=reach.connected, target=wanted.target)
        if ours is None:
            raise
        # That one's text holds the URL with its query, which would then be in a traceback.
        raise ours from None if isinstance(error, aiohttp.ClientResponseError) else error


async def _follow(
    session: aiohttp.ClientSession,
    policy: OutgoingPolicy,
    wanted: Exchange,
    redirected: Callable[[], Awaitable[None]] | None,
) -> Exchanged:
    url = wanted.url
    for hop in range(MAX_REDIRECTS + 1):
        policy.check_url(url, secret=wanted.secret)
        async with session.request(
            wanted.method,
            url,
            headers=wanted.headers,
            data=wanted.body or None,
            allow_redirects=False,
            skip_auto_headers=None if wanted.body else ("Content-Type",),
            middlewares=RESENT.get(wanted.method, ()),
        ) as response:
            following = _next(wanted, url, response) if hop < MAX_REDIRECTS else None
            if following is None:
                body, truncated = await read_bounded(response, wanted.max_response_bytes)
                return Exchanged(
                    url=url,
                    status=response.status,
                    headers=_joined(response.headers.items()),
                    body=body,
                    truncated=truncated,
                )
        url = following
        if redirected is not None:
            await redirected()
    raise AssertionError("the last hop is always answered")


def _joined(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in items:
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _next(wanted: Exchange, url: URL, response: aiohttp.ClientResponse) -> URL | None:
    """Where to ask instead; None where the answer stands."""
    allowed = _ANY_METHOD if wanted.method in ("GET", "HEAD") else _KEEP_METHOD
    location = response.headers.get("Location")
    if response.status not in allowed or not location:
        return None
    try:
        following = url.join(URL(location))
        if not following.absolute or following.origin() != url.origin():
            return None
    except ValueError:
        return None
    following = following.with_fragment(None)
    missing = {name: value for name, value in (wanted.carried or {}).items() if name not in following.query}
    return following.extend_query(missing) if missing else following
