"""Azure's Resource Manager as far as container groups go, over TLS and with tokens.

Its clock is the real one plus `ahead`, which the test moves. A PUT is a long-running operation: 201 with `Azure-AsyncOperation`,
which says Succeeded after `settling` seconds; what the container does then is the test's to say (`finish`).

Refusals, each with its test in tests/integration/azure/test_containers_double.py:

| refusal | source |
|---|---|
| 401 without a token of the audience https://management.azure.com | learn.microsoft.com/rest/api/azure |
| 403 AuthorizationFailed | learn.microsoft.com/azure/role-based-access-control/troubleshooting |
| 400 MissingApiVersionParameter | learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors |
| 404 SubscriptionNotFound, ResourceGroupNotFound, ResourceNotFound | the same |
| 204 for the deletion of what is not there | azure-rest-api-specs, containerInstance.json, ContainerGroups_Delete |
| 400 names, requests that are missing, memory that is no multiple of 0.1 GB | azure-cli#7355, CompositionalIT/farmer#1004, container-instances-troubleshooting |
| 409 ContainerGroupQuotaReached | learn.microsoft.com/azure/container-instances/container-instances-resource-and-quota-limits (100 groups) |
| 409 ContainerGroupTransitioning while a deletion is under way | azure-cli#8589 |
| 429 TooManyRequests above 100 creates in five minutes | the page of limits |
| a secure value and a password are never shown again; a list has no instance view | containerInstance.json |
"""

from __future__ import annotations

import re
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from aiohttp import web

from tests.wire.faults import Faults, served
from tests.wire.identity import TENANT, IdentityDouble
from tests.wire.identity import Refused as TokenRefused

AUDIENCE = "https://management.azure.com"
RIGHTS = frozenset({"read", "write", "delete"})
_BASE = "/subscriptions/{subscription}/resourceGroups/{resource_group}/providers/Microsoft.ContainerInstance/containerGroups"
_NAME = re.compile(r"(?=.{1,63}$)[a-z0-9]+(-[a-z0-9]+)*")
_WINDOW = 300.0


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    status: int
    code: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Group:
    document: dict[str, Any]
    ready_at: float
    state: str = "Running"
    exit_code: int | None = None
    logs: str = ""
    restarts: int = 0
    deleting_until: float | None = None


