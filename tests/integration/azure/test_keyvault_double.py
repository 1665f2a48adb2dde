"""The double refuses what Key Vault refuses: one test for each row of tests/wire/keyvault/refusals.py."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.wire.identity import IdentityDouble
from tests.wire.keyvault import KeyVaultDouble
from tests.wire.keyvault.double import AUDIENCE, OFFICER


class Raw:
    """Requests as they are, without an SDK."""

    def __init__(self, session: ClientSession, double: KeyVaultDouble, identity: IdentityDouble) -> None:
        self.double, self.identity, self._session = double, identity, session
        self.token = identity.token(AUDIENCE)[0]
        self.headers: dict[str, str] = {}

    async def __call__(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any], dict[str, str]]:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url = f"{self.double.url}{path}{'&' if '?' in path else '?'}api-version=7.6"
        async with self._session.request(method, url, json=body, headers=headers | self.headers) as answer:
            found = await answer.json() if answer.content_length else {}
            return answer.status, found, dict(answer.headers)


@pytest.fixture
async def raw(tmp_path: Path) -> AsyncIterator[Raw]:
    async with IdentityDouble().serving() as identity, KeyVaultDouble(identity).serving() as double:
        context = ssl.create_default_context(cafile=double.write_ca(tmp_path))
        async with opened(context) as session:
            yield Raw(session, double, identity)


@asynccontextmanager
async def opened(context: ssl.SSLContext) -> AsyncIterator[ClientSession]:
    from aiohttp import TCPConnector

    async with ClientSession(connector=TCPConnector(ssl=context)) as session:
        yield session


def inner(body: dict[str, Any]) -> str:
    return str(body["error"].get("innererror", {}).get("code", ""))


async def test_unauthorized_without_a_token_with_one_for_another_audience_ended_or_revoked(raw: Raw) -> None:
    good, raw.token = raw.token, ""
    status, body, headers = await raw("GET", "/secrets/a/")
    assert status == 401
    assert headers["WWW-Authenticate"].startswith('Bearer authorization="https://login.microsoftonline.com/')
    assert 'resource="https://vault.azure.net"' in headers["WWW-Authenticate"]
    assert body["error"]["code"] == "Unauthorized"
    for wrong in (raw.identity.token("https://management.azure.com")[0], "made.up.token", good + "x.y"):
        raw.token = wrong
        assert (await raw("GET", "/secrets/a/"))[0] == 401
    raw.token = good
    assert (await raw("GET", "/secrets/a/"))[0] == 404
    raw.identity.ahead = 86401
    assert (await raw("GET", "/secrets/a/"))[0] == 401
    raw.identity.ahead = 0
    raw.identity.revoke()
    assert (await raw("GET", "/secrets/a/"))[0] == 401


@pytest.mark.parametrize(
    ("right", "method", "path"),
    [
        ("get", "GET", "/secrets/a/"),
        ("list", "GET", "/secrets/a/versions"),
        ("set", "PUT", "/secrets/a"),
        ("update", "PATCH", "/secrets/a/"),
        ("delete", "DELETE", "/secrets/a"),
        ("get", "GET", "/deletedsecrets/a"),
        ("recover", "POST", "/deletedsecrets/a/recover"),
        ("purge", "DELETE", "/deletedsecrets/a"),
    ],
)
async def test_rbac_a_right_that_is_missing_is_refused_before_anything_is_looked_for(
    raw: Raw, right: str, method: str, path: str
) -> None:
    raw.double.rights = OFFICER - {right}
    status, body, _ = await raw(method, path, {} if method in ("PUT", "PATCH") else None)
    assert (status, inner(body)) == (403, "ForbiddenByRbac")
    assert "Action: 'Microsoft.KeyVault/vaults/secrets/" in body["error"]["message"]


async def test_firewall(raw: Raw) -> None:
    raw.double.firewall = True
    status, body, _ = await raw("GET", "/secrets/a/")
    assert (status, inner(body)) == (403, "ForbiddenByFirewall")


async def test_disabled_and_not_found(raw: Raw) -> None:
    _, stored, _ = await raw("PUT", "/secrets/a", {"value": "x"})
    version = stored["id"].rpartition("/")[2]
    assert len(version) == 32
    assert (await raw("GET", f"/secrets/a/{version}"))[1]["value"] == "x"
    status, body, _ = await raw("PATCH", f"/secrets/a/{version}", {"attributes": {"enabled": False}})
    assert (status, body["attributes"]["enabled"]) == (200, False)
    assert "value" not in body
    status, body, _ = await raw("GET", f"/secrets/a/{version}")
    assert (status, inner(body)) == (403, "SecretDisabled")
    status, body, _ = await raw("GET", f"/secrets/a/{'0' * 32}")
    assert (status, body["error"]["code"]) == (404, "SecretNotFound")
    assert (await raw("GET", "/secrets/b/versions"))[1]["value"] == []


async def test_a_deleted_name_passes_through_its_states_each_with_its_refusal(raw: Raw) -> None:
    raw.double.store.settling = 5.0
    await raw("PUT", "/secrets/a", {"value": "x"})
    status, body, _ = await raw("DELETE", "/secrets/a")
    assert (status, body["recoveryId"]) == (200, f"{raw.double.url}/deletedsecrets/a")
    assert (await raw("GET", "/deletedsecrets/a"))[0] == 404
    status, body, _ = await raw("PUT", "/secrets/a", {"value": "y"})
    assert (status, inner(body)) == (409, "ObjectIsBeingDeleted")
    raw.double.ahead += 6
    assert (await raw("GET", "/deletedsecrets/a"))[0] == 200
    assert (await raw("GET", "/secrets/a/"))[0] == 404
    status, body, _ = await raw("PUT", "/secrets/a", {"value": "y"})
    assert (status, inner(body)) == (409, "ObjectIsDeletedButRecoverable")
    assert (await raw("POST", "/deletedsecrets/a/recover"))[0] == 200
    status, body, _ = await raw("PUT", "/secrets/a", {"value": "y"})
    assert (status, inner(body)) == (409, "ObjectIsBeingRecovered")
    raw.double.ahead += 6
    assert (await raw("GET", "/secrets/a/"))[1]["value"] == "x"
    await raw("DELETE", "/secrets/a")
    raw.double.ahead += 6
    assert (await raw("DELETE", "/deletedsecrets/a"))[0] == 204
    assert (await raw("GET", "/deletedsecrets/a"))[0] == 404
    status, body, _ = await raw("PUT", "/secrets/a", {"value": "y"})
    assert (status, inner(body)) == (409, "ObjectIsBeingDeleted")
    raw.double.ahead += 6
    assert (await raw("PUT", "/secrets/a", {"value": "y"}))[0] == 200
    assert len((await raw("GET", "/secrets/a/versions"))[1]["value"]) == 1


async def test_purge_protected(raw: Raw) -> None:
    raw.double.store.purge_protected = True
    await raw("PUT", "/secrets/a", {"value": "x"})
    await raw("DELETE", "/secrets/a")
    status, body, _ = await raw("DELETE", "/deletedsecrets/a")
    assert (status, "purge protection" in body["error"]["message"]) == (403, True)
    assert raw.double.store.holds("x")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/secrets/a_b", {"value": "x"}),
        ("PUT", "/secrets/a", {"value": "x" * (25 * 1024 + 1)}),
        ("PUT", "/secrets/a", {"value": 7}),
        ("PUT", "/secrets/a", {}),
        ("PUT", "/secrets/a", ["x"]),
        ("GET", "/secrets/a/versions?maxresults=26", None),
    ],
)
async def test_bad_parameter(raw: Raw, method: str, path: str, body: object) -> None:
    status, answer, _ = await raw(method, path, body)
    assert (status, answer["error"]["code"]) == (400, "BadParameter")


async def test_throttled_with_the_seconds_until_the_window_has_room(raw: Raw) -> None:
    raw.double.limit = 3
    assert [(await raw("GET", "/secrets/a/"))[0] for _ in range(4)] == [404, 404, 404, 429]
    status, _, headers = await raw("GET", "/secrets/a/")
    assert (status, headers["Retry-After"]) == (429, "10")
    raw.double.ahead = 10
    assert (await raw("GET", "/secrets/a/"))[0] == 404


async def test_no_compare_and_set_a_condition_changes_nothing(raw: Raw) -> None:
    await raw("PUT", "/secrets/a", {"value": "one"})
    raw.headers = {"If-Match": '"nothing"', "If-None-Match": "*"}
    assert (await raw("PUT", "/secrets/a", {"value": "two"}))[0] == 200
    assert len((await raw("GET", "/secrets/a/versions"))[1]["value"]) == 2


async def test_versions_come_in_pages_without_values_and_in_no_order_of_time(raw: Raw) -> None:
    written = [(await raw("PUT", "/secrets/a", {"value": str(n)}))[1]["id"] for n in range(60)]
    listed, path = [], "/secrets/a/versions"
    pages = 0
    while path:
        _, page, _ = await raw("GET", path)
        listed += page["value"]
        pages += 1
        following = page["nextLink"]
        path = following.removeprefix(raw.double.url).replace("api-version=7.6&", "") if following else ""
    assert pages == 3
    assert sorted(one["id"] for one in listed) == sorted(written)
    assert [one["id"] for one in listed] != written
    assert not any("value" in one for one in listed)
