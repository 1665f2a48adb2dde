"""The double refuses what the Resource Manager refuses: one test for each row of tests/wire/arm.py."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector

from tests.integration.azure.groups import opened, spec
from tests.wire.arm import AUDIENCE, RIGHTS, ArmDouble
from tests.wire.identity import IdentityDouble

WHERE = (
    f"/subscriptions/{ArmDouble.subscription}/resourceGroups/rg/providers/Microsoft.ContainerInstance/containerGroups"
)


class Raw:
    def __init__(self, session: ClientSession, arm: ArmDouble, identity: IdentityDouble) -> None:
        self.arm, self.identity, self._session = arm, identity, session
        self.token = identity.token(AUDIENCE)[0]
        self.version = "?api-version=2023-05-01"

    async def __call__(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any], dict[str, str]]:
        headers = {"Authorization": f"Bearer {self.token}"}
        url = path if path.startswith("https") else f"{self.arm.url}{path}{self.version}"
        async with self._session.request(method, url, json=body, headers=headers) as answer:
            return answer.status, (await answer.json() if answer.content_length else {}), dict(answer.headers)


@pytest.fixture
async def raw(tmp_path: Path) -> AsyncIterator[Raw]:
    async with IdentityDouble().serving() as identity, ArmDouble(identity).serving() as arm:
        context = ssl.create_default_context(cafile=arm.write_ca(tmp_path))
        async with ClientSession(connector=TCPConnector(ssl=context)) as session:
            yield Raw(session, arm, identity)


def group(**requests: float) -> dict[str, Any]:
    asked = {"cpu": 1.0, "memoryInGB": 1.5, **requests}
    variables = [{"name": "S", "secureValue": "canary"}]
    inside = {"image": "i", "resources": {"requests": asked}, "environmentVariables": variables}
    login = {"server": "s", "username": "u", "password": "canary"}
    properties = {"containers": [{"name": "a", "properties": inside}], "imageRegistryCredentials": [login]}
    return {"location": "westeurope", "properties": properties}


async def code(answer: tuple[int, dict[str, Any], dict[str, str]]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["code"]


async def test_a_token_of_another_audience_or_one_that_ended(raw: Raw) -> None:
    raw.token = raw.identity.token("https://vault.azure.net")[0]
    status, _, headers = await raw("GET", WHERE)
    assert status == 401
    assert headers["WWW-Authenticate"].startswith("Bearer ")
    raw.token = raw.identity.token(AUDIENCE)[0]
    raw.identity.ahead = 86401
    assert (await raw("GET", WHERE))[0] == 401


@pytest.mark.parametrize(("right", "method"), [("read", "GET"), ("write", "PUT"), ("delete", "DELETE")])
async def test_a_right_that_is_missing(raw: Raw, right: str, method: str) -> None:
    raw.arm.rights = RIGHTS - {right}
    assert await code(await raw(method, f"{WHERE}/a", group() if method == "PUT" else None)) == (
        403,
        "AuthorizationFailed",
    )


async def test_no_api_version_and_what_is_not_there(raw: Raw) -> None:
    assert await code(await raw("GET", f"{WHERE}/a")) == (404, "ResourceNotFound")
    assert await code(await raw("GET", WHERE.replace("/rg/", "/other/"))) == (404, "ResourceGroupNotFound")
    assert await code(await raw("GET", WHERE.replace(ArmDouble.subscription, "1"))) == (404, "SubscriptionNotFound")
    assert (await raw("DELETE", f"{WHERE}/a"))[0] == 204
    raw.version = ""
    assert await code(await raw("GET", WHERE)) == (400, "MissingApiVersionParameter")


@pytest.mark.parametrize(
    ("name", "document", "expected"),
    [
        ("A", group(), "InvalidContainerGroupName"),
        ("a", {**group(), "location": ""}, "LocationRequired"),
        ("a", {**group(), "properties": {"containers": []}}, "InvalidRequestContent"),
        ("a", group(cpu=0), "ResourceRequestsNotSpecified"),
        ("a", group(memoryInGB=1.55), "InvalidMemory"),
        ("a", group(cpu=32), "ServiceUnavailable"),
    ],
)
async def test_what_cannot_be_a_group(raw: Raw, name: str, document: dict[str, Any], expected: str) -> None:
    assert await code(await raw("PUT", f"{WHERE}/{name}", document)) == (400, expected)
    assert raw.arm.groups == {}


async def test_a_create_is_a_long_running_operation(raw: Raw) -> None:
    raw.arm.settling = 10.0
    status, body, headers = await raw("PUT", f"{WHERE}/a", group())
    assert (status, body["properties"]["provisioningState"]) == (201, "Creating")
    assert (await raw("GET", headers["Azure-AsyncOperation"]))[1]["status"] == "InProgress"
    raw.arm.ahead += 11
    assert (await raw("GET", headers["Azure-AsyncOperation"]))[1]["status"] == "Succeeded"
    assert (await raw("PUT", f"{WHERE}/a", group()))[0] == 200


async def test_secrets_are_never_shown_and_a_list_has_no_view(raw: Raw) -> None:
    shown = [await raw("PUT", f"{WHERE}/a", group()), await raw("GET", f"{WHERE}/a"), await raw("GET", WHERE)]
    assert "canary" not in str(shown)
    assert "instanceView" in shown[1][1]["properties"]
    assert "instanceView" not in str(shown[2])


async def test_quota_and_rate_and_transition(raw: Raw) -> None:
    raw.arm.quota, raw.arm.creates = 1, 2
    assert (await raw("PUT", f"{WHERE}/a", group()))[0] == 201
    assert await code(await raw("PUT", f"{WHERE}/b", group())) == (409, "ContainerGroupQuotaReached")
    raw.arm.settling = 10.0
    assert (await raw("DELETE", f"{WHERE}/a"))[0] == 200
    assert await code(await raw("PUT", f"{WHERE}/a", group())) == (409, "ContainerGroupTransitioning")
    raw.arm.ahead += 11
    assert (await raw("PUT", f"{WHERE}/a", group()))[0] == 201
    refused = await raw("PUT", f"{WHERE}/b", group())
    assert await code(refused) == (429, "TooManyRequests")
    assert 200 < int(refused[2]["Retry-After"]) <= 300


async def test_logs_of_a_container_that_is_not_in_the_group_and_only_the_end_of_long_ones(raw: Raw) -> None:
    await raw("PUT", f"{WHERE}/a", group())
    assert await code(await raw("GET", f"{WHERE}/a/containers/b/logs")) == (404, "ContainerNotFound")
    raw.arm.finish("a", 0, "x" * 20_000)
    assert len((await raw("GET", f"{WHERE}/a/containers/a/logs"))[1]["content"]) == 16 * 1024


async def test_the_sdks_own_poller_follows_the_operation_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, monkeypatch) as world:
        definition = world.containers._group(spec())
        poller = await world.containers._client.container_groups.begin_create_or_update("rg", "job-1", definition)
        made = await poller.result()
        assert any("/operations/job-1" in one for one in world.arm.faults.log)
    assert made.provisioning_state == "Succeeded"
