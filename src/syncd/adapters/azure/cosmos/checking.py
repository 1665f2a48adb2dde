"""Opening the store, what an account lacks for it, and making what is missing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Unpack

from syncd.adapters.azure.cosmos.account import RIGHT, Account
from syncd.adapters.azure.cosmos.client import Place
from syncd.adapters.azure.cosmos.documents import CosmosDocuments
from syncd.adapters.azure.cosmos.layout import Layout, indexing_policy, layout_of, missing_indexes, widened
from syncd.adapters.azure.cosmos.stored import PARTITION
from syncd.domain.collections import COLLECTIONS, PURGES, Collection
from syncd.domain.errors import Conflict, Failure, StoreUnusable, SyncdError
from syncd.domain.jsontypes import JsonObject
from syncd.ports.documents import Create, Delete

_PROBE = "syncd-check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is missing or wrong, and what mends it."""

    part: str
    """`account`, `database sync`, `container entities`, `rights`."""
    problem: str
    fix: str
    creatable: bool = False
    """`syncd check --create` mends it."""


@asynccontextmanager
async def open_cosmos(**place: Unpack[Place]) -> AsyncIterator[CosmosDocuments]:
    """An account that cannot be reached does not stop the start: operations raise Unavailable until it can. Raises StoreUnusable where
    it can be reached and cannot keep what the port promises, or a container's partition key cannot be kept.
    """
    account = Account(**place)
    try:
        # What is missing, or cannot be reached yet, is told by the first operation that needs it.
        with contextlib.suppress(Failure):
            await account.client()
            _check_layouts(account, await _containers(account) or {})
        yield CosmosDocuments(account, clock=place["clock"])
    finally:
        await account.close()


def _check_layouts(account: Account, containers: Mapping[str, JsonObject]) -> None:
    for collection in COLLECTIONS.values():
        properties = containers.get(account.container_name(collection))
        if properties is not None:
            layout_of(collection, properties, database=account.database_name)


async def _containers(account: Account) -> dict[str, JsonObject] | None:
    """The database's containers by name, None where there is no such database."""
    database = await account.database()

    async def listed() -> list[JsonObject]:
        return [dict(one) async for one in database.list_containers()]

    found = await account.call("containers", "-", listed, read=True)
    return None if found is None else {str(one["id"]): one for one in found}


async def check_cosmos(*, create: bool = False, throughput: int | None = None, **place: Unpack[Place]) -> list[Finding]:
    """What the account lacks, after making what can be made where `create` says so; nothing is ever taken away.

    `throughput`: most request units a second that a new database's containers share (autoscale, from a tenth of it); None for a
    serverless account.
    """
    account = Account(**place)
    try:
        await account.client()
        refused = await _making(account, throughput) if create else []
        return [*refused, *await _findings(account)]
    except SyncdError as error:
        return [
            Finding(
                part="account", problem=str(error), fix="check cosmos.endpoint, the key or identity, and the firewall"
            )
        ]
    finally:
        await account.close()


async def _making(account: Account, throughput: int | None) -> list[Finding]:
    try:
        await _make(account, throughput)
    except SyncdError as error:
        fix = (
            "make it with the account's key, or by a deployment (deploy/azure): roles for data may not make databases or"
            " containers"
        )
        return [Finding(part="making", problem=str(error), fix=fix)]
    return []


async def _findings(account: Account) -> list[Finding]:
    containers = await _containers(account)
    if containers is None:
        return [
            Finding(
                part=f"database {account.database_name}",
                problem="it does not exist",
                fix="`syncd check --create`, or `az cosmosdb sql database create --account-name ACCOUNT --resource-group GROUP"
                f" --name {account.database_name}`",
                creatable=True,
            )
        ]
    found = [finding for collection in COLLECTIONS.values() for finding in _about(account, collection, containers)]
    return found or await _rights(account)


