"""A provider and its token endpoint on one real server: from a dead token to a second answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from syncd.domain.errors import AuthenticationFailed, Invalid
from syncd.domain.secrets import Secret
from syncd.ports.api import Account
from syncd.ports.caller import Call
from syncd.ports.credentials import Credentials
from syncd.testing.clock import FrozenClock
from tests.integration.outgoing_api.world import Providers
from tests.integration.refreshing import TENANT, opened


@pytest.mark.parametrize("granted", [True, False])
async def test_calls_with_a_dead_token_refresh_it_once_and_go_on(
    world: Providers, tmp_path: Path, granted: bool
) -> None:
    forms: list[dict[str, str]] = []
    tokens: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/token":
            forms.append({name: str(value) for name, value in (await request.post()).items()})
            if not granted:
                return web.json_response({"error": "invalid_grant"}, status=400)
            return web.json_response({"access_token": "new", "refresh_token": "r2", "expires_in": 3600})
        tokens.append(request.headers["Authorization"])
        return web.json_response({}, status=200 if tokens[-1] == "Bearer new" else 401)

    port = await world.serve(handler)
    async with opened(tmp_path, FrozenClock(), await world.caller()) as store:
        identifier = await store.add(ends_in=None, tokenUrl=f"http://127.0.0.1:{port}/token")
        credentials: Credentials = store.process()
        apis = await world.apis(credentials=credentials)
        account = Account(
            connection_id="c", tenant_id=TENANT, integration_id="crm", settings={}, credential_id=identifier
        )
        answers = await asyncio.gather(
            *(apis.of(account, f"http://127.0.0.1:{port}").request("GET", "/", operation="fetch") for _ in range(10)),
            return_exceptions=True,
        )
    assert [(form["grant_type"], form["refresh_token"], form["client_secret"]) for form in forms] == [
        ("refresh_token", "r1", "shh")
    ]
    if granted:
        assert [answer.status for answer in answers if not isinstance(answer, BaseException)] == [200] * 10
        assert tokens.count("Bearer new") == 10
    else:
        assert all(isinstance(answer, AuthenticationFailed) for answer in answers)
        assert "Bearer new" not in tokens


async def test_a_form_with_secrets_does_not_leave_this_machine_in_clear_text(world: Providers) -> None:
    call = Call(method="POST", url="http://crm.example/token", secret_body=Secret("refresh_token=topsecret"))
    assert "topsecret" not in repr(call)
    with pytest.raises(Invalid, match="clear text"):
        await (await world.caller()).call(call)
