"""Nothing is answered before it is on the disk, and a full disk loses nothing (G1).

kill -9 alone cannot show it, because the page cache survives it: the shim holds the disk back, and the answer must wait.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.acceptance.process import Answer, Daemon, Registration, eventually
from tests.acceptance.reading import component, events, logged, parked
from tests.shims import FsyncGate

# About the embedded store and its disk.
pytestmark = pytest.mark.embedded

#: The store's write-ahead log: what a commit syncs.
LOG = "syncd.db-wal"


@pytest.fixture
def gate(tmp_path: Path) -> FsyncGate:
    return FsyncGate(tmp_path / "gate", root=tmp_path / "data")


@pytest.fixture
async def daemon(tmp_path: Path, gate: FsyncGate) -> AsyncIterator[Daemon]:
    patient = {
        "SYNCD_WEBHOOKS__ENQUEUE_TIMEOUT": "20s"
    }  # so that it is the disk that is waited for, and not our own deadline
    async with Daemon(tmp_path / "data", environment={**gate.environment, **patient}) as daemon:
        yield daemon


def issue(number: int, title: str = "a title") -> bytes:
    repository = {"id": 7, "updated_at": "2026-01-01T00:00:00Z"}
    return json.dumps(
        {
            "action": "edited",
            "issue": {"id": 1000 + number, "number": number, "title": title, "updated_at": "2026-01-01T00:00:00Z"},
            "repository": repository,
        }
    ).encode()


async def held_up(gate: FsyncGate, ask: Callable[[], Awaitable[Answer]], *, name: str = LOG) -> Answer:
    """The answer to `ask`, after it was seen to wait for the sync of `name` that began after the request."""

    async def waits() -> bool:
        return any(step.path.name == name and step.at > asked for step in gate.waiting())

    with gate.shut():
        asked = time.monotonic_ns()
        asking = asyncio.ensure_future(ask())
        await eventually(waits, what=f"a sync of {name}")
        assert not asking.done(), "it was answered before it was durable"
        opened = time.monotonic_ns()
    answer = await asking
    ends = [step.at for step in gate.steps() if step.step == "end" and step.path.name == name]
    assert opened < max(ends) < time.monotonic_ns()
    assert "expired" not in [step.step for step in gate.steps()]
    return answer


async def test_a_webhook_is_answered_after_the_sync_of_its_commit(daemon: Daemon, gate: FsyncGate) -> None:
    registration = await daemon.register_github()
    await daemon.post_webhook(registration, issue(0))  # the registration is known from now on
    await daemon.drained("sync-outbound")
    answer = await held_up(gate, lambda: daemon.post_webhook(registration, issue(1)))
    assert answer.ok()["status"] == "accepted"


async def test_a_large_webhook_is_answered_after_the_sync_of_the_file_that_holds_its_body(
    daemon: Daemon, gate: FsyncGate
) -> None:
    registration = await daemon.register_github()
    body = issue(1, title="x" * 100_000)

    def files() -> set[str]:
        return {step.path.name for step in gate.steps() if step.step == "end" and "blobs" in step.path.parts}

    before = files()
    with gate.shut():
        asking = asyncio.ensure_future(daemon.post_webhook(registration, body))

        async def waits() -> bool:
            return any("blobs" in step.path.parts for step in gate.waiting())

        await eventually(waits, what="the sync of the body's file")
        assert not asking.done()
    assert (await asking).ok()["status"] == "accepted"
    assert files() - before, "the file itself was synced"


async def test_changes_over_the_api_are_answered_after_the_sync_of_their_commit(
    daemon: Daemon, gate: FsyncGate
) -> None:
    connection = {"id": "c-2", "tenantId": "t", "integrationId": "github", "settings": {"owner": "o", "repo": "r"}}
    for path, body in (
        ("/connections", connection),
        ("/jobs/maintenance/run", None),
        ("/jobs/maintenance/pause", None),
    ):
        answer = await held_up(gate, lambda path=path, body=body: daemon.api("POST", path, body))  # type: ignore[misc]  # defaults bind now
        answer.ok()


async def test_a_duplicate_of_what_a_killed_daemon_never_synced_is_answered_after_a_sync(
    daemon: Daemon, gate: FsyncGate
) -> None:
    """The commit was written and the daemon killed before the sync: the event is in the log file, and only in memory."""
    registration = await daemon.register_github()
    await daemon.post_webhook(registration, issue(0))
    await daemon.drained("sync-outbound")
    sent = 0
    while daemon.running:
        sent += 1
        body = issue(sent, title=f"never synced {sent}")
        with gate.shut():
            asking = asyncio.ensure_future(daemon.post_webhook(registration, body, delivery=f"d-{sent}"))

            async def waits() -> bool:
                return any(step.path.name == LOG for step in gate.waiting())

            await eventually(waits)
            # What waits may also be a commit of the daemon's own, before the event's is written: then with the next event.
            if f"never synced {sent}".encode() in (daemon.data_dir / LOG).read_bytes():
                await daemon.kill9()
        if daemon.running:
            (await asking).ok()
        else:
            with pytest.raises(aiohttp.ClientError):
                await asking
    killed = time.monotonic_ns()
    await daemon.start()
    answer = (await daemon.post_webhook(registration, body, delivery=f"d-{sent}")).ok()
    assert answer["status"] == "duplicate"
    synced = [step for step in gate.steps() if step.step == "end" and step.path.name == LOG and step.at > killed]
    assert synced, "the answer rests on what no power cut may take away"
    await daemon.drained("sync-outbound")
    assert [row["status"] for row in await events(daemon)] == ["processed"] * (1 + sent)


async def test_a_disk_that_takes_too_long_is_answered_503_and_the_repeated_delivery_has_one_effect(
    tmp_path: Path, gate: FsyncGate
) -> None:
    async with Daemon(tmp_path / "data", environment=gate.environment) as daemon:
        registration = await daemon.register_github()
        with gate.shut():
            answer = await daemon.post_webhook(registration, issue(1), delivery="d-1")
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) >= 1
            assert "the queue took longer than 1.5 s" in answer.json()["detail"]

        async def taken() -> bool:
            again = await daemon.post_webhook(registration, issue(1), delivery="d-1")
            return again.status == 200

        await eventually(taken, what="the repeated delivery")
        await daemon.drained("sync-outbound")
        assert [row["status"] for row in await events(daemon)] == ["processed"]


async def test_a_full_disk_is_said_clearly_and_nothing_is_lost(daemon: Daemon, gate: FsyncGate) -> None:
    registration = await daemon.register_github()
    accepted = await deliver(daemon, registration, range(5))
    with gate.full_disk():
        for body in (issue(10), issue(11, title="x" * 100_000)):
            refused = await daemon.post_webhook(registration, body)
            assert refused.status == 503, refused
            assert int(refused.headers["Retry-After"]) >= 1
            assert "full: free space on it" in refused.json()["detail"]
        written = await daemon.api("POST", "/jobs/maintenance/pause", {})
        assert written.status == 503
        assert "full: free space on it" in written.json()["detail"]
        store = await component(daemon, "store")
        assert store is not None
        assert store["status"] == "degraded"
        assert "full: free space on it" in store["detail"]
        assert (await daemon.request("GET", "/healthz")).status == 200
        assert len(await events(daemon)) <= len(accepted), "what is there can still be read"
    accepted |= await deliver(daemon, registration, range(20, 25))
    await daemon.drained("sync-outbound")
    assert {row["eventId"] for row in await events(daemon) if row["status"] == "processed"} == accepted
    assert await parked(daemon) == []
    store = await component(daemon, "store")
    assert store is not None
    assert store["status"] == "ok"
    text = (await daemon.request("GET", "/metrics")).body.decode()
    # One was refused by the store, the other, with its large body, by the blobs; both call a full disk by one name.
    assert 'webhook_not_stored_total{reason="overloaded"} 2.0' in text
    assert "full: free space on it" in logged(daemon, "webhook_not_stored")[0]["error"]
    assert "Traceback" not in daemon.log, "a full disk is no surprise"
    assert logged(daemon, "service_failed") == []


async def deliver(daemon: Daemon, registration: Registration, numbers: range) -> set[str]:
    answers = [await daemon.post_webhook(registration, issue(number)) for number in numbers]
    return {answer.ok()["eventId"] for answer in answers}
