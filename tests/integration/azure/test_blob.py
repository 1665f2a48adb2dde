"""Blob Storage by the real Azurite: tokens, long streams, and what goes wrong between here and there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from syncd.adapters.azure.blob import BlobStorage, open_blob_storage
from syncd.adapters.azure.identity import open_credential
from syncd.domain.errors import Conflict, Invalid, NotFound, Overloaded, ServerFault, Throttled, TimedOut, Unavailable
from syncd.domain.secrets import Secret
from syncd.testing.clock import FrozenClock
from tests.integration.azure.vaults import Seen
from tests.wire.azurite import ACCOUNT, KEY, Azurite
from tests.wire.azurite import Unavailable as NotHere
from tests.wire.identity import IdentityDouble
from tests.wire.proxy import FaultyProxy

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def azurite() -> Iterator[Azurite]:
    try:
        with Azurite.started() as running:
            yield running
    except NotHere as error:
        pytest.skip(f"Azurite, the emulator of Blob Storage, is not here: {error}")


@asynccontextmanager
async def opened(
    url: str, *, key: str = KEY, container: str | None = None, **more: object
) -> AsyncIterator[BlobStorage]:
    options: dict[str, object] = {"clock": FrozenClock(), "observe": Seen(), **more}
    async with open_blob_storage(
        account_url=url,
        account_key=Secret(key),
        container=f"c{uuid4().hex}" if container is None else container,
        **options,  # type: ignore[arg-type]  # whatever a test changes
    ) as storage:
        yield storage


@asynccontextmanager
async def between(azurite: Azurite, **more: object) -> AsyncIterator[tuple[BlobStorage, FaultyProxy]]:
    """With a proxy before the emulator, and its container made."""
    async with (
        FaultyProxy(azurite.address).serving() as proxy,
        opened(f"{proxy.url}/{ACCOUNT}", **more) as storage,  # type: ignore[arg-type]  # whatever a test changes
    ):
        await storage.put("before", b"1")
        yield storage, proxy


async def pieces(count: int, size: int = MIB) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number % 256]) * size


async def test_a_long_stream_needs_constant_memory(azurite: Azurite) -> None:
    async with opened(azurite.url) as storage:
        await storage.put("warm", pieces(4))
        before = resident()
        assert await storage.put("long", pieces(64)) == 64 * MIB
        read = 0
        async with storage.open("long") as stream:
            async for chunk in stream:
                assert chunk == bytes([read // MIB]) * MIB
                read += len(chunk)
        grown = resident() - before
    assert read == 64 * MIB
    assert grown < 32 * MIB


async def test_more_blobs_than_one_page_are_all_listed_in_order(azurite: Azurite) -> None:
    seen = Seen()
    async with opened(azurite.url, page=3, observe=seen) as storage:
        for number in range(9):
            await storage.put(f"a/{number}", b"1")
        assert [info.name async for info in storage.list("a/")] == [f"a/{number}" for number in range(9)]
    assert [facts["outcome"] for facts in seen.of("blob_call") if facts["operation"] == "list"] == ["ok"] * 3


async def test_our_identity_instead_of_a_key(monkeypatch: pytest.MonkeyPatch, azurite: Azurite) -> None:
    async with IdentityDouble().serving() as identity:
        for name, value in identity.environment.items():
            monkeypatch.setenv(name, value)
        with Azurite.started(tls=True) as guarded:
            seen = Seen()
            async with (
                open_credential(kind="managed", observe=seen) as credential,
                open_blob_storage(
                    account_url=guarded.url,
                    credential=credential,
                    container="abc",
                    clock=FrozenClock(),
                    observe=seen,
                    ca_file=guarded.ca_file,
                ) as storage,
            ):
                assert await storage.put("a", b"1") == 1
                assert await storage.get("a") == b"1"
                assert identity.issued == 1
                assert await storage.check() == []
                assert [info.name async for info in storage.list()] == ["a"]
            async with opened(guarded.url) as untrusting:
                with pytest.raises(Unavailable, match=r"(?i)certificate"):
                    await untrusting.put("a", b"1")


async def test_a_token_is_not_sent_without_tls(monkeypatch: pytest.MonkeyPatch, azurite: Azurite) -> None:
    async with IdentityDouble().serving() as identity:
        for name, value in identity.environment.items():
            monkeypatch.setenv(name, value)
        async with open_credential(kind="managed", observe=Seen()) as credential:
            with pytest.raises(Invalid, match="needs https://"):
                async with open_blob_storage(
                    account_url=azurite.url, credential=credential, container="abc", clock=FrozenClock(), observe=Seen()
                ):
                    pass
            assert identity.issued == 0


@pytest.mark.parametrize("name", ["ab", "A", "a" * 64, "a_b", "-ab", "ab-", "a--b", "abc\n", ""])
async def test_a_name_that_is_none_of_a_container_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="no name of a container"):
        async with opened("http://127.0.0.1:1", container=name):
            pass


async def test_two_long_puts_of_one_name_leave_one_of_them_whole(azurite: Azurite) -> None:
    async with opened(azurite.url) as storage:
        await storage.put("a", b"before")

        async def long(letter: bytes) -> AsyncIterator[bytes]:
            for _ in range(6):
                yield letter * MIB
                await asyncio.sleep(0)  # the other one's turn

        ended = await asyncio.gather(storage.put("a", long(b"1")), storage.put("a", long(b"2")), return_exceptions=True)
        assert [one for one in ended if one == 6 * MIB]
        assert not [one for one in ended if not isinstance(one, int | Overloaded)]
        found = await storage.get("a")
        assert found in (b"1" * 6 * MIB, b"2" * 6 * MIB)


@pytest.mark.parametrize(
    ("status", "code", "expected", "said"),
    [
        (503, "ServerBusy", Throttled, "ServerBusy"),
        (500, "InternalError", ServerFault, "InternalError"),
        (500, "OperationTimedOut", ServerFault, "OperationTimedOut"),
        (
            403,
            "AuthorizationPermissionMismatch",
            Unavailable,
            "identity needs the role 'Storage Blob Data Contributor'",
        ),
        (403, "AuthorizationFailure", Unavailable, "firewall must admit"),
        (409, "BlobImmutableDueToPolicy", Conflict, "BlobImmutableDueToPolicy"),
    ],
)
async def test_a_refusal_is_told_as_what_it_is_without_asking_again(
    azurite: Azurite, status: int, code: str, expected: type[Exception], said: str
) -> None:
    async with between(azurite) as (storage, proxy):
        before = len(proxy.faults.log)
        proxy.faults.always(status, headers={"x-ms-error-code": code}, body={"error": {"code": code, "message": "no"}})
        with pytest.raises(expected, match=said):
            await storage.put("a", b"1")
        assert len(proxy.faults.log) == before + 1
        proxy.faults.clear()
        assert await storage.put("a", b"1") == 1


async def test_a_wrong_key_is_said_and_not_shown(azurite: Azurite) -> None:
    wrong = "d3JvbmcgY2FuYXJ5"
    async with opened(azurite.url, key=wrong) as storage:
        with pytest.raises(Unavailable, match="403") as caught:
            await storage.put("a", b"1")
        assert wrong not in f"{caught.value!r} {caught.value.__cause__!r}"
        [missing] = await storage.check()
        assert "looking for the container" in missing


async def test_check_names_a_container_that_is_missing_and_makes_it_only_when_asked(azurite: Azurite) -> None:
    async with opened(azurite.url, container="checked") as storage:
        for _ in range(2):
            [missing] = await storage.check()
            assert "the container checked is missing" in missing
        assert await storage.check(create=True) == []
        assert await storage.check() == []
        assert [info.name async for info in storage.list()] == []


async def test_a_container_that_is_being_deleted_says_when_to_come_back(azurite: Azurite) -> None:
    async with between(azurite) as (storage, proxy):
        for status, code in ((404, "ContainerNotFound"), (409, "ContainerBeingDeleted")):
            proxy.faults.answer(
                status, headers={"x-ms-error-code": code}, body={"error": {"code": code, "message": "no"}}
            )
        with pytest.raises(Overloaded, match="is being deleted") as caught:
            await storage.put("a", b"1")
        assert caught.value.retry_after == 30.0
        assert await storage.put("a", b"1") == 1


async def test_one_broken_connection_is_not_noticed_and_two_are(azurite: Azurite) -> None:
    async with between(azurite) as (storage, proxy):
        proxy.faults.drop()
        assert await storage.put("a", b"1") == 1
        proxy.faults.drop(after=True)
        assert await storage.put("a", b"2") == 1, "an answer that was lost: the same bytes again"
        proxy.faults.always(0)
        with pytest.raises(ServerFault):
            await storage.put("a", b"3")
        proxy.faults.clear()
        assert await storage.get("a") == b"2"


async def test_a_blob_of_many_ranges_is_read_over_broken_connections(azurite: Azurite) -> None:
    async with between(azurite) as (storage, proxy):
        await storage.put("a", pieces(10))
        read = b""
        async with storage.open("a") as stream:
            async for chunk in stream:
                read += chunk
                proxy.faults.clear()
                proxy.faults.drop()
        assert read == b"".join([one async for one in pieces(10)])


async def test_an_emulator_that_answers_nothing_is_given_up_in_time_and_used_again(azurite: Azurite) -> None:
    """Half-open: connections are taken, and bytes too."""
    container = f"c{uuid4().hex}"
    async with opened(azurite.url, container=container) as storage:
        await storage.put("a", b"1")
    async with opened(azurite.url, container=container, timeout=1.0) as storage:
        azurite.freeze()
        try:
            with pytest.raises(TimedOut):
                await storage.get("a", at_most=10)
        finally:
            azurite.thaw()
    async with opened(azurite.url) as storage:
        assert await storage.put("a", b"1") == 1


async def test_a_start_during_an_outage_goes_on_and_what_was_stored_is_there_after_the_next(
    tmp_path: Path, azurite: Azurite
) -> None:
    with Azurite.started(directory=tmp_path) as first:
        async with opened(first.url, container="kept") as storage:
            await storage.put("a", b"1")
            first.stop()
            with pytest.raises((Unavailable, ServerFault)):
                await storage.get("a")
    async with opened(first.url, container="kept") as storage:
        with pytest.raises(Unavailable):
            await storage.get("a")
        assert len(await storage.check()) == 1
        with Azurite.started(directory=tmp_path, port=first.port):
            assert await storage.get("a") == b"1"


async def test_a_name_that_does_not_resolve() -> None:
    async with opened("https://that-is-not.blob.core.invalid") as storage:
        with pytest.raises(Unavailable, match=r"that-is-not\.blob\.core\.invalid"):
            await storage.put("a", b"1")


@pytest.mark.parametrize("text", ["canary", "AccountName=a;AccountKey", "BlobEndpoint=;AccountKey=canary"])
async def test_a_connection_string_that_is_none_is_said_without_being_shown(text: str) -> None:
    with pytest.raises(Invalid, match="looks like DefaultEndpointsProtocol") as caught:
        async with open_blob_storage(
            connection_string=Secret(text), container="abc", clock=FrozenClock(), observe=Seen()
        ):
            pass
    assert "canary" not in f"{caught.value!r} {caught.value.__cause__!r}"


async def test_nothing_to_sign_with_is_said() -> None:
    for options in ({}, {"account_url": "https://a.blob.core.windows.net"}):
        with pytest.raises(Invalid, match="needs"):
            async with open_blob_storage(container="abc", clock=FrozenClock(), observe=Seen(), **options):  # type: ignore[arg-type]  # of one type here
                pass


async def test_every_call_is_observed_with_its_outcome(azurite: Azurite) -> None:
    seen = Seen()
    async with opened(azurite.url, observe=seen) as storage:
        await storage.put("a", b"1")
        await storage.put("b", pieces(3))
        with pytest.raises(NotFound):
            await storage.get("c")
        assert [info.name async for info in storage.list()] == ["a", "b"]
    told = [(facts["operation"], facts["outcome"]) for facts in seen.of("blob_call")]
    assert told == [
        ("put", "ok"),
        ("put_block", "ok"),
        ("put_block", "ok"),
        ("put_block", "ok"),
        ("commit", "ok"),
        ("get", "not_found"),
        ("list", "ok"),
    ]


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
