"""Credentials as outgoing calls get them: cached, refreshed once, and never lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from syncd.domain.collections import CREDENTIALS
from syncd.domain.errors import (
    AuthenticationFailed,
    Failure,
    Invalid,
    InvalidGrant,
    ServerFault,
    SyncdError,
    Throttled,
    TimedOut,
    Unavailable,
)
from syncd.domain.secrets import Secret
from syncd.domain.times import iso
from syncd.flows.tokens import CALL_TIMEOUT, LEASE, LOST_WAIT
from syncd.ports.caller import Answer, Call
from syncd.ports.documents import Delete
from syncd.ports.vault import Vault
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import CrashAt
from tests.integration.refreshing import TENANT, Endpoint, World, answer, opened, shown


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
async def world(tmp_path: Path, endpoint: Endpoint) -> AsyncIterator[World]:
    async with opened(tmp_path, FrozenClock(), endpoint) as world:
        yield world


# What is shown


@pytest.mark.parametrize(
    ("credential", "secrets"),
    [
        ({"kind": "bearer", "token": "t"}, {"token": "t"}),
        ({"kind": "basic", "username": "u", "password": "p"}, {"username": "u", "password": "p"}),
        ({"kind": "api_key", "value": "v", "header": "X"}, {"value": "v", "header": "X"}),
        ({"kind": "oauth2", "accessToken": "a", "refreshToken": "r", "clientSecret": "s"}, {"accessToken": "a"}),
    ],
)
async def test_each_kind_shows_what_a_call_needs_and_no_more(
    world: World, credential: dict[str, str], secrets: dict[str, str]
) -> None:
    usable = await world.process().usable(TENANT, await world.put(credential))
    assert usable.kind == credential["kind"]
    assert {name: secret.reveal() for name, secret in usable.secrets.items()} == secrets
    assert not any(value in repr(usable) for value in secrets.values() if len(value) > 1)


async def test_a_credential_that_is_gone_or_has_lost_its_secret_needs_a_person(world: World) -> None:
    credentials = world.process()
    with pytest.raises(AuthenticationFailed, match="does not exist"):
        await credentials.usable(TENANT, f"{TENANT}.x")
    identifier = await world.put({"kind": "bearer", "token": "t"})
    await world.edit(identifier, version="another")
    with pytest.raises(AuthenticationFailed, match="lost its secret"):
        await credentials.usable(TENANT, identifier)
    await world.edit(identifier, kind="carrier-pigeon")
    with pytest.raises(AuthenticationFailed, match="not known here"):
        await credentials.usable(TENANT, identifier)


async def test_the_hot_path_reads_no_store_and_a_change_is_seen_within_seconds(tmp_path: Path) -> None:
    counter = CrashAt()
    async with opened(tmp_path, FrozenClock(), Endpoint(), counter) as world:
        identifier = await world.add(ends_in=None)
        credentials = world.process()
        tokens = await asyncio.gather(*(shown(credentials, identifier) for _ in range(100)))
        assert set(tokens) == {"a1"}
        before = counter.calls
        for _ in range(100):
            await shown(credentials, identifier)
        assert counter.calls == before
        await world.clock.advance(5)
        await shown(credentials, identifier)
        assert counter.calls == before + 1, "the document; the vault holds no other version"
        await world.documents.write(CREDENTIALS, TENANT, [Delete(identifier)])
        assert await shown(credentials, identifier) == "a1"
        await world.clock.advance(5)
        with pytest.raises(AuthenticationFailed):
            await shown(credentials, identifier)


# When it is refreshed


async def test_a_token_about_to_end_is_refreshed_before_use_and_the_document_says_so(
    world: World, endpoint: Endpoint
) -> None:
    identifier = await world.add(ends_in=59, scope="a b")
    credentials = world.process()
    assert await shown(credentials, identifier) == "a2"
    assert endpoint.forms == [
        {
            "grant_type": ["refresh_token"],
            "refresh_token": ["r1"],
            "client_id": ["client"],
            "client_secret": ["shh"],
            "scope": ["a b"],
        }
    ]
    document = await world.document(identifier)
    assert (document["status"], document["expiresAt"]) == ("ok", iso(world.clock.now() + 3600))
    assert "refresh" not in document
    assert await shown(world.process(), identifier) == "a2"
    await world.clock.advance(3600)
    assert await shown(credentials, identifier) == "a3"
    assert endpoint.forms[1]["refresh_token"] == ["r2"], "the rotated one"
    assert [facts["connectionId"] for facts in world.seen.named("credential_refreshed")] == ["conn", "conn"]


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"ends_in": 61}, {}),
        ({"ends_in": None}, {}),
        ({"expiresAt": "next week"}, {}),
        ({"ends_in": 1, "refreshToken": ""}, {}),
        ({"ends_in": 1, "tokenUrl": ""}, {}),
        ({"ends_in": 1}, {"refresh": False}),
    ],
)
async def test_what_need_not_or_cannot_be_refreshed_is_shown_as_it_is(
    world: World, endpoint: Endpoint, fields: dict[str, str], options: dict[str, bool]
) -> None:
    identifier = await world.add(**fields)  # type: ignore[arg-type]  # one table of two signatures
    assert await shown(world.process(**options), identifier) == "a1"
    assert endpoint.calls == 0


async def test_a_token_that_lives_as_long_as_the_threshold_is_not_refreshed_at_each_use(tmp_path: Path) -> None:
    endpoint = Endpoint(lifetime=60)
    async with opened(tmp_path, FrozenClock(), endpoint) as world:
        identifier = await world.add()
        credentials = world.process(cached_for=0)
        for _ in range(3):
            assert await shown(credentials, identifier) == "a2"
        await world.clock.advance(46)
        assert await shown(credentials, identifier) == "a3"


async def test_a_hundred_callers_of_five_processes_make_one_call(world: World, endpoint: Endpoint) -> None:
    identifier = await world.add(ends_in=-1)
    processes = [world.process(f"replica{number}/boot") for number in range(5)]
    endpoint.hold = asyncio.Event()
    callers = [asyncio.create_task(shown(process, identifier)) for process in processes for _ in range(20)]
    await endpoint.entered.wait()
    while world.clock.sleeping < 4:
        await asyncio.sleep(0)  # the other four see the intent and wait
    endpoint.hold.set()
    while sum(caller.done() for caller in callers) < 20:
        await asyncio.sleep(
            0
        )  # the one that called stores what it got: a store that is slow must not cost the others their patience
    while not all(caller.done() for caller in callers):
        if world.clock.sleeping:
            await world.clock.advance(0.25)
        await asyncio.sleep(0)
    assert {caller.result() for caller in callers} == {"a2"}
    assert endpoint.calls == 1


async def test_a_hundred_refusals_of_one_token_make_one_call(world: World, endpoint: Endpoint) -> None:
    identifier = await world.add(ends_in=3000)
    credentials = world.process()
    version = (await credentials.usable(TENANT, identifier)).version
    assert all(await asyncio.gather(*(credentials.refused(TENANT, identifier, version) for _ in range(100))))
    assert endpoint.calls == 1
    assert await shown(credentials, identifier) == "a2"
    assert await credentials.refused(TENANT, identifier, version), "an older version has a successor already"
    assert endpoint.calls == 1


async def test_a_fresh_token_that_is_refused_all_the_same_is_not_refreshed_again(
    world: World, endpoint: Endpoint
) -> None:
    identifier = await world.add()
    credentials = world.process()
    version = (await credentials.usable(TENANT, identifier)).version
    assert not await credentials.refused(TENANT, identifier, version)
    assert endpoint.calls == 1
    await world.clock.advance(31)
    assert await credentials.refused(TENANT, identifier, version)


async def test_a_refused_token_without_refresh_needs_a_person_unless_it_was_changed_meanwhile(world: World) -> None:
    identifier = await world.put({"kind": "bearer", "token": "t"})
    credentials = world.process()
    usable = await credentials.usable(TENANT, identifier)
    assert not await credentials.refused(TENANT, identifier, usable.version)
    assert await credentials.refused(TENANT, identifier, "one before")


async def test_a_caller_that_is_cancelled_does_not_end_the_refresh(world: World, endpoint: Endpoint) -> None:
    identifier = await world.add(ends_in=-1)
    credentials = world.process()
    endpoint.hold = asyncio.Event()
    caller = asyncio.create_task(shown(credentials, identifier))
    await endpoint.entered.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    endpoint.hold.set()
    await credentials.close()
    assert await shown(credentials, identifier) == "a2"
    assert endpoint.calls == 1


# When it fails


async def test_a_spent_grant_needs_a_person_and_nobody_calls_again(world: World, endpoint: Endpoint) -> None:
    identifier = await world.add(refreshToken="r0")
    credentials = world.process()
    for process in (credentials, credentials, world.process("another/one")):
        with pytest.raises(InvalidGrant, match="invalid_grant"):
            await shown(process, identifier)
    assert endpoint.calls == 1
    document = await world.document(identifier)
    assert (document["status"], document["reason"]) == ("needs_reauth", "the token endpoint says invalid_grant")
    assert "refresh" not in document
    assert len(world.seen.named("credential_needs_reauth")) == 1
    assert not await credentials.refused(TENANT, identifier, document["version"])
    await world.edit(identifier, status="ok", version=document["version"])
    await world.clock.advance(5)
    with pytest.raises(InvalidGrant):
        await shown(credentials, identifier)
    assert endpoint.calls == 2, "a person said that it is good again"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (answer(429, {}, **{"retry-after": "7"}), Throttled),
        (answer(503, {}), Throttled),
        (answer(500, {}), ServerFault),
        (answer(200, {}), ServerFault),
        (answer(401, {"error": "invalid_client"}), AuthenticationFailed),
        (Unavailable("refused"), Unavailable),
    ],
)
async def test_a_failure_that_is_not_the_grants_leaves_it_to_the_next_try(
    world: World, endpoint: Endpoint, said: Answer | SyncdError, kind: type[SyncdError]
) -> None:
    identifier = await world.add(ends_in=-1)
    credentials = world.process()
    endpoint.script = [said]
    with pytest.raises(kind) as caught:
        await shown(credentials, identifier)
    if isinstance(said, Answer) and said.headers:
        assert isinstance(caught.value, Failure)
        assert caught.value.retry_after == 7
    assert "refresh" not in await world.document(identifier)
    assert await shown(credentials, identifier) == "a2"
    assert world.seen.named("credential_not_refreshed")[0]["label"] == kind.label


async def test_while_a_token_is_still_good_a_failed_refresh_stops_nobody(world: World, endpoint: Endpoint) -> None:
    identifier = await world.add(ends_in=50)
    credentials = world.process()
    endpoint.script = [answer(500, {}), answer(500, {})]
    for _ in range(10):
        assert await shown(credentials, identifier) == "a1"
    assert endpoint.calls == 1, "the next try is half a minute away"
    await world.clock.advance(30)
    assert await shown(credentials, identifier) == "a1"
    assert endpoint.calls == 2
    await world.clock.advance(30)
    assert await shown(credentials, identifier) == "a2"


@pytest.mark.parametrize("lost", [TimedOut("slow"), ServerFault("connection lost")])
async def test_an_answer_that_got_lost_keeps_everybody_away_for_a_while(
    world: World, endpoint: Endpoint, lost: SyncdError
) -> None:
    identifier = await world.add(ends_in=-1)
    endpoint.script = [lost]
    with pytest.raises(type(lost)):
        await shown(world.process(), identifier)
    with pytest.raises(Unavailable, match="has not ended") as caught:
        await shown(world.process("another/one"), identifier)
    assert caught.value.retry_after == pytest.approx(LOST_WAIT)
    assert endpoint.calls == 1
    await world.clock.advance(LOST_WAIT)
    assert await shown(world.process("another/one"), identifier) == "a2"


async def test_a_token_url_that_is_not_allowed_needs_a_person(world: World, endpoint: Endpoint) -> None:
    identifier = await world.add(ends_in=-1)
    endpoint.script = [Invalid("this URL is not allowed")]
    with pytest.raises(AuthenticationFailed, match="not allowed"):
        await shown(world.process(), identifier)


async def test_an_intent_of_a_dead_process_is_waited_out_and_taken_over(world: World, endpoint: Endpoint) -> None:
    identifier = await world.add(ends_in=-1)
    now = world.clock.now()
    mark = {"owner": "dead/boot", "since": iso(now), "until": iso(now + CALL_TIMEOUT + LEASE)}
    await world.edit(identifier, refresh=mark)
    waiting = asyncio.create_task(shown(world.process(), identifier))
    while not world.clock.sleeping:
        await asyncio.sleep(0)
    while not waiting.done():
        if world.clock.sleeping:
            await world.clock.advance(0.25)
        else:
            await asyncio.wait([waiting], timeout=0.001)  # the store answers from its thread
    with pytest.raises(Unavailable, match="dead/boot") as caught:
        await waiting
    assert world.clock.now() <= now + CALL_TIMEOUT + 3, "in place only as long as a call takes"
    assert endpoint.calls == 0
    await world.clock.advance(caught.value.retry_after or 0)
    assert await shown(world.process(), identifier) == "a2"


async def test_while_another_refreshes_a_token_that_is_still_good_is_used(world: World, endpoint: Endpoint) -> None:
    identifier = await world.add(ends_in=50)
    now = world.clock.now()
    await world.edit(identifier, refresh={"owner": "x/y", "since": iso(now), "until": iso(now + 70)})
    assert await shown(world.process(), identifier) == "a1"
    assert endpoint.calls == 0


async def test_a_process_that_was_stopped_in_mid_call_saves_what_it_was_granted(
    world: World, endpoint: Endpoint
) -> None:
    """SIGSTOP: its lease runs out, another takes over with the spent token, and then it goes on."""
    identifier = await world.add(ends_in=-1)

    stopped, go_on = asyncio.Event(), asyncio.Event()

    class Stopping:
        async def call(self, call: Call) -> Answer:
            granted = await endpoint.call(call)
            stopped.set()
            await go_on.wait()
            return granted

    slow = World(documents=world.documents, vault=world.vault, caller=Stopping(), clock=world.clock)
    first = asyncio.create_task(shown(slow.process("stopped/boot"), identifier))
    await stopped.wait()
    await world.clock.advance(CALL_TIMEOUT + LEASE)
    with pytest.raises(InvalidGrant, match="interrupted"):
        await shown(world.process("second/boot"), identifier)
    go_on.set()
    assert await first == "a2"
    assert (await world.document(identifier))["status"] == "ok"
    assert await shown(world.process("third/boot"), identifier) == "a2"
    assert endpoint.calls == 2


async def test_what_was_granted_is_kept_while_the_store_refuses_it(world: World, endpoint: Endpoint) -> None:
    identifier = await world.add(ends_in=-1)
    full = asyncio.Event()
    full.set()

    class Full:
        def __getattr__(self, name: str) -> object:
            return getattr(world.vault, name)

        async def append(self, name: str, value: Secret) -> str:
            if full.is_set():
                raise Unavailable("the disk is full")
            return await world.vault.append(name, value)

    ill = World(documents=world.documents, vault=cast("Vault", Full()), caller=endpoint, clock=world.clock)
    credentials = ill.process()
    for minutes in range(3):
        asked = asyncio.create_task(shown(credentials, identifier))
        while not asked.done():
            if world.clock.sleeping:
                await world.clock.advance(1)
            await asyncio.sleep(0)
        if not minutes:
            with pytest.raises(Unavailable, match="full"):
                await asked
            full.clear()
            await world.clock.advance(CALL_TIMEOUT + LEASE)
        else:
            assert await asked == "a2"
    assert endpoint.calls == 1
