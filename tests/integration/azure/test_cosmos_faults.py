"""Cosmos DB failing in every way it has, through the real SDK: each a clear error, and nothing lost."""

from __future__ import annotations

import asyncio
import base64
import math
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from syncd.adapters.azure.cosmos import CosmosDocuments, Options, check_cosmos, open_cosmos
from syncd.domain.collections import ENTITIES, TASKS
from syncd.domain.errors import (
    Conflict,
    Overloaded,
    ServerFault,
    StoreUnusable,
    Throttled,
    TimedOut,
    Unavailable,
)
from syncd.ports.documents import Condition, Create, Delete, Query, Replace, Upsert
from syncd.testing.clock import FrozenClock, settled
from tests.wire.cosmos import KEY, CosmosDouble

P = "tenant-1:issue"
QUICK = Options(enable_endpoint_discovery=False, timeout=5.0)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def service(clock: FrozenClock) -> AsyncIterator[CosmosDouble]:
    async with CosmosDouble(clock=clock) as double:
        account = {"endpoint": double.endpoint, "credential": KEY, "database": "syncd", "clock": clock}
        assert await check_cosmos(**account, options=QUICK, create=True) == []
        yield double


def opened(
    service: CosmosDouble,
    clock: FrozenClock,
    *,
    options: Options = QUICK,
    key: str = KEY,
    observe=lambda *_, **__: None,
) -> AbstractAsyncContextManager[CosmosDocuments]:
    return open_cosmos(
        endpoint=service.endpoint, credential=key, database="syncd", clock=clock, options=options, observe=observe
    )


@pytest.fixture
async def documents(service: CosmosDouble, clock: FrozenClock) -> AsyncIterator[CosmosDocuments]:
    async with opened(service, clock) as documents:
        await documents.get(ENTITIES, P, "warm")
        service.calls.clear()
        yield documents


async def advancing(clock: FrozenClock, task: asyncio.Task[object], step: float = 0.1) -> None:
    """Let time pass whenever the task waits for it."""
    while not task.done():
        if clock.sleeping:
            await clock.advance(step)
        else:
            await asyncio.wait({task}, timeout=0.01)


# -- throttling --


async def test_a_short_throttling_is_waited_out_and_the_write_is_done_once(
    service: CosmosDouble, documents: CosmosDocuments, clock: FrozenClock
) -> None:
    service.faults.fail(2, 429, on="batch", substatus=3200, retry_after_ms=200)
    writing = asyncio.create_task(documents.write(ENTITIES, P, [Create("a", {"n": 1})]))
    await advancing(clock, writing)
    assert (await writing)[0] is not None
    assert [call.status for call in service.requests("batch")] == [429, 429, 200]


async def test_a_long_throttling_is_told_with_its_end_and_no_attempt_is_burned(
    service: CosmosDouble, documents: CosmosDocuments
) -> None:
    service.faults.fail(1, 429, on="batch", retry_after_ms=30_000)
    with pytest.raises(Throttled) as told:
        await documents.write(ENTITIES, P, [Create("a", {})])
    assert told.value.retry_after == 30.0
    assert told.value.retry == "snooze"
    with pytest.raises(Throttled):  # the others do not even ask meanwhile
        await documents.get(ENTITIES, P, "a")
    assert len(service.requests()) == 1


async def test_in_a_storm_of_429_fewer_and_fewer_are_in_flight_and_all_is_written_in_the_end(
    service: CosmosDouble, documents: CosmosDocuments, clock: FrozenClock
) -> None:
    service.faults.fail(math.inf, 429, on="batch", retry_after_ms=100)
    tasks = [asyncio.create_task(documents.write(ENTITIES, P, [Create(f"e{n}", {})])) for n in range(100)]
    everything = asyncio.gather(*tasks, return_exceptions=True)
    await advancing(clock, everything)
    answers = await everything
    assert {type(answer) for answer in answers} == {Throttled}
    admission = documents._account._admission
    lowest = admission.limit
    assert lowest < 8
    assert len(service.requests("batch")) < 300, "who waits for a place adds no load"
    service.faults.clear()
    await clock.advance(1)
    again = asyncio.gather(*(documents.write(ENTITIES, P, [Create(f"e{n}", {})]) for n in range(100)))
    await advancing(clock, again)
    await again
    assert await documents.count(ENTITIES, P) == 100
    assert admission.limit > lowest


