"""What Cosmos DB does otherwise than one file on a disk, and what of it is not to be seen: replicas, late deletion, sizes, costs."""

from __future__ import annotations

import pytest

from syncd.adapters.azure.cosmos import CosmosDocuments
from syncd.domain.collections import ENTITIES
from syncd.domain.errors import (
    Conflict,
    ServerFault,
    Unavailable,
)
from syncd.ports.documents import Condition, Create, Delete, Query, Replace, Upsert
from syncd.testing.clock import FrozenClock
from tests.integration.azure.cosmos_world import P, opened
from tests.wire.cosmos import CosmosDouble

# -- consistency --


async def test_own_writes_are_read_though_the_replicas_are_behind(
    service: CosmosDouble, documents: CosmosDocuments
) -> None:
    service.stale_reads = True
    [single] = await documents.write(ENTITIES, P, [Create("single", {"n": 1})])
    assert await documents.get(ENTITIES, P, "single") == single
    batch = await documents.write(ENTITIES, P, [Create("a", {"n": 1}), Create("b", {"n": 1})])
    assert await documents.get_many(ENTITIES, [(P, "a"), (P, "b")]) == batch
    await documents.write(ENTITIES, P, [Delete("a"), Delete("b")])
    assert await documents.get_many(ENTITIES, [(P, "a"), (P, "b")]) == [None, None]
    assert [found.id for found in (await documents.query(ENTITIES, Query(partition=P))).items] == ["single"]


async def test_another_process_may_read_the_write_before_and_its_compare_and_set_then_loses(
    service: CosmosDouble, documents: CosmosDocuments, clock: FrozenClock
) -> None:
    [first] = await documents.write(ENTITIES, P, [Create("a", {"n": 1})])
    assert first is not None
    await documents.write(ENTITIES, P, [Replace("a", {"n": 2}, first.etag)])
    service.stale_reads = True
    async with opened(service, clock) as other:
        seen = await other.get(ENTITIES, P, "a")
        assert seen is not None
        assert seen.data["n"] == 1
        with pytest.raises(Conflict):
            await other.write(ENTITIES, P, [Replace("a", {"n": 3}, seen.etag)])


async def test_who_loses_to_another_process_reads_what_it_lost_to_though_the_replicas_are_behind(
    service: CosmosDouble, documents: CosmosDocuments, clock: FrozenClock
) -> None:
    async with opened(service, clock) as other:
        [first, _] = await other.write(ENTITIES, P, [Create("a", {"n": 1}), Create("b", {"n": 1})])
        service.stale_reads = True
        assert await documents.get_many(ENTITIES, [(P, "a"), (P, "b")]) == [None, None], "it has no token of theirs"
        with pytest.raises(Conflict):
            await documents.write(ENTITIES, P, [Create("c", {}), Create("a", {"n": 2})])
        assert await documents.get(ENTITIES, P, "a") == first
        assert first is not None
        [second] = await other.write(ENTITIES, P, [Replace("a", {"n": 2}, first.etag)])
        with pytest.raises(Conflict):
            await documents.write(ENTITIES, P, [Replace("a", {"n": 3}, first.etag)])
        assert await documents.get_many(ENTITIES, [(P, "a"), (P, "x")]) == [second, None]


async def test_a_replica_that_has_not_caught_up_is_no_missing_document(
    service: CosmosDouble, documents: CosmosDocuments
) -> None:
    await documents.write(ENTITIES, P, [Create("a", {})])
    service.faults.fail(2, 404, on="read", substatus=1002)
    with pytest.raises(Unavailable, match="caught up"):
        await documents.get(ENTITIES, P, "a")


# -- time to live --


async def test_what_has_expired_and_is_not_deleted_yet_is_read_by_nobody_and_makes_room(
    service: CosmosDouble, documents: CosmosDocuments, clock: FrozenClock
) -> None:
    await documents.write(ENTITIES, P, [Create(f"a{n}", {"n": 1}, 10.0) for n in range(5)])
    await documents.write(ENTITIES, P, [Create("alone", {"n": 1}, 10.0)])
    service.store.late = True
    await clock.advance(10)
    assert await documents.get(ENTITIES, P, "a1") is None
    assert await documents.get_many(ENTITIES, [(P, "a1"), (P, "a2"), ("x", "y")]) == [None, None, None]
    assert (await documents.query(ENTITIES, Query(partition=P))).items == []
    await documents.write(ENTITIES, P, [Create(f"a{n}", {"n": 2}) for n in range(4, 9)])
    await documents.write(ENTITIES, P, [Create("alone", {"n": 2})])
    assert await documents.count(ENTITIES, P) == 6
    with pytest.raises(Conflict) as lost:
        await documents.write(ENTITIES, P, [Create("new", {}), Create("a5", {})])
    assert lost.value.index == 1


