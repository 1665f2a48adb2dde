"""Limiters on a server of one's own, each with a namespace that nobody has used."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from syncd.adapters.redis.checking import prepare_redis
from syncd.adapters.redis.limiter import RedisLimiter, open_redis_limiter
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe, ignore


@asynccontextmanager
async def opened(
    url: str,
    *,
    clock: Clock,
    observe: Observe = ignore,
    fallback_share: float = 0.1,
    max_replicas: int = 10,
    fail_closed: bool | Collection[str] = False,
    block: int = 0,
    tag: str | None = None,
    prepared: bool = True,
    timeout: float = 20.0,
    time_source: Callable[[], float] | None = None,
) -> AsyncIterator[RedisLimiter]:
    """`prepared`: Redis is known to be new, so that nobody waits for what it may have
    forgotten. `timeout`: long, so that a busy machine is not taken for a Redis that is away."""
    tag = tag or secrets.token_hex(4)
    if prepared:
        await prepare_redis(url=url, tag=tag)
    async with open_redis_limiter(
        url=url,
        clock=clock,
        observe=observe,
        fallback_share=fallback_share,
        max_replicas=max_replicas,
        fail_closed=fail_closed,
        block=block,
        tag=tag,
        timeout=timeout,
        time_source=time_source,
    ) as limiter:
        yield limiter
