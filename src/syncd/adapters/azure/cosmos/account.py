"""One Cosmos DB account: its client, which connects when it is first needed and again after an outage, and the one way to call it.

The SDK's own retries are off (`client`). What may be repeated is repeated here: a read once over a new connection, and what the
service refused whole (429, 449) within the caller's patience.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from syncd.adapters.azure.cosmos.admission import Admission
from syncd.adapters.azure.cosmos.client import Options, check_promises, new_client
from syncd.adapters.azure.cosmos.layout import Layout, layout_of
from syncd.adapters.azure.cosmos.skew import Skew
from syncd.adapters.azure.errors import mapped
from syncd.domain.collections import Collection
from syncd.domain.errors import ServerFault, StoreUnusable, SyncdError, Throttled, TimedOut, Unavailable
from syncd.domain.jsontypes import JsonObject
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe, ignore

if TYPE_CHECKING:
    from azure.cosmos.aio import ContainerProxy, CosmosClient, DatabaseProxy

    from syncd.adapters.azure.identity import Credential

T = TypeVar("T")

#: What the identity needs, told where it is refused.
RIGHT = (
    "the role Cosmos DB Built-in Data Contributor on the account: `az cosmosdb sql role assignment create --account-name"
    " ACCOUNT --resource-group GROUP --scope / --principal-id ID --role-definition-id 00000000-0000-0000-0000-000000000002`"
)
#: Sub-statuses of 404 (azure.cosmos.http_constants.SubStatusCodes): the replica has not caught up with this session; the
#: container or the database is not there.
_NOT_CAUGHT_UP = 1002
_OWNER_MISSING = 1003
#: Where 429 or 449 comes without a pause of its own.
_SHORT_PAUSE = 0.05
#: What is not there yet, rather than lost, where it is asked for by itself.
_METADATA = frozenset({"container", "containers"})


@dataclass(slots=True)
class Charge:
    """What one operation cost, over all its requests."""

    units: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, headers: Mapping[str, str], _body: object) -> None:
        self.headers = headers
        self.units += _units(headers)


Work = Callable[["ContainerProxy", Layout, Charge], Awaitable[T]]


class Account:
    def __init__(
        self,
        *,
        endpoint: str,
        credential: str | Credential,
        database: str,
        clock: Clock,
        containers: Mapping[str, str] | None = None,
        options: Options | None = None,
        observe: Observe = ignore,
    ) -> None:
        """As `Place` says."""
        options = options or Options()
        self._endpoint = endpoint
        self._credential = credential
        self._name = database
        self._containers = containers or {}
        self._clock = clock
        self._observe = observe
        self._options = options
        self._client: CosmosClient | None = None
        self._connecting = asyncio.Lock()
        self._closed = False
        self._failed: tuple[float, SyncdError] | None = None
        self._layouts: dict[str, Layout] = {}
        self.skew = Skew()
        self._admission = Admission(
            clock=clock, most=options.most_in_flight, waiting=options.most_waiting, turn=options.timeout
        )

    @property
    def what(self) -> str:
        return f"Cosmos DB {self._endpoint}"

    @property
    def database_name(self) -> str:
        return self._name

    def container_name(self, collection: Collection) -> str:
        return self._containers.get(collection.name, collection.name)

    async def close(self) -> None:
        """For good: an operation that comes late, or was connecting, must not leave a session behind that nobody closes."""
        self._closed = True
        async with self._connecting:
            client, self._client = self._client, None
        if client is not None:
            await client.close()

    # -- connecting --

    async def client(self) -> CosmosClient:
        """Connected. Raises Unavailable and the like; between two attempts the last error is told again."""
        if self._client is None:
            async with self._connecting:
                await self._connect()
        assert self._client is not None
        return self._client

    async def _connect(self) -> None:
        if self._client is not None:
            return  # by whoever held the lock before
        if self._closed:
            raise Unavailable(f"{self.what}: it is closed")
        if self._failed is not None and self._clock.monotonic() < self._failed[0]:
            raise self._failed[1].with_traceback(None)
        try:
            self._client = await self._connected()
        except SyncdError as error:
            self._failed = (self._clock.monotonic() + self._options.reconnect_pause, error)
            raise
        self._failed = None

    async def _connected(self) -> CosmosClient:
        # Importing the SDK takes 0.5 s, and a new client asks the system for its name by a subprocess.
        client = await asyncio.to_thread(new_client, self._endpoint, self._credential, self._options)
        try:
            async with asyncio.timeout(self._options.timeout):
                await client.__aenter__()
                check_promises(self.what, await client.client_connection.GetDatabaseAccount())
        except Exception as error:  # whatever the SDK raises: the one table of errors knows it, or it is our mistake
            await client.close()  # a client that could not connect keeps its session open otherwise
            self._forget_token(error)
            raise self.told(error, "connecting") from error
        except asyncio.CancelledError:
            await client.close()
            raise
        return client

    async def database(self) -> DatabaseProxy:
        return (await self.client()).get_database_client(self._name)

    async def layout(self, collection: Collection) -> Layout:
        """Known from the first use on. Raises StoreUnusable where the container is missing or cannot be used."""
        layout = self._layouts.get(collection.name)
        if layout is None:
            proxy = (await self.database()).get_container_client(self.container_name(collection))

            async def look() -> JsonObject:
                found = dict(await proxy.read())
                # Reads of what this process wrote need the partitions' ranges. The SDK would ask for them by itself, and where it
                # gets no answer read without (4.17.1, `get_session_token_async`).
                async for _ in proxy.read_feed_ranges():
                    pass
                return found

            properties = await self.call("container", collection.name, look, read=True)
            if properties is None:
                raise StoreUnusable(
                    f"{self.what}: container {proxy.id!r} of database {self._name!r} does not exist: `syncd check --create` makes it"
                )
            layout = layout_of(collection, properties, database=self._name)
            self._layouts[collection.name] = layout
        return layout

    # -- calling --

    async def on(self, operation: str, collection: Collection, work: Work[T], *, read: bool) -> T | None:
        """`work` on the collection's container; None for what is not there."""
        layout = await self.layout(collection)
        proxy = (await self.database()).get_container_client(layout.container)
        charge = Charge()
        return await self.call(
            operation, collection.name, lambda: work(proxy, layout, charge), read=read, charge=charge
        )

    async def item(self, collection: Collection, key: str, identifier: str) -> JsonObject | None:
        """A point read by the container's key and the stored id. An expired item that is not deleted yet is answered too."""

        async def read(container: ContainerProxy, _: Layout, charge: Charge) -> JsonObject:
            return dict(await container.read_item(identifier, key, response_hook=charge))

        return await self.on("read", collection, read, read=True)

    async def call(
        self,
        operation: str,
        collection: str,
        send: Callable[[], Awaitable[T]],
        *,
        read: bool,
        charge: Charge | None = None,
    ) -> T | None:
        """One operation, told to `observe` with its request units. Raises what the table of errors says; a 404 is None."""
        charge = charge or Charge()
        deadline = self._clock.monotonic() + self._options.patience
        again = read
        while True:
            try:
                async with self._admission.place(deadline):
                    found = await self._once(operation, collection, send, charge, read=read)
                    self._admission.answered()
                    return found
            except Throttled as error:
                # Refused whole: nothing was done, so that it may be sent again.
                pause = error.retry_after or _SHORT_PAUSE
                if self._clock.monotonic() + pause > deadline:
                    raise
                await self._clock.sleep(pause)
            except (ServerFault, Unavailable) as error:
                # A connection that was kept open and is closed by now is found out by using it.
                if not again or getattr(error.__cause__, "status_code", None) is not None:
                    raise
                again = False

    async def _once(
        self, operation: str, collection: str, send: Callable[[], Awaitable[T]], charge: Charge, *, read: bool
    ) -> T | None:
        started, asked, status = self._clock.monotonic(), self._clock.now(), 200
        try:
            async with asyncio.timeout(self._options.timeout):
                found = await send()
            self.skew.answered(charge.headers, asked=asked, read=self._clock.now())
            return found
        except SyncdError:
            raise
        except Exception as error:  # whatever the SDK raises: the one table of errors knows it, or it is our mistake
            status = getattr(error, "status_code", None) or 0
            headers = getattr(error, "headers", None) or {}
            charge.units += _units(headers)
            self.skew.answered(headers, asked=asked, read=self._clock.now())
            if read and status == 404 and (_substatus(error) == 0 or operation in _METADATA):
                return None
            told = self.told(error, f"{operation} of {collection}")
            self._forget_token(error)
            if status == 429:
                self._admission.throttled(getattr(told, "retry_after", None) or _SHORT_PAUSE)
            raise told from error
        finally:
            self._observe(
                "cosmos_request",
                operation=operation,
                collection=collection,
                status=status,
                units=round(charge.units, 2),
                duration=self._clock.monotonic() - started,
            )

    def told(self, error: Exception, doing: str) -> SyncdError:
        if isinstance(error, SyncdError):
            return error
        what = f"{self.what}: {doing}"
        substatus = _substatus(error)
        if substatus == _NOT_CAUGHT_UP:
            return Unavailable(f"{what}: no replica has caught up with what this process has written", retry_after=1.0)
        if substatus == _OWNER_MISSING:
            return StoreUnusable(
                f"{what}: the container or database {self._name!r} does not exist: `syncd check --create`"
            )
        if isinstance(error, TimeoutError):
            return TimedOut(f"{what}: no answer within {self._options.timeout:g} s")
        return mapped(error, what=what, right=RIGHT)

    def _forget_token(self, error: BaseException) -> None:
        """A token that is refused may only be believed by this machine's clock."""
        if getattr(error, "status_code", None) == 401 and not isinstance(self._credential, str):
            self._credential.forget()

    def remember(self, headers: Mapping[str, str], link: str) -> None:
        """Reads of this process see what a batch wrote, or what refused it. The SDK keeps the session token of every write and
        every lost one but a batch's (4.17.1, `_Batch`), and takes the container from a header that a batch's answer need not
        have."""
        connection = self._client.client_connection if self._client is not None else None
        if connection is not None and connection.session is not None and headers.get("x-ms-session-token"):
            update: Callable[..., None] = connection.session.update_session
            update(connection, {}, {**headers, "x-ms-alt-content-path": link})


def _units(headers: Mapping[str, object]) -> float:
    try:
        return float(str(headers.get("x-ms-request-charge", 0)))
    except ValueError:
        return 0.0


def _substatus(error: BaseException) -> int:
    found = getattr(error, "sub_status", None)
    return found if isinstance(found, int) else 0
