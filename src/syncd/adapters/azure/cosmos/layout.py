"""Where the documents of a collection lie in its container: the partition key, and the index that its queries need.

A container of our own is partitioned by `/_partition`, the partition as flows compute it. One that exists already keeps its key
path where that is the first part of the collection's partition (`tenantId` of `tenantId:type`) or the id: everything of one of our
partitions then lies in one of its partitions, so that point reads and atomic batches work as they are. Its other documents are
read too; they lack `_partition`, and what partition they are in follows from their fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from syncd.adapters.azure.cosmos.stored import PARTITION, stored_id
from syncd.domain.collections import Collection
from syncd.domain.errors import StoreUnusable
from syncd.domain.jsontypes import JsonObject

#: Key paths of existing containers that may be kept, where the collection's partition begins with them.
KEPT = ("tenantId", "integrationId", "id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    collection: Collection
    container: str
    key: str = PARTITION
    """The top-level field by which the container is partitioned."""
    expires_by_itself: bool = True
    """False where the container's time to live is off, so that queries have to leave out what has expired."""

    @property
    def refined(self) -> bool:
        """Is one partition of the container more than one of ours?"""
        return self.key != PARTITION and self.collection.partition != self.key

    @property
    def rest(self) -> str | None:
        """The field that tells foreign documents of one container partition apart, None where there is none."""
        _, _, rest = self.collection.partition.partition(":")
        return rest if self.refined and rest.isidentifier() and rest != "yyyymm" else None

    def key_of(self, partition: str) -> str:
        """The container's partition key for one of our partitions."""
        if self.key == "id":
            return stored_id(partition)
        return partition.partition(":")[0] if self.refined else partition

    def placed(self, partition: str) -> JsonObject:
        """The fields that put a document where it belongs; the id is there already."""
        if self.key == PARTITION:
            return {PARTITION: partition}
        where: JsonObject = {} if self.key == "id" else {self.key: self.key_of(partition)}
        return {**where, PARTITION: partition} if self.refined else where

    def partition_of(self, body: JsonObject) -> str:
        """Of a document found without knowing its partition."""
        if isinstance(body.get(PARTITION), str):
            return str(body[PARTITION])
        key = str(body.get(self.key, ""))
        return f"{key}:{body.get(self.rest or '', '')}" if self.refined else key

    def holds(self, body: JsonObject, partition: str) -> bool:
        """Is this a document of that partition? One of another system that does not say is taken for one."""
        if not self.refined:
            return True
        given = body.get(PARTITION)
        if given is None:
            mine = body.get(self.rest or "")
            return mine is None or partition == f"{self.key_of(partition)}:{mine}"
        return bool(given == partition)

    def sort_keys(self, order: str | None, *, across: bool) -> list[str]:
        """By which a query sorts: a total order, and one that a composite index of the container serves."""
        return [
            *([] if order is None else [order]),
            *([self.key] if self.key != "id" and (across or order is not None) else []),
            "id",
        ]


def layout_of(collection: Collection, properties: JsonObject, *, database: str) -> Layout:
    """Of an existing container. Raises StoreUnusable, with what to do, where its partition key cannot be kept."""
    container = str(properties["id"])
    paths = list(properties["partitionKey"]["paths"])
    key = str(paths[0]).lstrip("/")
    first = collection.partition.partition(":")[0]
    if len(paths) == 1 and (key == PARTITION or (key in KEPT and key == first)):
        return Layout(
            collection=collection,
            container=container,
            key=key,
            expires_by_itself=properties.get("defaultTtl") is not None,
        )
    raise StoreUnusable(
        f"container {container!r} of database {database!r} is partitioned by {', '.join(paths)}; {collection.name} needs"
        f" /{PARTITION}{f' or /{first}' if first in KEPT else ''}. Nothing was changed. {migration(container, database)}"
    )


def migration(container: str, database: str) -> str:
    return (
        "A partition key cannot be changed in place: make a container beside it, `az cosmosdb sql container create"
        f" --account-name ACCOUNT --resource-group GROUP --database-name {database} --name syncd-{container}"
        f" --partition-key-path /{PARTITION} --ttl -1`, name it in cosmos.containers"
        f" ({container} = syncd-{container}), then `syncd check --create` and `syncd migrate`"
    )


# -- indexes --


def _included(layout: Layout) -> Iterator[str]:
    yield from layout.collection.paths
    # The partition key is not indexed by itself (how-to-manage-indexing-policy); id and _ts always are.
    if layout.key != "id":
        yield layout.key
    if layout.refined:
        yield PARTITION
        if layout.rest:
            yield layout.rest


def sortable(collection: Collection) -> tuple[str, ...]:
    return tuple(path for path in collection.paths if path not in collection.counted)


def _composites(layout: Layout) -> Iterator[tuple[str, ...]]:
    orders: tuple[str | None, ...] = (None, *sortable(layout.collection))
    for order in orders:
        keys = tuple(layout.sort_keys(order, across=True))
        if len(keys) > 1:
            yield keys


def indexing_policy(layout: Layout) -> JsonObject:
    """Exactly the declared paths; payloads are left out, so that they cost nothing to write."""
    return {
        "indexingMode": "consistent",
        "automatic": True,
        "includedPaths": [{"path": f"/{path}/?"} for path in dict.fromkeys(_included(layout))],
        "excludedPaths": [{"path": "/*"}],
        "compositeIndexes": [
            [{"path": f"/{path}", "order": "ascending"} for path in keys] for keys in _composites(layout)
        ],
    }


def missing_indexes(layout: Layout, policy: JsonObject) -> list[str]:
    """What the policy of an existing container lacks, in words. More than is needed is left alone."""
    lacking = []
    if str(policy.get("indexingMode", "consistent")).lower() != "consistent":
        lacking.append("indexingMode consistent")
    included = {str(one["path"]).replace('"', "") for one in policy.get("includedPaths") or ()}
    excluded = {str(one["path"]).replace('"', "") for one in policy.get("excludedPaths") or ()}
    for path in dict.fromkeys(_included(layout)):
        names = {f"/{path}/?", f"/{path}/*"}
        if not (included & names or ("/*" in included and not excluded & names)):
            lacking.append(f"/{path}/?")
    given = {tuple(str(step["path"]).replace('"', "") for step in one) for one in policy.get("compositeIndexes") or ()}
    lacking += [f"({', '.join(keys)})" for keys in _composites(layout) if tuple(f"/{key}" for key in keys) not in given]
    return lacking


def widened(layout: Layout, policy: JsonObject) -> JsonObject:
    """The policy of an existing container with what is missing added and nothing taken away."""
    wanted = indexing_policy(layout)
    composites = list(policy.get("compositeIndexes") or ())
    given = [[str(step["path"]).replace('"', "") for step in one] for one in composites]
    composites += [one for one in wanted["compositeIndexes"] if [step["path"] for step in one] not in given]
    lacking = {path for path in missing_indexes(layout, policy) if path.startswith("/")}
    return {
        **policy,
        "indexingMode": "consistent",
        "includedPaths": [
            *(policy.get("includedPaths") or ()),
            *(one for one in wanted["includedPaths"] if one["path"] in lacking),
        ],
        "excludedPaths": [
            one for one in policy.get("excludedPaths") or () if str(one["path"]).replace('"', "") not in lacking
        ],
        "compositeIndexes": composites,
    }
