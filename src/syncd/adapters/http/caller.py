"""The port `Caller` over aiohttp: one request, every status an answer, every failure one of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from syncd.adapters.http.exchange import Exchange, check_headers, exchange, read_url
from syncd.adapters.http.reading import ENCODINGS
from syncd.adapters.http.ssrf import OutgoingPolicy
from syncd.ports.caller import Answer

if TYPE_CHECKING:
    from syncd.ports.caller import Call
    from syncd.ports.clock import Clock
    from syncd.ports.observe import Observe


class HttpCaller:
    """Redirects are followed as `exchange` says."""

    def __init__(
        self, *, session: aiohttp.ClientSession, policy: OutgoingPolicy, clock: Clock, observe: Observe, user_agent: str
    ) -> None:
        self._session = session
        self._policy = policy
        self._clock = clock
        self._observe = observe
        self._user_agent = user_agent

    async def call(self, call: Call) -> Answer:
        wanted = Exchange(
            method=call.method,
            url=read_url(call.url),
            headers=self._headers(call),
            body=call.body if call.secret_body is None else call.secret_body.reveal().encode(),
            secret=bool(call.secret_headers) or call.secret_body is not None,
            timeout=call.timeout,
            max_response_bytes=call.max_response_bytes,
        )
        started = self._clock.monotonic()
        status = 0
        try:
            answer = await exchange(self._session, self._policy, wanted)
            status = answer.status
            return Answer(
                status=answer.status,
                headers=answer.headers,
                body=answer.body,
                duration=self._clock.monotonic() - started,
                truncated=answer.truncated,
            )
        finally:
            self._observe("http_call", target=wanted.target, status=status, duration=self._clock.monotonic() - started)

    def _headers(self, call: Call) -> dict[str, str]:
        headers = {"User-Agent": self._user_agent, "Accept-Encoding": ENCODINGS, **call.headers}
        for name, secret in call.secret_headers.items():
            headers[name] = secret.reveal()
        check_headers(headers)
        return headers
