"""The services behind the ports, opened as the settings name them. Imported only where one is chosen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, TypedDict, TypeVar

from syncd.settings import Settings

if TYPE_CHECKING:
    from syncd.adapters.azure.cosmos import CosmosDocuments
    from syncd.adapters.azure.cosmos.client import Options, Place
    from syncd.adapters.azure.identity import Credential
    from syncd.adapters.redis.limiter import RedisLimiter
    from syncd.ports.blobs import Blobs
    from syncd.ports.clock import Clock
    from syncd.ports.deadletters import BrokerQueue
    from syncd.ports.observe import Observe
    from syncd.ports.vault import Vault

Value = TypeVar("Value")


class Namespace(TypedDict):
    """How a namespace of Service Bus is found: by its connection string alone, or by its host and who we are."""

    connection_string: str | None
    namespace: str | None
    credential: Credential | None


class Services:
    """Each method opens one; all are closed together, the last first. Each imports its own SDK, and only that, one after another:
    the SDKs import each other's packages in circles, which two threads at once cannot do."""

    def __init__(self, stack: AsyncExitStack, settings: Settings, *, clock: Clock, observe: Observe) -> None:
        self._stack = stack
        self._settings = settings
        self._clock = clock
        self._observe = observe
        self._credential: Credential | None = None

    async def documents(self) -> CosmosDocuments:
        from syncd.adapters.azure.cosmos.checking import open_cosmos

        return await self._stack.enter_async_context(open_cosmos(**await self.cosmos()))

    async def cosmos(self) -> Place:
        """The account behind the documents."""
        given = self._settings.cosmos
        return {
            "endpoint": _set(given.endpoint),
            "credential": given.key.reveal() if given.key else await self.credential(),
            "database": given.database,
            "containers": given.containers,
            "options": _cosmos_options(self._settings),
            "clock": self._clock,
            "observe": self._observe,
        }

    async def queue(self) -> BrokerQueue:
        from syncd.adapters.azure.servicebus.opening import open_service_bus

        return await self._stack.enter_async_context(
            open_service_bus(
                **await self.namespace(),
                queues=tuple(self._settings.queues),
                ready=("sync-outbound",) if "webhooks" in self._settings.daemon.roles else (),
                entities=entities(self._settings),
                clock=self._clock,
                observe=self._observe,
            )
        )

    async def namespace(self) -> Namespace:
        """The namespace behind the queue."""
        given = self._settings.servicebus
        return {
            "connection_string": given.connection_string.reveal() if given.connection_string else None,
            "namespace": given.namespace,
            "credential": None if given.connection_string else await self.credential(),
        }

    async def vault(self) -> Vault:
        from syncd.adapters.azure.keyvault import open_key_vault

        given = self._settings.keyvault
        return await self._stack.enter_async_context(
            open_key_vault(
                url=_set(given.url),
                credential=await self.credential(),
                ca_file=str(given.ca_file) if given.ca_file else None,
                verify_challenge=given.verify_challenge,
                clock=self._clock,
                observe=self._observe,
            )
        )

    async def limiter(self) -> RedisLimiter:
        from syncd.adapters.redis.limiter import open_redis_limiter

        given, limits = self._settings.redis, self._settings.limits
        return await self._stack.enter_async_context(
            open_redis_limiter(
                url=_set(given.url).reveal(),
                tag=given.prefix,
                block=given.block,
                fallback_share=limits.fallback_share,
                max_replicas=limits.max_replicas,
                fail_closed=limits.fail_closed,
                clock=self._clock,
                observe=self._observe,
            )
        )

    async def blobs(self) -> Blobs:
        from syncd.adapters.azure.blob import open_blob_storage

        given = self._settings.blob
        keyed = given.connection_string or given.account_key
        return await self._stack.enter_async_context(
            open_blob_storage(
                container=given.container,
                connection_string=given.connection_string,
                account_url=f"https://{given.account_name}.blob.core.windows.net" if given.account_name else None,
                account_key=given.account_key,
                credential=None if keyed else await self.credential(),
                clock=self._clock,
                observe=self._observe,
            )
        )

    async def credential(self) -> Credential:
        """One for all of Azure: each has its own connections and cache of tokens."""
        if self._credential is None:
            from syncd.adapters.azure.identity import open_credential

            self._credential = await self._stack.enter_async_context(
                open_credential(kind=self._settings.backend.identity, observe=self._observe)
            )
        return self._credential


def entities(settings: Settings) -> dict[str, str]:
    """The entity behind each queue that is not called as the queue is."""
    given = settings.servicebus
    return {"sync-inbound": given.queue_inbound, "sync-outbound": given.queue_outbound}


def _cosmos_options(settings: Settings) -> Options:
    from syncd.adapters.azure.cosmos.client import Options

    real = not settings.cosmos.emulator
    return Options(enable_endpoint_discovery=real, connection_verify=real)


def _set(value: Value | None) -> Value:
    """What the configuration was refused without."""
    assert value is not None
    return value


@asynccontextmanager
async def open_services(settings: Settings, *, clock: Clock, observe: Observe) -> AsyncIterator[Services]:
    async with AsyncExitStack() as stack:
        yield Services(stack, settings, clock=clock, observe=observe)
