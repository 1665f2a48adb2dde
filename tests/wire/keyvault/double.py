"""The REST surface of Key Vault's secrets: the challenge first, then rights, then the store."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trustme
from aiohttp import web

from tests.wire.faults import Faults, served
from tests.wire.identity import TENANT, IdentityDouble, Refused
from tests.wire.keyvault import refusals
from tests.wire.keyvault.refusals import Refusal
from tests.wire.keyvault.store import Store

AUDIENCE = "https://vault.azure.net"

#: Rights of the role 'Key Vault Secrets Officer', by their short names.
OFFICER = frozenset({"get", "list", "set", "update", "delete", "recover", "purge"})
_ACTIONS = {"get": "getSecret", "list": "readMetadata", "set": "setSecret"}
_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")
_PAGE = 25
_MOST_BYTES = 25 * 1024
_WINDOW = 10.0


class KeyVaultDouble:
    """Tokens are those of `identity`. `rights`, `firewall`, `store.settling`, `store.purge_protected` and `ahead` (seconds by which
    its clock is ahead of the real one) are the test's to change; `calls` are at most `limit` in ten seconds."""

    def __init__(self, identity: IdentityDouble, *, limit: int = 4000, host: str = "localhost") -> None:
        self.rights: frozenset[str] = OFFICER
        self.firewall = False
        self.limit = limit
        self.ahead = 0.0
        self.url = ""
        self.faults = Faults()
        self.store = Store(url=lambda: self.url, now=self.now)
        self._identity = identity
        self._calls: deque[float] = deque()
        self._ca = trustme.CA()
        self._certificate = self._ca.issue_cert(host)

    def now(self) -> float:
        return time.time() + self.ahead

    def write_ca(self, directory: Path) -> str:
        """The file for `ca_file`."""
        path = directory / f"keyvault-ca-{id(self):x}.pem"
        self._ca.cert_pem.write_to_path(str(path))
        return str(path)

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[KeyVaultDouble]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._certificate.configure_cert(context)
        app = web.Application(middlewares=[self.faults.middleware()])
        for method, path, right, handler in (
            ("PUT", "/secrets/{name}", "set", self._set),
            ("GET", "/secrets/{name}/versions", "list", self._versions),
            ("GET", "/secrets/{name}/{version:[^/]*}", "get", self._get),
            ("PATCH", "/secrets/{name}/{version:[^/]*}", "update", self._update),
            ("DELETE", "/secrets/{name}", "delete", self._delete),
            ("GET", "/deletedsecrets/{name}", "get", self._get_deleted),
            ("POST", "/deletedsecrets/{name}/recover", "recover", self._recover),
            ("DELETE", "/deletedsecrets/{name}", "purge", self._purge),
        ):
            app.router.add_route(method, path, self._guarded(right, handler))
        async with served(app, port=port, tls=context) as self.url:
            yield self

    def _guarded(
        self, right: str, handler: Callable[[str, web.Request], Awaitable[Any]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            try:
                self._throttle()
                self._authenticate(request)
                if self.firewall:
                    raise refusals.firewall()
                if right not in self.rights:
                    raise refusals.rbac(_ACTIONS.get(right, right))
                if not request.query.get("api-version"):
                    raise refusals.bad_parameter("api-version must be specified")
                name = request.match_info["name"]
                if not _NAME.fullmatch(name):
                    raise refusals.bad_parameter(f"The request URI contains an invalid name: {name}")
                found = await handler(name, request)
            except Refusal as refusal:
                return web.json_response(refusal.body, status=refusal.status, headers=refusal.headers)
            return web.json_response(found) if found is not None else web.Response(status=204)

        return answer

    def _throttle(self) -> None:
        now = self.now()
        while self._calls and self._calls[0] <= now - _WINDOW:
            self._calls.popleft()
        if len(self._calls) >= self.limit:
            raise refusals.throttled(max(1, round(self._calls[0] + _WINDOW - now)))
        self._calls.append(now)

    def _authenticate(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "")
        if not given:
            raise refusals.unauthorized(TENANT, AUDIENCE, "AKV10000: Request is missing a Bearer or PoP token.")
        try:
            self._identity.check(given, AUDIENCE)
        except Refused as error:
            raise refusals.unauthorized(
                TENANT, AUDIENCE, f"AKV10046: Unable to use the token: {error.reason}."
            ) from error

    async def _body(self, request: web.Request) -> dict[str, Any]:
        try:
            body = json.loads(await request.read())
        except ValueError:
            raise refusals.bad_parameter("The request body is no JSON") from None
        if not isinstance(body, dict):
            raise refusals.bad_parameter("The request body is no object")
        return body

    async def _set(self, name: str, request: web.Request) -> object:
        body = await self._body(request)
        value = body.get("value")
        if not isinstance(value, str):
            raise refusals.bad_parameter("Property value is required")
        if len(value.encode()) > _MOST_BYTES:
            raise refusals.bad_parameter(f"Secret value exceeds the maximum of {_MOST_BYTES} bytes")
        return self.store.set(name, value, body.get("tags") or {}, (body.get("attributes") or {}).get("enabled", True))

    async def _get(self, name: str, request: web.Request) -> object:
        return self.store.get(name, request.match_info["version"])

    async def _update(self, name: str, request: web.Request) -> object:
        body = await self._body(request)
        return self.store.update(name, request.match_info["version"], body.get("attributes") or {}, body.get("tags"))

    async def _versions(self, name: str, request: web.Request) -> object:
        most = int(request.query.get("maxresults", _PAGE))
        if not 1 <= most <= _PAGE:
            raise refusals.bad_parameter(f"maxresults must be between 1 and {_PAGE}")
        found, begin = self.store.versions(name), int(request.query.get("$skiptoken", 0))
        rest = begin + most
        version = request.query["api-version"]
        following = f"{self.url}/secrets/{name}/versions?api-version={version}&$skiptoken={rest}&maxresults={most}"
        return {"value": found[begin:rest], "nextLink": following if rest < len(found) else None}

    async def _delete(self, name: str, _: web.Request) -> object:
        return self.store.delete(name)

    async def _get_deleted(self, name: str, _: web.Request) -> object:
        return self.store.get_deleted(name)

    async def _recover(self, name: str, _: web.Request) -> object:
        return self.store.recover(name)

    async def _purge(self, name: str, _: web.Request) -> None:
        self.store.purge(name)
