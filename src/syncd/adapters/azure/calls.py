"""What every call to an HTTP service of Azure has around it: an end, its error in our terms, and one observation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from syncd.adapters.azure.errors import boundary
from syncd.adapters.azure.identity import Credential
from syncd.domain.errors import SyncdError
from syncd.ports.clock import Clock

#: Keywords of every HTTP client of the SDKs (azure-core's retry policy and transport). One repetition hides a connection that was
#: closed while idle; everything longer is for flows, which know what can wait and record it. A status is never retried here: a 429
#: must reach the caller as Throttled with its time, not as a silent minute inside the SDK.
PATIENCE: dict[str, Any] = {  # mixed types, by the SDK
    "retry_total": 1,
    "retry_connect": 1,
    "retry_read": 1,
    "retry_status": 0,
    "retry_backoff_factor": 0.1,
    "connection_timeout": 5.0,
    "read_timeout": 15.0,
}


class Told(Protocol):
    """Hands one call to `observe`, under the service's own event. `outcome`: "ok" or the error's label; seconds."""

    def __call__(self, *, operation: str, outcome: str, duration: float) -> None: ...


class Calls:
    """One service's calls. `timeout`: seconds for each, unless it names its own."""

    def __init__(self, where: str, *, credential: Credential | None, clock: Clock, told: Told, timeout: float) -> None:
        self._where = where
        self._credential = credential
        self._clock = clock
        self._told = told
        self._timeout = timeout

    @asynccontextmanager
    async def __call__(
        self, operation: str, what: str, *, right: str | None = None, timeout: float | None = None
    ) -> AsyncIterator[None]:
        """`timeout` in seconds for the whole block; 0 for none (a stream, whose every read has its own)."""
        began = self._clock.monotonic()
        outcome = "failed"
        limit = self._timeout if timeout is None else timeout
        try:
            with boundary(f"{self._where}: {what}", right=right):
                try:
                    async with asyncio.timeout(limit or None):
                        yield
                except Exception as error:  # only to look at its status; the boundary decides what becomes of it
                    if getattr(error, "status_code", None) == 401 and self._credential is not None:
                        self._credential.forget()
                    raise
            outcome = "ok"
        except SyncdError as error:
            outcome = error.label
            raise
        finally:
            duration = self._clock.monotonic() - began
            self._told(operation=operation, outcome=outcome, duration=duration)
