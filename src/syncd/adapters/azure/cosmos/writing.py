"""Writes as transactional batches: all of them or none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from syncd.adapters.azure.cosmos.account import Account, Charge
from syncd.adapters.azure.cosmos.layout import Layout
from syncd.adapters.azure.cosmos.stored import etag_of, expired, size_of, stored_id, to_item
from syncd.domain.collections import Collection
from syncd.domain.errors import Conflict, Invalid, NotFound, TooLarge
from syncd.domain.jsontypes import Json, JsonObject
from syncd.ports.documents import (
    BATCH_BYTES,
    BATCH_LIMIT,
    DOCUMENT_BYTES,
    Delete,
    Document,
    Replace,
    Write,
)

if TYPE_CHECKING:
    from azure.cosmos.aio import ContainerProxy


@dataclass(frozen=True, slots=True)
class Step:
    """One write on its way. `etag` is what the stored item must have; None for a create, an upsert and an unconditional delete."""

    index: int
    kind: str
    """`create`, `replace`, `upsert` or `delete`, as the SDK names them."""
    id: str
    item: JsonObject
    etag: str | None = None


async def writing(
    account: Account, collection: Collection, partition: str, writes: Sequence[Write], *, now: float
) -> list[Document | None]:
    if not 1 <= len(writes) <= BATCH_LIMIT:
        raise Invalid(f"a batch holds 1 to {BATCH_LIMIT} writes, this one {len(writes)}")
    layout = await account.layout(collection)
    steps = _steps(layout, partition, writes, now)
    etags: dict[int, str] = {}
    while steps:
        try:
            answers = await _send(account, collection, layout.key_of(partition), steps)
        except _Refused as refused:
            steps = await _mended(account, collection, layout.key_of(partition), steps, refused, now)
            continue
        etags = {step.index: etag for step, etag in zip(steps, answers, strict=True)}
        break
    return [
        None if isinstance(write, Delete) else Document(write.id, partition, write.data, etags[index])
        for index, write in enumerate(writes)
    ]


def _steps(layout: Layout, partition: str, writes: Sequence[Write], now: float) -> list[Step]:
    collection = layout.collection
    placed = layout.placed(partition)
    steps = []
    size = 0
    for index, write in enumerate(writes):
        identifier = stored_id(write.id)
        if isinstance(write, Delete):
            steps.append(Step(index, "delete", identifier, {}, write.etag))
            continue
        write.data["schema"] = max(write.data.get("schema", 0), collection.schema)
        size += size_of(write.data, limit=DOCUMENT_BYTES, what=f"document {write.id!r} of {collection.name}")
        ttl = collection.ttl if write.ttl is None else write.ttl
        item = to_item(write.id, write.data, placed, ttl=ttl, now=now)
        kind = type(write).__name__.lower()
        steps.append(Step(index, kind, identifier, item, write.etag if isinstance(write, Replace) else None))
    if size > BATCH_BYTES:
        raise TooLarge(f"a batch holds at most {BATCH_BYTES} bytes, this one {size}")
    return steps


class _Refused(Exception):
    """The service would not do the step at `position` of those sent."""

    def __init__(self, position: int, status: int) -> None:
        super().__init__(f"{status} at {position}")
        self.position = position
        self.status = status


async def _mended(
    account: Account, collection: Collection, key: str, steps: list[Step], refused: _Refused, now: float
) -> list[Step]:
    """What is left to send. Raises Conflict where the write lost."""
    step = steps[refused.position]
    if refused.status == 404 and step.kind == "delete" and step.etag is None:
        return [one for one in steps if one is not step]  # what is not there need not be removed
    if refused.status == 409 and step.kind == "create":
        stale = await _expired(account, collection, key, [one for one in steps if one.kind == "create"], now)
        if step.id in stale:
            return [
                replace(one, kind="replace", etag=stale[one.id]) if one.kind == "create" and one.id in stale else one
                for one in steps
            ]
    raise Conflict(f"{step.kind} of {step.id!r} in {collection.name} lost", index=step.index)


async def _expired(
    account: Account, collection: Collection, key: str, steps: Sequence[Step], now: float
) -> dict[str, str]:
    """Which of these ids hold an expired item that is not deleted yet, each with its etag."""

    async def look(container: ContainerProxy, _: Layout, charge: Charge) -> dict[str, str]:
        # Queries leave expired items out, so that each is read by itself.
        items = await asyncio.gather(*(_read(container, step.id, key, charge) for step in steps))
        return {item["id"]: etag_of(item) for item in items if item is not None and expired(item, now)}

    return await account.on("read", collection, look, read=True) or {}


async def _read(container: ContainerProxy, identifier: str, key: str, charge: Charge) -> JsonObject | None:
    from azure.cosmos.exceptions import CosmosResourceNotFoundError

    try:
        return dict(await container.read_item(identifier, key, response_hook=charge))
    except CosmosResourceNotFoundError:
        return None


async def _send(account: Account, collection: Collection, key: str, steps: Sequence[Step]) -> list[str]:
    """The etags, in order, empty for a delete. Raises _Refused, and whatever else the table of errors says.

    One write is a batch of one: aiohttp repeats a PUT or DELETE by itself over a connection that breaks, and would make of a
    compare-and-set that was done one that has lost; a POST it leaves alone.
    """

    async def batch(container: ContainerProxy, layout: Layout, charge: Charge) -> list[str]:
        results = await container.execute_item_batch([_operation(step) for step in steps], key, response_hook=charge)
        account.remember(charge.headers, f"dbs/{account.database_name}/colls/{layout.container}")
        return [str(result.get("eTag", "")).strip('"') for result in results]

    operation = steps[0].kind if len(steps) == 1 else "batch"
    try:
        answers = await account.on(operation, collection, batch, read=False)
    except (Conflict, NotFound) as error:
        cause = error.__cause__
        status, position = getattr(cause, "status_code", None), getattr(cause, "error_index", None)
        if status is None or position is None:
            raise
        raise _Refused(position, status) from error
    assert answers is not None  # only reads answer None
    return answers


def _operation(step: Step) -> tuple[str, tuple[Json, ...]] | tuple[str, tuple[Json, ...], JsonObject]:
    arguments: tuple[Json, ...] = {
        "create": (step.item,),
        "upsert": (step.item,),
        "replace": (step.id, step.item),
        "delete": (step.id,),
    }[step.kind]
    return (step.kind, arguments) if step.etag is None else (step.kind, arguments, {"if_match_etag": f'"{step.etag}"'})