async def test_a_batch_with_removals_of_what_is_not_there_does_the_rest(documents: CosmosDocuments) -> None:
    answers = await documents.write(ENTITIES, P, [Delete("x"), Create("a", {}), Delete("y"), Upsert("b", {})])
    assert [answer.id if answer else None for answer in answers] == [None, "a", None, "b"]
    assert await documents.write(ENTITIES, P, [Delete("x"), Delete("y")]) == [None, None]


# -- sizes --


# aiohttp warns of bodies over 1 MiB, which it writes at once.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_what_the_port_allows_fits_into_a_request(documents: CosmosDocuments) -> None:
    """2,000,000 bytes of letters that take six bytes each where JSON is sent as ASCII."""
    letters = "ж" * 9_850
    writes = [Create(f"entity-{n:08}-{'x' * 32}", {"text": letters}) for n in range(100)]
    assert len(await documents.write(ENTITIES, P, writes)) == 100
    page = await documents.query(ENTITIES, Query(partition=P, limit=100))
    assert {one.data["text"] for one in page.items} == {letters}
    await documents.write(ENTITIES, P, [Create("one", {"text": "ж" * 999_900})])


# -- what it costs --


async def test_a_hundred_new_records_with_their_aliases_take_three_round_trips(
    service: CosmosDouble, documents: CosmosDocuments
) -> None:
    entities = [Create(f"{P}.{n:026}", {"name": str(n)}) for n in range(100)]
    aliases = [Create(f"x~{n:032}", {"entityId": one.id}) for n, one in enumerate(entities)]
    await documents.get_many(ENTITIES, [(P, one.id) for one in aliases])
    await documents.write(
        ENTITIES, P, [write for pair in zip(entities[:50], aliases[:50], strict=True) for write in pair]
    )
    await documents.write(
        ENTITIES, P, [write for pair in zip(entities[50:], aliases[50:], strict=True) for write in pair]
    )
    assert [call.operation for call in service.requests()] == ["query", "batch", "batch"]
    assert len([call for call in service.calls if call.operation not in ("account", "pkranges")]) == 3


async def test_a_batch_that_meets_what_is_there_costs_one_read_and_not_one_for_each_document(
    service: CosmosDouble, documents: CosmosDocuments
) -> None:
    writes = [Create(f"e{n}", {"n": n}) for n in range(100)]
    await documents.write(ENTITIES, P, writes)
    service.calls.clear()
    with pytest.raises(Conflict) as lost:
        await documents.write(ENTITIES, P, writes)
    assert lost.value.index == 0
    assert [call.operation for call in service.requests()] == ["batch", "read"]


async def test_documents_asked_for_twice_are_two_that_may_be_changed_apart(documents: CosmosDocuments) -> None:
    await documents.write(ENTITIES, P, [Create("a", {"list": [{"n": 2**60}]}), Create("b", {})])
    one, _, other = await documents.get_many(ENTITIES, [(P, "a"), (P, "b"), (P, "a")])
    assert one is not None
    assert other is not None
    one.data["list"][0]["n"] = 0
    assert other.data["list"] == [{"n": 2**60}]


async def test_every_operation_is_observed_with_its_request_units(service: CosmosDouble, clock: FrozenClock) -> None:
    seen: list[dict[str, object]] = []

    def observe(event: str, /, **facts: object) -> None:
        seen.append({"event": event, **facts})

    async with opened(service, clock, observe=observe) as documents:
        await documents.write(ENTITIES, P, [Create("a", {})])
        await documents.write(ENTITIES, P, [Create("b", {}), Create("c", {})])
        await documents.get(ENTITIES, P, "a")
        await documents.query(ENTITIES, Query(across=True, where=[Condition("tenantId", "eq", "t")], limit=2))
        service.faults.fail(1, 503, on="batch")
        with pytest.raises(ServerFault):
            await documents.write(ENTITIES, P, [Create("d", {})])
    assert {one["event"] for one in seen} == {"cosmos_request"}
    costs = [
        (one["operation"], one["status"], one["units"])
        for one in seen
        if one["operation"] not in ("account", "containers")
    ]
    assert [cost[:2] for cost in costs] == [
        ("container", 200),
        ("create", 200),
        ("batch", 200),
        ("read", 200),
        ("query", 200),
        ("create", 503),
    ]
    assert [cost[2] for cost in costs[1:5]] == [5.0, 5.0, 1.0, pytest.approx(4.6)]
