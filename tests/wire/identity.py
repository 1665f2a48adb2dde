"""The managed identity endpoint of App Service and Container Apps, as a process sees it: two variables and one GET.

Tokens say what they are for and how long they are good, so that the doubles of the services can check them as the services do.
The endpoint's clock is the real one plus `ahead` seconds, which the test moves.

Refusals, each with its test in tests/integration/azure/test_identity.py:

| refusal | source |
|---|---|
| 401 without the right X-IDENTITY-HEADER | learn.microsoft.com/azure/app-service/overview-managed-identity, "REST endpoint reference" |
| 400 for an api-version that is not 2019-08-01, or without resource | the same |
| 400 "No User Assigned or Delegated Managed Identity found" for a client_id that is not assigned | the same, and azure-sdk-for-python#18312 |
| the reply names the resource that was asked, or the SDK does not find it in its cache | azure/identity/_internal/managed_identity_client.py |
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from tests.wire.faults import Faults, served

TENANT = "72f988bf-0000-0000-0000-2d7cd011db47"


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    """Why a service does not take a token."""

    reason: str


class IdentityDouble:
    """`environment` is for the process that is to have the identity. `lifetime`: seconds of each token."""

    def __init__(self, *, lifetime: float = 86400.0, client_ids: frozenset[str] = frozenset()) -> None:
        self.lifetime = lifetime
        self.client_ids = client_ids
        self.ahead = 0.0
        self.faults = Faults()
        self.environment: dict[str, str] = {}
        self.issued = 0
        self._header = secrets.token_hex(16)
        self._key = secrets.token_hex(16)
        self._valid_from = 0

    def now(self) -> float:
        return time.time() + self.ahead

    def revoke(self) -> None:
        """Nothing that was issued so far is good any more, whatever its time says."""
        self._valid_from = self.issued

    def token(self, resource: str) -> tuple[str, int]:
        expires = int(self.now() + self.lifetime)
        issued = int(self.now())
        claims = {
            "aud": resource,
            "iss": f"https://sts.windows.net/{TENANT}/",
            "tid": TENANT,
            "iat": issued,
            "nbf": issued,
            "exp": expires,
            "n": self.issued,
            "key": self._key,
        }
        self.issued += 1
        return ".".join((_encoded({"alg": "HS256", "typ": "JWT"}), _encoded(claims), "c2lnbmF0dXJl")), expires

    def check(self, authorization: str, audience: str) -> None:
        """As a service does. Raises Refused."""
        scheme, _, token = authorization.partition(" ")
        try:
            _, body, _ = token.split(".")
            claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            known = scheme.lower() == "bearer" and claims["key"] == self._key
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise Refused("the token is not one of this issuer")
        if claims["aud"].rstrip("/") != audience.rstrip("/"):
            raise Refused(f"the audience is {claims['aud']} and not {audience}")
        if claims["exp"] <= self.now():
            raise Refused("the token has expired")
        if claims["n"] < self._valid_from:
            raise Refused("the token was revoked")

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[IdentityDouble]:
        app = web.Application(middlewares=[self.faults.middleware()])
        app.router.add_get("/msi/token", self._answer)
        async with served(app, port=port) as url:
            self.environment = {"IDENTITY_ENDPOINT": f"{url}/msi/token", "IDENTITY_HEADER": self._header}
            yield self

    async def _answer(self, request: web.Request) -> web.Response:
        query = request.query
        if request.headers.get("X-IDENTITY-HEADER") != self._header:
            return _refusal(401, "the header X-IDENTITY-HEADER is missing or wrong")
        if query.get("api-version") != "2019-08-01" or not query.get("resource"):
            return _refusal(400, "api-version must be 2019-08-01, and resource must be given")
        if query.get("client_id") and query["client_id"] not in self.client_ids:
            return _refusal(
                400, "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId"
            )
        token, expires = self.token(query["resource"])
        reply = {
            "access_token": token,
            "expires_on": str(expires),
            "resource": query["resource"],
            "token_type": "Bearer",
        }
        return web.json_response(reply)


def _encoded(part: dict[str, object]) -> str:
    """One part of a JWT; Azurite, which checks the claims and no signature, reads the same form as the real services."""
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"statusCode": status, "message": message}, status=status)
