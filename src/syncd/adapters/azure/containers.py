"""Container Instances: each group one container, restart policy Never, in one resource group.

Nothing here holds a poller: a PUT that was accepted is enough, and what became of it is read by `list` (one request for all) and
`get`. Facts of the service that shape this:

- The instance view is only in the answer for one group, so `list` tells no state unless provisioning failed.
- A PUT of a group that exists may run it again, and there is no If-None-Match: so it is looked for first. Who plans has to make sure
  by a compare-and-set of their own that nobody else plans the same name at the same time (guarantees, G11).
- Quotas (100 groups, 100 cores by region) come as 409, rates (300 creates in an hour, 100 in five minutes) as 429.
  https://learn.microsoft.com/azure/container-instances/container-instances-resource-and-quota-limits
- Logs shrink to 16 KB once the container has stopped.
"""

from __future__ import annotations

import builtins
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.containerinstance import models as aci
from azure.mgmt.containerinstance.aio import ContainerInstanceManagementClient

from syncd.adapters.azure.calls import PATIENCE, Calls
from syncd.adapters.azure.containerstate import group_info
from syncd.adapters.azure.identity import Credential
from syncd.domain.errors import Invalid, NotFound, Overloaded, SyncdError, Throttled
from syncd.domain.secrets import Secret
from syncd.ports.clock import Clock
from syncd.ports.containers import GroupInfo, GroupSpec
from syncd.ports.observe import Observe

