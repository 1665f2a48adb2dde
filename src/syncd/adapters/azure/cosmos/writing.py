"""Writes as transactional batches: all of them or none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from syncd.adapters.azure.cosmos.account import Account, Charge
from syncd.adapters.azure.cosmos.layout import Layout
from syncd.adapters.azure.cosmos.stored import etag_of, expired, size_of, stored_id, text_of, to_item
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
        text = text_of(write.data)
        size += size_of(text, limit=DOCUMENT_BYTES, what=f"document {write.id!r} of {collection.name}")
        ttl = collection.ttl if write.ttl is None else write.ttl
        item = to_item(write.id, write.data, text, placed, ttl=ttl, now=now)
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
        mended = await _in_place_of_expired(account, collection, key, steps[refused.position :], now)
        if mended:
            return steps[: refused.position] + mended
    raise Conflict(f"{step.kind} of {step.id!r} in {collection.name} lost", index=step.index)


async def _in_place_of_expired(
    account: Account, collection: Collection, key: str, steps: list[Step], now: float
) -> list[Step]:
    """The steps from the refused create on, those replaced whose id is held by an expired item that is not deleted yet; none where
    the first one lost. Queries leave expired items out, so that each is read by itself: the others only where the first is one."""

    async def over(step: Step) -> Step:
        item = await account.item(collection, key, step.id) if step.kind == "create" else None
        return step if item is None or not expired(item, now) else replace(step, kind="replace", etag=etag_of(item))

    first = await over(steps[0])
    return [] if first is steps[0] else [first, *await asyncio.gather(*(over(step) for step in steps[1:]))]


async def _send(account: Account, collection: Collection, key: str, steps: Sequence[Step]) -> list[str]:
    """The etags, in order, empty for a delete. Raises _Refused, and whatever else the table of errors says.

    One write is a batch of one: aiohttp repeats a PUT or DELETE by itself over a connection that breaks, and would make of a
    compare-and-set that was done one that has lost; a POST it leaves alone.
    """

    async def batch(container: ContainerProxy, layout: Layout, charge: Charge) -> list[str]:
        from azure.cosmos.exceptions import CosmosBatchOperationError

        link = f"dbs/{account.database_name}/colls/{layout.container}"
        try:
            results = await container.execute_item_batch(
                [_operation(step) for step in steps], key, response_hook=charge
            )
        except CosmosBatchOperationError as error:
            account.remember(error.headers, link)  # whoever lost reads what it lost to
            raise
        account.remember(charge.headers, link)
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