class ArmDouble:
    """One subscription with one resource group. `rights`, `quota`, `creates` (in five minutes), `settling` are the test's to change."""

    subscription = "00000000-0000-0000-0000-00000000abcd"
    resource_group = "rg"

    def __init__(self, identity: IdentityDouble, *, quota: int = 100, creates: int = 100, page: int = 50) -> None:
        self.rights = RIGHTS
        self.quota, self.creates, self.page = quota, creates, page
        self.settling = 0.0
        self.ahead = 0.0
        self.url = ""
        self.faults = Faults()
        self.groups: dict[str, Group] = {}
        self.puts: list[dict[str, Any]] = []
        self._identity = identity
        self._created: deque[float] = deque()
        self._ca = trustme.CA()

    def now(self) -> float:
        return time.time() + self.ahead

    def write_ca(self, directory: Path) -> str:
        path = directory / f"arm-ca-{id(self):x}.pem"
        self._ca.cert_pem.write_to_path(str(path))
        return str(path)

    def finish(self, name: str, exit_code: int, logs: str = "") -> None:
        """The container has ended; only the last 16 KB of its logs are kept."""
        group = self.groups[name]
        group.state, group.exit_code, group.logs = (
            ("Failed" if exit_code else "Succeeded"),
            exit_code,
            logs[-16 * 1024 :],
        )

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[ArmDouble]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert("localhost").configure_cert(context)
        app = web.Application(middlewares=[self.faults.middleware()])
        for method, path, right, handler in (
            ("GET", _BASE, "read", self._list),
            ("GET", _BASE + "/{name}", "read", self._get),
            ("PUT", _BASE + "/{name}", "write", self._put),
            ("DELETE", _BASE + "/{name}", "delete", self._delete),
            ("GET", _BASE + "/{name}/containers/{container}/logs", "read", self._logs),
            ("GET", "/subscriptions/{subscription}/operations/{name}", "read", self._operation),
        ):
            app.router.add_route(method, path, self._guarded(right, handler))
        async with served(app, port=port, tls=context) as self.url:
            yield self

    def _guarded(
        self, right: str, handler: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            try:
                self._judge(request, right)
                self._pass_time()
                return await handler(request)
            except Refusal as refusal:
                body = {"error": {"code": refusal.code, "message": refusal.message}}
                return web.json_response(body, status=refusal.status, headers=dict(refusal.headers))

        return answer

    def _judge(self, request: web.Request, right: str) -> None:
        try:
            self._identity.check(request.headers.get("Authorization", ""), AUDIENCE)
        except TokenRefused as error:
            challenge = f'Bearer authorization_uri="https://login.microsoftonline.com/{TENANT}", error="invalid_token"'
            raise Refusal(401, "AuthenticationFailed", error.reason, (("WWW-Authenticate", challenge),)) from error
        if not request.query.get("api-version"):
            raise Refusal(
                400, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required"
            )
        where = request.match_info
        if where["subscription"] != self.subscription:
            raise Refusal(
                404, "SubscriptionNotFound", f"The subscription '{where['subscription']}' could not be found."
            )
        if right not in self.rights:
            said = (
                f"does not have authorization to perform action 'Microsoft.ContainerInstance/containerGroups/{right}'"
            )
            raise Refusal(
                403, "AuthorizationFailed", f"The client 'c' with object id 'o' {said} over scope '{request.path}'."
            )
        if where.get("resource_group", self.resource_group) != self.resource_group:
            said = f"Resource group '{where['resource_group']}' could not be found."
            raise Refusal(404, "ResourceGroupNotFound", said)

    def _pass_time(self) -> None:
        now = self.now()
        for name in [name for name, one in self.groups.items() if (one.deleting_until or now + 1) <= now]:
            del self.groups[name]
        while self._created and self._created[0] <= now - _WINDOW:
            self._created.popleft()

    def _found(self, request: web.Request) -> Group:
        name = request.match_info["name"]
        if name not in self.groups:
            said = f"The Resource 'Microsoft.ContainerInstance/containerGroups/{name}' under resource group 'rg' was not found."
            raise Refusal(404, "ResourceNotFound", said)
        return self.groups[name]

    async def _put(self, request: web.Request) -> web.Response:
        name, document = request.match_info["name"], await request.json()
        _validate(name, document)
        existing = self.groups.get(name)
        if existing is not None and existing.deleting_until is not None:
            raise Refusal(
                409,
                "ContainerGroupTransitioning",
                f"The container group '{name}' is still transitioning, please retry later.",
            )
        if len(self._created) >= self.creates:
            wait = max(1, round(self._created[0] + _WINDOW - self.now()))
            raise Refusal(429, "TooManyRequests", "The request was throttled.", (("Retry-After", str(wait)),))
        if existing is None and len(self.groups) >= self.quota:
            said = f"Resource type 'Microsoft.ContainerInstance/containerGroups' container group quota '{self.quota}' exceeded in region"
            raise Refusal(409, "ContainerGroupQuotaReached", said)
        self._created.append(self.now())
        self.puts.append(deepcopy(document))
        kept = {**document, "name": name, "id": request.path, "type": "Microsoft.ContainerInstance/containerGroups"}
        for container in kept["properties"]["containers"]:
            for variable in container["properties"].get("environmentVariables", []):
                variable.pop("secureValue", None)
        for login in kept["properties"].get("imageRegistryCredentials", []):
            login.pop("password", None)
        group = self.groups[name] = Group(kept, ready_at=self.now() + self.settling)
        polled = f"{self.url}/subscriptions/{self.subscription}/operations/{name}?api-version=2023-05-01"
        headers = {"Azure-AsyncOperation": polled, "Retry-After": "0"}
        return web.json_response(self._shown(group, view=False), status=200 if existing else 201, headers=headers)

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self._shown(self._found(request), view=True))

    async def _list(self, request: web.Request) -> web.Response:
        begin = int(request.query.get("$skiptoken", 0))
        names = sorted(self.groups)
        page = [self._shown(self.groups[name], view=False) for name in names[begin : begin + self.page]]
        rest = begin + self.page
        following = f"{self.url}{request.path}?api-version={request.query['api-version']}&$skiptoken={rest}"
        return web.json_response({"value": page, **({"nextLink": following} if rest < len(names) else {})})

    async def _delete(self, request: web.Request) -> web.Response:
        group = self.groups.get(request.match_info["name"])
        if group is None:
            return web.Response(status=204)
        if group.deleting_until is None:
            group.deleting_until = self.now() + self.settling
        shown = self._shown(group, view=False)
        self._pass_time()
        return web.json_response(shown)

    async def _logs(self, request: web.Request) -> web.Response:
        group, container = self._found(request), request.match_info["container"]
        if container not in [one["name"] for one in group.document["properties"]["containers"]]:
            raise Refusal(404, "ContainerNotFound", f"The container '{container}' is not found.")
        tail = int(request.query.get("tail", 0)) or None
        lines = group.logs.splitlines(keepends=True)
        return web.json_response({"content": "".join(lines[-tail:] if tail else lines)})

    async def _operation(self, request: web.Request) -> web.Response:
        done = self._found(request).ready_at <= self.now()
        return web.json_response({"status": "Succeeded" if done else "InProgress"}, headers={"Retry-After": "0"})

    def _shown(self, group: Group, *, view: bool) -> dict[str, Any]:
        shown = deepcopy(group.document)
        properties = shown["properties"]
        ready = group.ready_at <= self.now()
        properties["provisioningState"] = "Succeeded" if ready else "Creating"
        if view:
            state = group.state if ready else "Pending"
            properties["instanceView"] = {"state": state, "events": []}
            current: dict[str, Any] = {
                "state": "Terminated" if group.exit_code is not None else state,
                "detailStatus": "",
            }
            if group.exit_code is not None:
                current |= {"exitCode": group.exit_code, "detailStatus": "Error" if group.exit_code else "Completed"}
            events = [{"name": "Pulling", "message": "pulling image"}] if not ready else []
            instance = {"restartCount": group.restarts, "currentState": current, "events": events}
            properties["containers"][0]["properties"]["instanceView"] = instance
        return shown


def _validate(name: str, document: dict[str, Any]) -> None:
    if not _NAME.fullmatch(name):
        raise Refusal(400, "InvalidContainerGroupName", f"The container group name '{name}' is invalid.")
    properties = document.get("properties", {})
    if not document.get("location"):
        raise Refusal(400, "LocationRequired", "The location property is required for this definition.")
    if not properties.get("containers"):
        raise Refusal(400, "InvalidRequestContent", "The container group has no containers.")
    for container in properties["containers"]:
        asked = container.get("properties", {}).get("resources", {}).get("requests", {})
        cpu, memory = asked.get("cpu"), asked.get("memoryInGB")
        if not cpu or not memory:
            raise Refusal(
                400,
                "ResourceRequestsNotSpecified",
                f"The resource requests of container '{container.get('name')}' are not specified.",
            )
        if abs(memory * 10 - round(memory * 10)) > 1e-6:
            raise Refusal(400, "InvalidMemory", "The memory requirement should be in increments of 0.1 GB.")
        if cpu > 31 or memory > 240:
            raise Refusal(400, "ServiceUnavailable", "The requested resource is not available in the location.")
