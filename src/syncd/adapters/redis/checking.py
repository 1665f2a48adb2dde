"""Looking at a Redis before it is relied on: for `syncd check`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from redis.exceptions import AuthenticationError, RedisError

from syncd.adapters.redis.commands import SCRIPT, Commands
from syncd.adapters.redis.link import Greeting, connection_of, pool_of, reason_of
from syncd.domain.errors import AuthenticationFailed, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisReport:
    version: str
    """Empty, like the other facts, where this login may not ask."""
    prepared: bool
    """Whether the start marker was there. Without it the first window after the first start admits nothing."""
    policy: str
    """`maxmemory-policy`. Any but `noeviction` may throw windows away when the memory is full: what was charged is then forgotten."""
    evicted: int
    """Keys thrown away since the server's start."""

    @property
    def warning(self) -> str:
        if self.evicted and self.policy != "noeviction":
            return f"Redis has evicted {self.evicted} keys ({self.policy}): limits may have been exceeded; give it more memory"
        if not self.prepared:
            return "Redis has no start marker yet: nothing is admitted for one window after the first start"
        return ""


async def ping_redis(*, url: str, tag: str = "syncd", timeout: float = 5.0) -> RedisReport:
    """Connect, and load and run the script as the limiter does. Raises Invalid, Unavailable, AuthenticationFailed."""

    async def look(greeting: Greeting) -> RedisReport:
        known = await greeting.ask("EXISTS", f"{{{tag}}}:life") == b"1"
        facts: dict[str, str] = {}
        for section in ("server", "memory", "stats"):
            lines = (await greeting.info(section)).decode(errors="replace").splitlines()
            facts.update(line.partition(":")[::2] for line in lines)
        return RedisReport(
            version=facts.get("redis_version", ""),
            prepared=known,
            policy=facts.get("maxmemory_policy", ""),
            evicted=int(facts.get("evicted_keys", "0")),
        )

    return await _with(url, timeout, look)


async def prepare_redis(*, url: str, tag: str = "syncd", timeout: float = 5.0) -> bool:
    """Say that this Redis is new: nothing was charged in the last window, so nobody need wait one. Only where it has no start marker;
    whether it had none. Raises as `ping_redis`."""

    async def prepare(greeting: Greeting) -> bool:
        return await greeting.run(Commands(tag=tag).prepare(now=b"", call=b"prepared")) == b"1"

    return await _with(url, timeout, prepare)


async def _with(url: str, timeout: float, use: Callable[[Greeting], Awaitable[_Found]]) -> _Found:
    connection = connection_of(pool_of(url))
    try:
        async with asyncio.timeout(timeout):
            await connection.connect()
            greeting = Greeting(connection)
            await greeting.ask("SCRIPT", "LOAD", SCRIPT)
            return await use(greeting)
    except AuthenticationError as error:
        raise AuthenticationFailed(f"Redis refuses the login: {error}") from error
    except TimeoutError as error:
        raise Unavailable(f"Redis did not answer within {timeout:g} s") from error
    except (RedisError, OSError, EOFError) as error:
        raise Unavailable(f"Redis cannot be used: {reason_of(error)}") from error
    finally:
        await connection.disconnect(nowait=True)
