"""Trying a connection: one cheap authenticated call, answered while somebody waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.errors import Invalid, SyncdError, Throttled
from syncd.flows.accounts import account_of
from syncd.flows.operate.asking import asking
from syncd.flows.operate.connections import find_connection

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.ports.api import Apis
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents
    from syncd.ports.provider import Providers

#: A test that failed for a reason that may pass is tried once more after so long (guarantees, retry by class of error). Seconds.
AGAIN_AFTER = 5.0
#: Not where it took longer than this to fail: whoever waits for the answer has waited enough. Seconds.
PATIENCE = 10.0


class ConnectionTestsFlow:
    def __init__(self, *, documents: Documents, providers: Providers, apis: Apis, clock: Clock) -> None:
        self._documents = documents
        self._providers = providers
        self._apis = apis
        self._clock = clock

    async def test(self, principal: Principal, identifier: str) -> JsonObject:
        """{connectionId, integrationId, enabled, status: ok, account, attempts, durationMs}; `account` is what the provider tells of it.

        A connection that cannot be reached or answers 5xx is asked once more; a refusal of any kind stands at once. Raises what
        `asking` raises."""
        principal.may_operate()
        connection = await find_connection(self._documents, principal, identifier)
        started = self._clock.monotonic()
        attempts = 1
        try:
            account = await self._ask(connection)
        except SyncdError as error:
            passing = error.retry == "backoff" and not isinstance(error, Throttled)
            if not passing or self._clock.monotonic() - started > PATIENCE:
                raise
            await self._clock.sleep(AGAIN_AFTER)  # the guaranteed second try
            attempts += 1
            account = await self._ask(connection)
        return {
            "connectionId": connection.id,
            "integrationId": connection.data["integrationId"],
            "enabled": connection.data.get("enabled", True),
            "status": "ok",
            "account": account,
            "attempts": attempts,
            "durationMs": round((self._clock.monotonic() - started) * 1000),
        }

    async def _ask(self, connection: Document) -> JsonObject:
        provider = self._providers.get(connection.data["integrationId"])
        if provider is None or provider.records is None:
            raise Invalid(f"nothing can be asked of {connection.data['integrationId']!r}: it only sends webhooks")
        with asking(connection):
            base_url = provider.records.base_url(connection.data.get("settings", {}))
            return await provider.records.test(self._apis.of(account_of(connection), base_url, books=False))
