"""How many messages an entity has, as the administration API counts them: all of them, by one small request.

It takes the right to manage (https://learn.microsoft.com/azure/service-bus-messaging/service-bus-sas), which the daemon does not
need and mostly has not: then nobody asks again for a while, and whoever wants a number peeks. An emulator has no such API at its
address.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from azure.core.exceptions import AzureError, ResourceNotFoundError

if TYPE_CHECKING:
    from azure.servicebus.aio.management import ServiceBusAdministrationClient

#: After a refusal or a failure nobody asks for so long. Seconds.
PAUSE = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    active: int
    """Those that are locked included."""
    scheduled: int
    dead: int


class Counting:
    """On the I/O thread, except for making it. `make`: None where there is no such API. `timeout`: seconds of one request."""

    def __init__(self, make: Callable[[], ServiceBusAdministrationClient] | None, *, timeout: float) -> None:
        self._make = make
        self._timeout = timeout
        self._client: ServiceBusAdministrationClient | None = None
        self._refused_until = -math.inf

    async def of(self, entity: str) -> Counted | None:
        """None where it cannot be told, and where there is no such entity. Raises nothing."""
        if self._make is None or asyncio.get_running_loop().time() < self._refused_until:
            return None
        if self._client is None:
            self._client = self._make()
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._client.get_queue_runtime_properties(entity)
            active, scheduled, dead = (
                found.active_message_count,
                found.scheduled_message_count,
                found.dead_letter_message_count,
            )
        except ResourceNotFoundError:
            return None
        # The last two: an answer that is no description of a queue.
        except (AzureError, TimeoutError, OSError, ValueError, AttributeError):
            active = scheduled = dead = None
        if active is None or scheduled is None or dead is None:
            self._refused_until = asyncio.get_running_loop().time() + PAUSE
            return None
        return Counted(active=active, scheduled=scheduled, dead=dead)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