async def test_no_more_than_allowed_are_in_flight_and_too_many_waiting_are_refused(
    service: CosmosDouble, clock: FrozenClock
) -> None:
    options = Options(enable_endpoint_discovery=False, most_in_flight=4, most_waiting=10)
    async with opened(service, clock, options=options) as documents:
        await documents.get(ENTITIES, P, "warm")
        service.faults.hold()
        tasks = [asyncio.create_task(documents.get(ENTITIES, P, f"e{n}")) for n in range(20)]
        await service.faults.held(4)
        await settled()
        refused = [task for task in tasks if task.done()]
        assert len(refused) == 6
        assert all(isinstance(task.exception(), Overloaded) for task in refused)
        assert service.faults.waiting == 4
        service.faults.release()
        assert await asyncio.gather(*(task for task in tasks if task not in refused)) == [None] * 14


async def test_a_cancelled_caller_gives_its_place_back(service: CosmosDouble, clock: FrozenClock) -> None:
    options = Options(enable_endpoint_discovery=False, most_in_flight=1)
    async with opened(service, clock, options=options) as documents:
        await documents.get(ENTITIES, P, "warm")
        service.faults.hold()
        tasks = [asyncio.create_task(documents.get(ENTITIES, P, f"e{n}")) for n in range(3)]
        await service.faults.held()
        for task in tasks[:2]:
            task.cancel()
        await asyncio.wait(tasks[:2])
        service.faults.release()
        assert await tasks[2] is None


async def test_a_throttled_operation_inside_a_batch_undoes_the_batch_and_is_repeated(
    service: CosmosDouble, documents: CosmosDocuments, clock: FrozenClock
) -> None:
    service.faults.fail(1, 429, on="batch", index=1, retry_after_ms=100)
    writing = asyncio.create_task(documents.write(ENTITIES, P, [Create("a", {}), Create("b", {})]))
    await advancing(clock, writing)
    assert len(await writing) == 2
    assert [call.status for call in service.requests("batch")] == [207, 200]


async def test_449_is_repeated_at_once(service: CosmosDouble, documents: CosmosDocuments, clock: FrozenClock) -> None:
    [first] = await documents.write(ENTITIES, P, [Create("a", {})])
    assert first is not None
    service.faults.fail(2, 449, on="batch")
    writing = asyncio.create_task(documents.write(ENTITIES, P, [Replace("a", {"n": 2}, first.etag)]))
    await advancing(clock, writing, 0.05)
    assert (await writing)[0] is not None
    assert [call.status for call in service.requests("batch")][1:] == [449, 449, 200]


# -- refusals and losses --


@pytest.mark.parametrize(
    ("status", "substatus", "error"),
    [(410, 1022, Unavailable), (503, None, ServerFault), (500, None, ServerFault), (408, None, TimedOut)],
)
async def test_what_the_service_cannot_do_is_told_and_not_repeated_for_a_write(
    service: CosmosDouble, documents: CosmosDocuments, status: int, substatus: int | None, error: type[Exception]
) -> None:
    service.faults.fail(1, status, on="batch", substatus=substatus)
    with pytest.raises(error):
        await documents.write(ENTITIES, P, [Create("a", {})])
    assert len(service.requests("batch")) == 1
    await documents.write(ENTITIES, P, [Create("a", {})])


async def test_503_with_a_time_is_a_throttling(service: CosmosDouble, documents: CosmosDocuments) -> None:
    service.faults.fail(1, 503, on="batch", retry_after_ms=5_000)
    with pytest.raises(Throttled):
        await documents.write(ENTITIES, P, [Create("a", {})])


async def test_a_read_over_a_connection_that_was_closed_is_repeated_once(
    service: CosmosDouble, documents: CosmosDocuments
) -> None:
    await documents.write(ENTITIES, P, [Create("a", {})])
    service.faults.drop(1, on="read")
    assert await documents.get(ENTITIES, P, "a") is not None
    service.faults.drop(math.inf, on="query")
    with pytest.raises(ServerFault):
        await documents.query(ENTITIES, Query(partition=P))


