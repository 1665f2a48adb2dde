"""The ports `Apis` and `Api`: every request of a provider's file goes through here.

    URL inside the origin -> credential -> is the provider's own quota spent? -> our limits charged, or waited for -> sent once
        -> Reply, or the error that the status means

A 401 asks the credential for a successor, once. Nothing else is sent again here: what may have been processed is for the caller,
who knows whether repeating it is safe.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from json import JSONEncoder
from typing import TYPE_CHECKING
from urllib.parse import unquote

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from syncd.adapters.http.answers import error_of, is_quota_spent
from syncd.adapters.http.auth import NOBODY, Authorisation, authorisation
from syncd.adapters.http.exchange import Exchange, Exchanged, check_headers, exchange, read_url, shown
from syncd.adapters.http.limits import Limits
from syncd.adapters.http.pauses import Pauses
from syncd.adapters.http.reading import ENCODINGS
from syncd.adapters.http.reply import HttpReply
from syncd.adapters.http.ssrf import OutgoingPolicy
from syncd.domain.adaptive import Adaptive
from syncd.domain.errors import AuthenticationFailed, Invalid, Rejected, Throttled
from syncd.domain.quota import used_share

if TYPE_CHECKING:
    from syncd.domain.jsontypes import Json
    from syncd.ports.api import Account, ApiOperation
    from syncd.ports.clock import Clock
    from syncd.ports.credentials import Credentials, Usable
    from syncd.ports.limiter import Limiter
    from syncd.ports.observe import Observe

#: Most bytes of one answer, unpacked. A page of a hundred records of 100 KB fits; what is longer is Rejected.
MAX_RESPONSE_BYTES = 16 * 1024 * 1024
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
#: Segments below the base that are in the URL as they are: nothing to quote, no dots that lead out, no query.
_PLAIN = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~!$&'()*+,;=:@-]+)+")
_JSON = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
#: Base URLs that are kept read. Each unit of work names its own again.
_MOST_BASES = 1000
_OK = range(200, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Means:
    session: aiohttp.ClientSession
    policy: OutgoingPolicy
    credentials: Credentials
    limits: Limits
    limiter: Limiter
    adaptive: Adaptive
    pauses: Pauses
    clock: Clock
    observe: Observe
    headers: Mapping[str, str]
    """That every request has."""
    timeout: float
    max_response_bytes: int
    inline_wait: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """A base URL, read once."""

    url: URL
    origin: URL
    path: str
    """Without a slash at its end."""


class HttpApis:
    """`timeout` in seconds, for one request with everything it takes; `inline_wait`: the longest refusal of our own limits, in seconds,
    that is waited for in place. `adaptive` is handed in where it should outlive a change of `limits`.
    """

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        policy: OutgoingPolicy,
        credentials: Credentials,
        limits: Limits,
        limiter: Limiter,
        clock: Clock,
        observe: Observe,
        user_agent: str,
        timeout: float = 30.0,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        inline_wait: float = 1.0,
        adaptive: Adaptive | None = None,
    ) -> None:
        self._means = _Means(
            session=session,
            policy=policy,
            credentials=credentials,
            limits=limits,
            limiter=limiter,
            adaptive=adaptive or Adaptive(),
            pauses=Pauses(),
            clock=clock,
            observe=observe,
            headers={"User-Agent": user_agent, "Accept": "application/json", "Accept-Encoding": ENCODINGS},
            timeout=timeout,
            max_response_bytes=max_response_bytes,
            inline_wait=inline_wait,
        )

    def of(self, account: Account, base_url: str, *, reservation: str | None = None, books: bool = True) -> HttpApi:
        """Raises Invalid where `base_url` is none."""
        return HttpApi(self._means, account, _base(base_url), reservation, books)


class HttpApi:
    """One account's API, for one unit of work: the reservation belongs to the first request. `_paced`: what the pace is kept for."""

    def __init__(self, means: _Means, account: Account, base: _Base, reservation: str | None, books: bool) -> None:
        self._means = means
        self._account = account
        self._base = base
        self._reservation = reservation
        self._books = books
        self._system = means.limits.system(account, str(base.origin))
        self._paced = self._system or account.integration_id
        self._quota = (account.tenant_id, base.origin, account.credential_id or account.connection_id)

    @property
    def account(self) -> Account:
        return self._account

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
    ) -> HttpReply:
        url = self._url(path)
        if query:
            url = url.update_query(query)
        body = b"" if json is None else _encoded(json)
        target = f"{method} {shown(url)}"
        account, means = self._account, self._means
        tried = False
        while True:
            usable = await self._usable()
            allowed = NOBODY if usable is None else authorisation(usable)
            self._check_pause(target)
            await self._charge(operation, target)
            wanted = self._exchange(method, url, headers, body, allowed)
            answer = await self._send(wanted, operation)
            if answer.status in _OK or answer.status in accept:
                if answer.truncated:
                    raise Rejected(f"{target}: the answer is longer than {means.max_response_bytes} bytes")
                return HttpReply(answer, target=target, authorisation=allowed)
            error = error_of(answer, target=target, authorisation=allowed, now=means.clock.now())
            if isinstance(error, Throttled):
                wait = error.retry_after or 0.0
                self._waited(wait, "provider")
                if is_quota_spent(answer):
                    means.pauses.begin(self._quota, means.clock.monotonic(), wait)
            if tried or not isinstance(error, AuthenticationFailed) or usable is None or account.credential_id is None:
                raise error
            if not await means.credentials.refused(account.tenant_id, account.credential_id, usable.version):
                raise error
            tried = True

    async def _usable(self) -> Usable | None:
        account = self._account
        if account.credential_id is None:
            return None
        return await self._means.credentials.usable(account.tenant_id, account.credential_id)

    def _check_pause(self, target: str) -> None:
        left = self._means.pauses.left(self._quota, self._means.clock.monotonic())
        if left > 0:
            self._waited(left, "provider")
            raise Throttled(f"{target}: not asked, because the provider's quota is spent", retry_after=left)

    async def _charge(self, operation: ApiOperation, target: str) -> None:
        """Charge one request to all its levels, waiting a little where that is enough.

        A delete books no turn ahead and waits for none: whoever asked hears it at once, and may think again.
        """
        means, account = self._means, self._account
        reservation, self._reservation = self._reservation, None
        levels = means.limits.levels(
            account, operation, means.adaptive.factor(account.tenant_id, self._paced), system=self._system
        )
        patience = means.clock.monotonic() + means.inline_wait
        while True:
            reserve = self._books and operation != "delete"
            decision = await means.limiter.take(levels, reserve=reserve, reservation=reservation)
            if decision.allowed:
                return
            wait, reservation = decision.retry_after, decision.reservation
            self._waited(wait, "limits")
            if reservation is None or means.clock.monotonic() + wait > patience:
                raise Throttled(
                    f"{target}: the limits of {account.tenant_id} at {account.integration_id} allow the next "
                    f"{operation} in {wait:.1f} s",
                    retry_after=wait,
                    reservation=reservation,
                )
            await means.clock.sleep(wait)  # our own turn, held by the reservation

    async def _charge_redirect(self, operation: ApiOperation) -> None:
        """One more request that cannot be refused any more: it is paid off by whoever comes next."""
        levels = self._means.limits.levels(self._account, operation, system=self._system)
        await self._means.limiter.charge(levels, 1)

    async def _send(self, wanted: Exchange, operation: ApiOperation) -> Exchanged:
        means, account = self._means, self._account
        started = means.clock.monotonic()
        status = 0
        try:
            answer = await exchange(
                means.session, means.policy, wanted, redirected=lambda: self._charge_redirect(operation)
            )
            status = answer.status
        finally:
            means.observe(
                "provider_request",
                target=wanted.target,
                operation=operation,
                status=status,
                duration=means.clock.monotonic() - started,
                tenantId=account.tenant_id,
                integrationId=account.integration_id,
                connectionId=account.connection_id,
            )
        used = used_share(answer.headers)
        if used is not None and means.adaptive.saw(account.tenant_id, self._paced, used):
            means.observe(
                "limit_adapted",
                used=used,
                factor=means.adaptive.factor(account.tenant_id, self._paced),
                tenantId=account.tenant_id,
                integrationId=account.integration_id,
            )
        return answer

    def _exchange(
        self, method: str, url: URL, headers: Mapping[str, str] | None, body: bytes, allowed: Authorisation
    ) -> Exchange:
        means = self._means
        sent: CIMultiDict[str] = CIMultiDict(means.headers)
        if body:
            sent["Content-Type"] = "application/json"
        # The last word is ours: what we can unpack, and who we are.
        if headers:
            sent.update(headers)
            sent["Accept-Encoding"] = ENCODINGS
        if allowed.headers:
            sent.update(allowed.headers)
        check_headers(sent)
        return Exchange(
            method=method,
            url=url.update_query(allowed.query) if allowed.query else url,
            headers=sent,
            body=body,
            secret=bool(allowed.secrets),
            timeout=means.timeout,
            max_response_bytes=means.max_response_bytes,
            carried=allowed.query or None,
        )

    def _url(self, path: str) -> URL:
        """Raises Invalid for what leads out of the base origin, or out of the base path by dots."""
        base = self._base
        if _PLAIN.fullmatch(path):
            return base.url.with_path(base.path + path, encoded=True)
        if _ABSOLUTE.match(path):
            url = read_url(path)
            if not url.absolute or url.origin() != base.origin:
                raise Invalid(
                    f"{shown(url)} is not on {shown(base.origin)}: links to elsewhere are not followed",
                    errors={"path": "below the base URL, or of the same origin"},
                )
            return url.with_fragment(None)
        below, _, query = path.partition("?")
        if path.startswith(("//", "\\")) or any(unquote(part) in (".", "..") for part in re.split(r"[/\\]", below)):
            raise Invalid(f"{below!r} leads out of the base URL", errors={"path": "below the base URL"})
        joined = f"{str(base.url).rstrip('/')}/{below.lstrip('/')}" if below.strip("/") else str(base.url)
        return read_url(f"{joined}?{query}" if query else joined).with_fragment(None)

    def _waited(self, seconds: float, imposed: str) -> None:
        account = self._account
        self._means.observe(
            "ratelimit_wait",
            seconds=seconds,
            by=imposed,
            tenantId=account.tenant_id,
            integrationId=account.integration_id,
        )


@lru_cache(_MOST_BASES)
def _base(text: str) -> _Base:
    url = read_url(text)
    if url.scheme not in ("http", "https") or not url.host or url.raw_query_string or url.raw_fragment:
        rule = "https://host/path, without a query"
        raise Invalid(f"the base URL must be {rule}", errors={"baseUrl": rule})
    return _Base(url=url, origin=url.origin(), path=url.raw_path.rstrip("/"))


def _encoded(value: Json) -> bytes:
    try:
        return _JSON.encode(value).encode()
    except (TypeError, ValueError) as error:
        raise Invalid(f"the body cannot be sent as JSON: {error}", errors={"json": str(error)}) from error
