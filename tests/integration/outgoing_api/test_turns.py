"""Whose turn it is: refused credentials and the limits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from syncd.adapters.http.limits import Limits
from syncd.adapters.http.pauses import MOST_PAUSES, Pauses
from syncd.domain.errors import (
    AuthenticationFailed,
    Throttled,
)
from syncd.ports.api import Account, Api
from tests.integration.outgoing_api.world import Keys, Providers, failed


async def test_a_refused_token_is_replaced_once_and_the_request_repeated(world: Providers) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.headers["Authorization"] == "Bearer token-2" else 401)

    keys = Keys(successors=5)
    api = await world.api(handler, keys=keys)
    assert (await api.request("POST", "/", operation="create", json={"a": 1})).status == 200
    assert keys.refusals == ["1"]
    assert [await request.json() for request in world.requests] == [{"a": 1}, {"a": 1}]


async def test_a_token_that_is_refused_again_or_has_no_successor_needs_a_person(world: Providers) -> None:
    keys = Keys(successors=5)
    assert isinstance(await failed(await world.api(401, keys=keys)), AuthenticationFailed)
    assert (len(world.requests), keys.refusals) == (2, ["1"])
    keys = Keys()
    assert isinstance(await failed(await world.api(401, keys=keys)), AuthenticationFailed)
    assert len(world.requests) == 3
    assert isinstance(await failed(await world.api(401)), AuthenticationFailed)


# Limits


async def test_a_short_refusal_is_waited_for_in_place_and_redeemed(world: Providers) -> None:
    api = await world.api(200, limits=Limits(integration=2), inline_wait=61.0)
    await api.request("GET", "/1", operation="fetch")
    await api.request("GET", "/2", operation="fetch")
    third = asyncio.create_task(api.request("GET", "/3", operation="fetch"))
    while not world.clock.sleeping:
        await asyncio.sleep(0)
    assert len(world.requests) == 2
    await world.clock.advance(59)
    assert not third.done()
    await world.clock.advance(1.1)
    assert (await third).status == 200
    assert world.seen.named("ratelimit_wait")[0]["by"] == "limits"


async def test_a_long_refusal_holds_a_turn_which_the_next_unit_redeems(world: Providers) -> None:
    limits = Limits(integration=1)
    port = await world.serve(world._handler(200))
    await (await world.at(port, limits=limits)).request("GET", "/1", operation="fetch")
    error = await failed(await world.at(port, limits=limits))
    assert isinstance(error, Throttled)
    assert error.reservation is not None
    assert error.retry_after == pytest.approx(60, abs=0.01)
    await world.clock.advance(error.retry_after or 0)
    other = await failed(await world.at(port, limits=limits))
    assert isinstance(other, Throttled), "the turn is held for who has the reservation"
    mine = await world.at(port, limits=limits, reservation=error.reservation)
    assert (await mine.request("GET", "/", operation="fetch")).status == 200


async def test_a_delete_books_no_turn_and_waits_for_none(world: Providers) -> None:
    api = await world.api(200, limits=Limits(operations={"delete": 1}), inline_wait=100.0)
    await api.request("DELETE", "/1", operation="delete")
    error = await failed(api, "DELETE", operation="delete")
    assert isinstance(error, Throttled)
    assert (error.reservation, world.limiter.reservations) == (None, 0)
    assert error.retry_after == pytest.approx(60, abs=0.01)
    await api.request("GET", "/1", operation="fetch")


async def test_systems_that_share_only_the_way_they_are_spoken_to_have_limits_and_a_pace_of_their_own(
    world: Providers,
) -> None:
    half_spent = web.Response(headers={"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "5"})
    first, second = [await world.serve(world._handler(answer)) for answer in (half_spent, web.Response())]
    apis = await world.apis(limits=Limits(integration=4, by_system=frozenset({"crm"})))

    def api(port: int, integration: str = "crm", connection: str = "c1") -> Api:
        account = Account(connection_id=connection, tenant_id="t1", integration_id=integration, settings={})
        return apis.of(account, f"http://127.0.0.1:{port}/v1")

    for _ in range(2):
        await api(first).request("GET", "/", operation="fetch")
    assert isinstance(await failed(api(first, connection="c2")), Throttled), "half of four, for all who ask there"
    for _ in range(4):
        await api(second).request("GET", "/", operation="fetch")
    assert isinstance(await failed(api(second)), Throttled)
    for port in (first, second):
        await api(port, "other").request("GET", "/", operation="fetch")
    assert [facts["factor"] for facts in world.seen.named("limit_adapted")] == [0.5, 0.5]


async def test_the_pace_follows_the_providers_headers_both_ways(world: Providers) -> None:
    remaining = 5

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(headers={"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": str(remaining)})

    api = await world.api(handler, limits=Limits(integration=10))
    for _ in range(5):
        await api.request("GET", "/", operation="fetch")
    assert isinstance(await failed(api), Throttled), "half of ten"
    remaining = 90
    await world.clock.advance(121)
    await api.request("GET", "/", operation="fetch")
    for _ in range(9):
        await api.request("GET", "/", operation="fetch")
    assert isinstance(await failed(api), Throttled), "ten again"
    assert [facts["factor"] for facts in world.seen.named("limit_adapted")] == [0.5, 1.0]


async def test_while_a_providers_quota_is_spent_it_is_not_asked_by_anybody_with_that_credential(
    world: Providers,
) -> None:
    spent = web.Response(status=403, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "20"})
    port = await world.serve(world._handler(spent))
    apis = await world.apis()

    def api(connection: str) -> Api:
        account = Account(connection_id=connection, tenant_id="t1", integration_id="crm", settings={})
        return apis.of(account, f"http://127.0.0.1:{port}")

    assert isinstance(await failed(api("c1")), Throttled)
    await world.clock.advance(5)
    error = await failed(api("c1"))
    assert isinstance(error, Throttled)
    assert error.retry_after == 15
    assert len(world.requests) == 1
    assert isinstance(await failed(api("c2")), Throttled)
    assert len(world.requests) == 2, "another account has a quota of its own"
    await world.clock.advance(15)
    await failed(api("c1"))
    assert len(world.requests) == 3


def test_pauses_in_memory_are_bounded() -> None:
    pauses = Pauses()
    for number in range(MOST_PAUSES + 5):
        pauses.begin(number, 0.0, 10.0)
    assert (pauses.left(0, 1.0), pauses.left(5, 1.0), pauses.left(5, 10.0)) == (0.0, 9.0, 0.0)


def test_levels_come_from_the_settings_and_from_the_provider_where_they_name_none() -> None:
    limits = Limits(
        tenant=5000,
        tenants={"big": 9000},
        integrations={"github": 360},
        operations={"fetch": 200},
        declared={"github": {"all": 1}, "crm": {"all": 120, "fetch": 7, "create": 9}},
    )

    def levels(tenant: str, integration: str, operation: Any, factor: float = 1.0) -> list[tuple[str, int]]:
        account = Account(connection_id="c", tenant_id=tenant, integration_id=integration, settings={})
        found = limits.levels(account, operation, factor)
        assert limits.levels(account, operation, factor) is found
        return [(level.key, level.limit) for level in found]

    assert levels("t", "github", "fetch") == [("api:t:github", 360), ("api:t:github:fetch", 200), ("api:t", 5000)]
    assert levels("big", "crm", "create") == [("api:big:crm", 120), ("api:big:crm:create", 9), ("api:big", 9000)]
    assert levels("t", "crm", "fetch", 0.5) == [("api:t:crm", 60), ("api:t:crm:fetch", 200), ("api:t", 5000)]
    assert levels("t", "unknown", "update") == [("api:t:unknown", 600), ("api:t", 5000)]
    assert levels("a:b", "c", "update")[0][0] != levels("a", "b:c", "update")[0][0]