async def test_a_write_whose_answer_is_lost_is_not_repeated_by_itself(
    service: CosmosDouble, documents: CosmosDocuments
) -> None:
    [first] = await documents.write(ENTITIES, P, [Create("a", {"n": 1})])
    assert first is not None
    service.faults.drop(1, on="batch", after=True)
    with pytest.raises(ServerFault) as told:
        await documents.write(ENTITIES, P, [Replace("a", {"n": 2}, first.etag)])
    assert told.value.maybe_processed
    found = await documents.get(ENTITIES, P, "a")
    assert found is not None
    assert found.data["n"] == 2, "it was done, once; whoever repeats it finds a Conflict and reads"
    with pytest.raises(Conflict):
        await documents.write(ENTITIES, P, [Replace("a", {"n": 2}, first.etag)])


async def test_a_half_open_connection_ends_at_the_timeout(service: CosmosDouble, clock: FrozenClock) -> None:
    options = Options(enable_endpoint_discovery=False, timeout=0.3)
    async with opened(service, clock, options=options) as documents:
        await documents.get(ENTITIES, P, "warm")
        service.faults.hold()
        with pytest.raises((TimedOut, ServerFault)):
            await documents.write(ENTITIES, P, [Create("a", {})])
        service.faults.release()
        await documents.write(ENTITIES, P, [Upsert("a", {})])


# -- who is asking --


async def test_a_wrong_key_is_told_with_the_account_and_no_secret(service: CosmosDouble, clock: FrozenClock) -> None:
    wrong = base64.b64encode(b"not the key of this account at all").decode()
    async with opened(service, clock, key=wrong) as documents:
        with pytest.raises(Unavailable) as told:
            await documents.get(ENTITIES, P, "a")
        assert "401" in str(told.value)
        assert service.endpoint in str(told.value)
        assert wrong not in str(told.value)


async def test_a_right_that_is_taken_away_is_named(service: CosmosDouble, documents: CosmosDocuments) -> None:
    service.faults.fail(1, 403, on="batch", substatus=5300)
    with pytest.raises(Unavailable, match="Built-in Data Contributor"):
        await documents.write(ENTITIES, P, [Create("a", {})])


# -- starting and coming back --


async def test_a_start_without_the_account_goes_on_and_it_is_found_when_it_comes(
    service: CosmosDouble, clock: FrozenClock
) -> None:
    port = service.port
    await service.stop()
    async with opened(service, clock) as documents:
        with pytest.raises(Unavailable):
            await documents.write(ENTITIES, P, [Create("a", {})])
        await service.start(port)
        await clock.advance(1)  # it is looked for once a second
        await documents.write(ENTITIES, P, [Create("a", {})])
        assert await documents.get(ENTITIES, P, "a") is not None


async def test_an_outage_in_the_middle_needs_no_restart(
    service: CosmosDouble, documents: CosmosDocuments, clock: FrozenClock
) -> None:
    [first] = await documents.write(ENTITIES, P, [Create("a", {"n": 1})])
    assert first is not None
    port = service.port
    await service.stop()
    for _ in range(3):
        with pytest.raises((Unavailable, ServerFault)):
            await documents.write(ENTITIES, P, [Replace("a", {"n": 2}, first.etag)])
    await service.start(port)
    assert await documents.write(ENTITIES, P, [Replace("a", {"n": 2}, first.etag)])


async def test_a_name_that_does_not_resolve_is_unavailable(clock: FrozenClock) -> None:
    async with open_cosmos(
        endpoint="http://cosmos.invalid:8081/", credential=KEY, database="syncd", clock=clock, options=QUICK
    ) as documents:
        with pytest.raises(Unavailable, match=r"cosmos\.invalid"):
            await documents.get(ENTITIES, P, "a")


async def test_an_address_that_accepts_and_says_nothing_does_not_hold_the_start(clock: FrozenClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = Options(enable_endpoint_discovery=False, timeout=0.3)
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        async with open_cosmos(
            endpoint=endpoint, credential=KEY, database="syncd", clock=clock, options=options
        ) as documents:
            with pytest.raises((TimedOut, ServerFault, Unavailable)):
                await documents.get(ENTITIES, P, "a")


async def test_a_container_that_is_missing_is_named_with_what_makes_it(
    service: CosmosDouble, clock: FrozenClock
) -> None:
    del service.store.databases["syncd"]["entities"]
    async with opened(service, clock) as documents:
        with pytest.raises(StoreUnusable, match=r"'entities'.*check --create"):
            await documents.get(ENTITIES, P, "a")
        await documents.get(TASKS, "t", "a")


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
