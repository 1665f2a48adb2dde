"""Cosmos DB failing in every way it has, through the real SDK: each a clear error, and nothing lost."""

from __future__ import annotations

import asyncio
import base64
import math
import socket

import pytest

from syncd.adapters.azure.cosmos import CosmosDocuments, Options, open_cosmos
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
from syncd.ports.documents import Create, Query, Replace, Upsert
from syncd.testing.clock import FrozenClock, settled
from tests.integration.azure.cosmos_world import QUICK, P, advancing, opened
from tests.wire.cosmos import KEY, CosmosDouble

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


async def test_who_waits_behind_requests_that_hang_is_told_so_in_time(
    service: CosmosDouble, clock: FrozenClock
) -> None:
    options = Options(enable_endpoint_discovery=False, most_in_flight=2, timeout=1.5)
    async with opened(service, clock, options=options) as documents:
        await documents.get(ENTITIES, P, "warm")
        service.faults.hold()
        reading = (documents.get(ENTITIES, P, f"e{n}") for n in range(20))
        answers = await asyncio.gather(*reading, return_exceptions=True)
        assert all(isinstance(answer, Overloaded | TimedOut | ServerFault) for answer in answers)
        assert sum(isinstance(answer, Overloaded) for answer in answers) >= 10
        service.faults.release()
        assert await documents.get(ENTITIES, P, "e") is None


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
    options = Options(enable_endpoint_discovery=False, timeout=1.5)
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


async def test_an_account_behind_the_proxy_that_the_environment_names_is_reached(
    service: CosmosDouble, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", service.endpoint)  # which answers whatever host is asked for
    async with open_cosmos(
        endpoint="http://cosmos.invalid:8081/", credential=KEY, database="syncd", clock=clock, options=QUICK
    ) as documents:
        assert await documents.write(ENTITIES, P, [Create("a", {})])


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


async def test_an_operation_that_comes_after_the_end_connects_to_nothing(
    service: CosmosDouble, clock: FrozenClock
) -> None:
    async with opened(service, clock) as documents:
        pass
    service.calls.clear()
    with pytest.raises(Unavailable, match="closed"):
        await documents.get(ENTITIES, P, "late")
    assert not service.calls