TIMEOUT = 60.0
#: Seconds after which room may have been made by a group that ended; the service names no time for quotas.
QUOTA_WAIT = 60.0
#: Seconds for a group that is being made or deleted to come to rest.
BUSY_WAIT = 10.0
ARM = "https://management.azure.com"
_SCOPE = "https://management.azure.com/.default"
_NAME = re.compile(r"(?=.{1,63}$)[a-z0-9]+(-[a-z0-9]+)*")
_RIGHT = "the role 'Azure Container Instances Contributor Role' on the resource group"
_QUOTAS = frozenset({"ContainerGroupQuotaReached", "QuotaExceeded"})
_BUSY = frozenset({"ContainerGroupTransitioning", "ContainerGroupDeploymentNotReady", "Conflict"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Where images are pulled from: with user and password, or the resource id of an identity of the group."""

    server: str
    username: str | None = None
    password: Secret | None = None
    identity: str | None = None


@asynccontextmanager
async def open_containers(
    *,
    subscription_id: str,
    resource_group: str,
    location: str,
    credential: Credential,
    clock: Clock,
    observe: Observe,
    registry: Registry | None = None,
    base_url: str = ARM,
    ca_file: str | None = None,
    timeout: float = TIMEOUT,
) -> AsyncIterator[ContainerInstances]:
    """Nothing is asked yet. `timeout`: seconds for one method; below the lease of whoever creates. `base_url`: the Resource Manager
    of another cloud."""

    def told(*, operation: str, outcome: str, duration: float) -> None:
        observe("container_call", operation=operation, outcome=outcome, duration=duration)

    client = ContainerInstanceManagementClient(
        credential,
        subscription_id,
        base_url,
        credential_scopes=[_SCOPE],
        connection_verify=ca_file or True,
        **PATIENCE,
    )
    where = f"Container Instances in {resource_group}"
    calls = Calls(where, credential=credential, clock=clock, told=told, timeout=timeout)
    try:
        yield ContainerInstances(
            client=client, calls=calls, resource_group=resource_group, location=location, registry=registry
        )
    finally:
        await client.close()


class ContainerInstances:
    """Implements the port `Containers`."""

    def __init__(
        self,
        *,
        client: ContainerInstanceManagementClient,
        calls: Calls,
        resource_group: str,
        location: str,
        registry: Registry | None,
    ) -> None:
        self._client = client
        self._calls = calls
        self._resource_group = resource_group
        self._location = location
        self._registry = registry

    async def create(self, spec: GroupSpec) -> GroupInfo:
        group = self._group(spec)
        try:
            return await self.get(spec.name)
        except NotFound:
            pass
        async with self._calls("create", f"creating the container group {spec.name}", right=_RIGHT):
            try:
                # Without polling: the first answer is the result.
                poller = await self._client.container_groups.begin_create_or_update(
                    self._resource_group, spec.name, group, polling=False
                )
                return _info(await poller.result())
            except HttpResponseError as error:
                _say_full(error, spec.name)
                raise

    async def get(self, name: str) -> GroupInfo:
        _check(name)
        async with self._calls("get", f"reading the container group {name}", right=_RIGHT):
            try:
                return _info(await self._client.container_groups.get(self._resource_group, name))
            except ResourceNotFoundError as error:
                raise _missing(error, name) from error

    async def list(self) -> builtins.list[GroupInfo]:
        async with self._calls("list", "listing container groups", right=_RIGHT):
            groups = self._client.container_groups.list_by_resource_group(self._resource_group)
            return [_info(group) async for group in groups]

    async def logs(self, name: str, *, tail: int = 1000) -> str:
        _check(name)
        async with self._calls("logs", f"reading the logs of {name}", right=_RIGHT):
            try:
                found = await self._client.containers.list_logs(self._resource_group, name, name, tail=tail)
            except ResourceNotFoundError as error:
                raise _missing(error, name) from error
            return found.content or ""

    async def delete(self, name: str) -> bool:
        _check(name)
        async with self._calls("delete", f"deleting the container group {name}", right=_RIGHT):
            try:
                status: builtins.list[int] = []
                await self._client.container_groups.begin_delete(
                    self._resource_group,
                    name,
                    polling=False,
                    raw_response_hook=lambda answer: status.append(answer.http_response.status_code),
                )
            except ResourceNotFoundError as error:
                if _code(error) == "ResourceGroupNotFound":
                    raise
                return False
            except HttpResponseError as error:
                _say_full(error, name)
                raise
            return status[-1:] != [204]

    async def check(self) -> builtins.list[str]:
        """For `syncd check`: what is missing; empty where all is well. Reading and deleting are tried (on a group that does not exist);
        the right to create has no harmless trial, and comes with the same role."""
        try:
            await self.list()
            await self.delete("syncd-check")
        except SyncdError as error:
            return [str(error)]
        return []

    def _group(self, spec: GroupSpec) -> aci.ContainerGroup:
        _check(spec.name)
        variables = [aci.EnvironmentVariable(name=name, value=value) for name, value in spec.environment.items()]
        variables += [
            aci.EnvironmentVariable(name=name, secure_value=value.reveal()) for name, value in spec.secrets.items()
        ]
        requests = aci.ResourceRequests(cpu=spec.cpu, memory_in_gb=math.ceil(spec.memory_gb * 10 - 1e-9) / 10)
        container = aci.Container(
            name=spec.name,
            image=spec.image,
            command=[*spec.command] or None,
            environment_variables=variables,
            resources=aci.ResourceRequirements(requests=requests),
        )
        return aci.ContainerGroup(
            location=self._location,
            tags=dict(spec.tags),
            os_type="Linux",
            restart_policy="Never",
            containers=[container],
            image_registry_credentials=_logins(self._registry),
            identity=_identity(self._registry),
        )


def _logins(registry: Registry | None) -> list[aci.ImageRegistryCredential] | None:
    if registry is None:
        return None
    password = registry.password.reveal() if registry.password else None
    return [
        aci.ImageRegistryCredential(
            server=registry.server, username=registry.username, password=password, identity=registry.identity
        )
    ]


def _identity(registry: Registry | None) -> aci.ContainerGroupIdentity | None:
    if registry is None or registry.identity is None:
        return None
    assigned = {registry.identity: aci.UserAssignedIdentities()}
    return aci.ContainerGroupIdentity(type="UserAssigned", user_assigned_identities=assigned)


def _info(group: aci.ContainerGroup) -> GroupInfo:
    # What only the service fills in has the type None in the SDK: it is read in the form of the wire.
    return group_info(dict(group.serialize(keep_readonly=True)))


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        text = "1 to 63 lower-case letters, digits and single '-' between them"
        raise Invalid(f"{name[:100]!r} is no name of a container group: {text}")


def _missing(error: ResourceNotFoundError, name: str) -> BaseException:
    """A group that is not there; a resource group that is not there is no state of a container group."""
    return error if _code(error) == "ResourceGroupNotFound" else NotFound(f"there is no container group {name!r}")


def _say_full(error: HttpResponseError, name: str) -> None:
    """Raises for a 409 that another time cures: no room, or the group is on its way in or out."""
    code, text = _code(error), f"the container group {name}: {error.message}"
    if error.status_code == 409 and code in _QUOTAS:
        raise Throttled(text, retry_after=QUOTA_WAIT) from error
    if error.status_code == 409 and code in _BUSY:
        raise Overloaded(text, retry_after=BUSY_WAIT) from error


def _code(error: HttpResponseError) -> str:
    return str(getattr(error.error, "code", "") or "")
