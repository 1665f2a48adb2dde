"""What `syncd check` hears of a Redis, and what a limiter makes of one that it may not use."""

from __future__ import annotations

import pytest

from syncd.adapters.redis.checking import ping_redis, prepare_redis
from syncd.adapters.redis.limiter import open_redis_limiter
from syncd.domain.errors import AuthenticationFailed, Invalid, Unavailable
from syncd.ports.limiter import Level
from syncd.ports.observe import ignore
from tests.acceptance.process import free_port
from tests.integration.redis.clocks import OwnTime
from tests.integration.redis.events import Events
from tests.integration.redis.limiters import opened
from tests.integration.redis.proxy import proxy_to
from tests.integration.redis.server import RedisServer, redis_server

MINUTE = Level("api:t1", 100, 60.0)


async def test_a_redis_that_is_fit_is_reported_with_its_version(shared: RedisServer) -> None:
    before = await ping_redis(url=shared.url, tag="checked")
    assert before.version.count(".") == 2
    assert not before.prepared
    assert "start marker" in before.warning
    assert await prepare_redis(url=shared.url, tag="checked")
    after = await ping_redis(url=shared.url, tag="checked")
    assert after.prepared
    assert after.warning == ""


async def test_preparing_does_not_make_a_redis_forget_that_it_forgot(server: RedisServer) -> None:
    time = OwnTime()
    async with opened(server.url, clock=time, tag="t", time_source=time.monotonic) as limiter:
        server.run("FLUSHALL")
        assert not (await limiter.take([MINUTE])).allowed
        assert not await prepare_redis(url=server.url, tag="t")
        assert not (await limiter.take([MINUTE])).allowed


async def test_evictions_are_named(server: RedisServer) -> None:
    server.run("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    await prepare_redis(url=server.url)
    server.run("SET", "x", "y" * 1000)
    server.run("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(Unavailable, match="memory"):
        await prepare_redis(url=server.url, tag="another")
    server.run("CONFIG", "SET", "maxmemory", "0")
    report = await ping_redis(url=server.url)
    assert report.evicted > 0
    assert "allkeys-lru" in report.warning


async def test_a_redis_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="cannot be used"):
        await ping_redis(url=f"redis://127.0.0.1:{free_port()}/0")


async def test_a_redis_that_says_nothing_is_unavailable_in_time(server: RedisServer) -> None:
    server.pause()
    with pytest.raises(Unavailable, match=r"within 0\.3 s"):
        await ping_redis(url=server.url, timeout=0.3)


@pytest.mark.parametrize("url", ["http://user:CANARY@host", "CANARY", "redis://:CANARY@host:99999999/0"])
async def test_an_address_that_is_none_is_refused_without_telling_its_password(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        await ping_redis(url=url)
    assert "CANARY" not in str(refused.value)
    with pytest.raises(Invalid):
        async with open_redis_limiter(url=url, clock=OwnTime(), observe=ignore):
            pass


async def test_a_wrong_password_is_named_and_the_limiter_is_degraded_with_that_reason(server: RedisServer) -> None:
    server.run("CONFIG", "SET", "requirepass", "right")
    wrong = server.url.replace("//", "//:CANARY@")
    with pytest.raises(AuthenticationFailed) as refused:
        await ping_redis(url=wrong)
    assert "CANARY" not in str(refused.value)
    assert (await ping_redis(url=server.url.replace("//", "//:right@"))).version
    events = Events()
    async with open_redis_limiter(url=wrong, clock=OwnTime(), observe=events) as limiter:
        assert events.names == ["limiter_lost"]
        assert limiter.health().status == "degraded"
        assert "Authentication" in limiter.health().detail
        assert "CANARY" not in limiter.health().detail


async def test_a_login_that_may_not_ask_about_the_server_is_enough(server: RedisServer) -> None:
    server.run("ACL", "SETUSER", "syncd", "on", ">pw", "~{syncd}:*", "+@all", "-@dangerous", "-@admin")
    url = server.url.replace("//", "//syncd:pw@")
    assert (await ping_redis(url=url)).version == ""
    await prepare_redis(url=url)
    events = Events()
    async with open_redis_limiter(url=url, clock=OwnTime(), observe=events) as limiter:
        assert (await limiter.take([MINUTE])).allowed
        assert limiter.health().status == "ok"
    assert events.names == []


async def test_a_primary_that_becomes_a_replica_is_left_for_the_new_one(server: RedisServer) -> None:
    time, events = OwnTime(), Events()
    server.run("CONFIG", "SET", "repl-diskless-sync-delay", "0")
    with redis_server("--replicaof", "127.0.0.1", str(server.port)) as other:
        async with (
            proxy_to(server.port) as gate,
            opened(gate.url, clock=time, observe=events, time_source=time.monotonic, fallback_share=0.0) as limiter,
        ):
            assert (await limiter.take([MINUTE])).allowed
            other.follow(server)
            other.run("REPLICAOF", "NO", "ONE")
            server.run("REPLICAOF", "127.0.0.1", str(other.port))
            gate.target = other.port
            await events.come("limiter_failed_over")
            assert (await limiter.take([MINUTE])).remaining == 98
