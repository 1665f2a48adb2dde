"""A credential that belongs to one loop, asked from another: its HTTP session lives where it was opened."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential


class HomeCredential:
    """An AsyncTokenCredential. Closing it closes nothing: it is not ours."""

    def __init__(self, credential: AsyncTokenCredential, home: asyncio.AbstractEventLoop) -> None:
        self._credential = credential
        self._home = home

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **kwargs: Any,  # Any: the SDK's protocol has it
    ) -> AccessToken:
        async def ask() -> AccessToken:
            return await self._credential.get_token(
                *scopes, claims=claims, tenant_id=tenant_id, enable_cae=enable_cae, **kwargs
            )

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(ask(), self._home))

    async def close(self) -> None:
        return

    async def __aenter__(self) -> HomeCredential:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        return