def _about(account: Account, collection: Collection, containers: Mapping[str, JsonObject]) -> list[Finding]:
    name = account.container_name(collection)
    part = f"container {name}"
    properties = containers.get(name)
    if properties is None:
        fix = (
            "`syncd check --create`, or `az cosmosdb sql container create --account-name ACCOUNT --resource-group GROUP"
            f" --database-name {account.database_name} --name {name} --partition-key-path /{PARTITION} --ttl -1`"
        )
        return [Finding(part=part, problem="it does not exist", fix=fix, creatable=True)]
    try:
        layout = layout_of(collection, properties, database=account.database_name)
    except StoreUnusable as error:
        return [Finding(part=part, problem=str(error), fix="copy it under another name, as said")]
    found = []
    lacking = missing_indexes(layout, properties.get("indexingPolicy") or {})
    if lacking:
        found.append(
            Finding(
                part=part,
                problem=f"its indexing policy lacks {', '.join(lacking)}: queries that sort by them fail",
                fix="`syncd check --create` adds them and takes nothing away",
                creatable=True,
            )
        )
    if not layout.expires_by_itself:
        found.append(
            Finding(
                part=part,
                problem="its time to live is off: nothing is ever deleted by itself",
                fix="`syncd check --create` turns it on without a default, which changes nothing for documents without `ttl`",
                creatable=True,
            )
        )
    return found


async def _rights(account: Account) -> list[Finding]:
    """Reading and writing, by doing it once."""
    from syncd.adapters.azure.cosmos.writing import writing

    try:
        with contextlib.suppress(Conflict):  # another check is at it
            await writing(account, PURGES, _PROBE, [Create(_PROBE, {}, 60.0)], now=0.0)
        await writing(account, PURGES, _PROBE, [Delete(_PROBE)], now=0.0)
    except Failure as error:
        return [Finding(part="rights", problem=str(error), fix=f"give the identity {RIGHT}")]
    return []


# -- making --


async def _make(account: Account, throughput: int | None) -> None:
    from azure.cosmos import ThroughputProperties

    client = await account.client()
    containers = await _containers(account)
    if containers is None:
        name = account.database_name
        offer = None if throughput is None else ThroughputProperties(auto_scale_max_throughput=throughput)
        with contextlib.suppress(Conflict):  # another replica makes it
            await account.call("create", "-", lambda: client.create_database(name, offer_throughput=offer), read=False)
    known = containers or {}
    making = (_make_container(account, collection, known) for collection in COLLECTIONS.values())
    # One that cannot be made does not keep the others from it.
    for answer in await asyncio.gather(*making, return_exceptions=True):
        if answer is not None:
            raise answer


async def _make_container(account: Account, collection: Collection, containers: Mapping[str, JsonObject]) -> None:
    """The container, or what it lacks."""
    from azure.cosmos import PartitionKey

    database = await account.database()
    name = account.container_name(collection)
    properties = containers.get(name)
    if properties is None:
        policy = indexing_policy(Layout(collection=collection, container=name))
        key = PartitionKey(f"/{PARTITION}")
        with contextlib.suppress(Conflict):  # another replica makes it
            await account.call(
                "create",
                collection.name,
                lambda: database.create_container(name, key, indexing_policy=policy, default_ttl=-1),
                read=False,
            )
        return
    layout = layout_of(collection, properties, database=account.database_name)
    policy = properties.get("indexingPolicy") or {}
    if not missing_indexes(layout, policy) and layout.expires_by_itself:
        return
    given = properties["partitionKey"]
    key = PartitionKey(given["paths"][0], kind=given.get("kind", "Hash"), version=given.get("version", 1))
    await account.call(
        "replace",
        collection.name,
        lambda: database.replace_container(
            name,
            key,
            indexing_policy=widened(layout, policy),
            default_ttl=properties.get("defaultTtl", -1),
            **_kept(properties),
        ),
        read=False,
    )


def _kept(properties: JsonObject) -> JsonObject:
    """What a replacement would otherwise take away."""
    names: Iterable[tuple[str, str]] = (
        ("conflictResolutionPolicy", "conflict_resolution_policy"),
        ("analyticalStorageTtl", "analytical_storage_ttl"),
        ("computedProperties", "computed_properties"),
    )
    return {argument: properties[name] for name, argument in names if properties.get(name) is not None}
