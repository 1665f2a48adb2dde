"""Bodies too large for a message: in a blob on the way, and whole where they are worked on."""

from __future__ import annotations

from pathlib import Path

from syncd.adapters.embedded.blobs import open_blobs
from syncd.adapters.embedded.store import open_store
from syncd.domain.messages import Envelope
from syncd.domain.outcomes import DONE, Retry
from syncd.ports.queue import Message, Next
from syncd.runtime.claimcheck import ClaimCheckedQueue
from syncd.testing.clock import FrozenClock
from tests.integration.runtime.bench import Q, answering, bench


async def test_a_large_body_goes_through_a_blob_and_reaches_the_handler_whole(tmp_path: Path) -> None:
    async with bench(tmp_path, answering(Retry(after=1.0, reason="again"), DONE), inline_bytes=100) as b:
        await b.send(body=b"x" * 5000)
        await b.until(lambda: len(b.seen) == 1)
        await b.quiet()
        await b.clock.advance(1.5)
        await b.until(lambda: len(b.seen) == 2)
        assert [work.body for work in b.seen] == [b"x" * 5000] * 2
        assert b.seen[0].envelope.body_ref == b.seen[1].envelope.body_ref
        assert b.seen[0].delivery.body == b""


async def test_a_message_whose_blob_is_gone_is_parked_for_us_and_not_for_its_tenant(tmp_path: Path) -> None:
    async with bench(tmp_path, answering(DONE)) as b:
        await b.queue.send(Q, [Message(Envelope(kind="test", origin_id="m", body_ref="claims/20260101/gone"))])
        await b.until(lambda: len(b.parked) == 1)
        await b.quiet()
        reason = "the body is gone: there is no blob claims/20260101/gone"
        assert b.parked == [("we_must_act", reason, b"")]
        assert b.seen == []


async def test_a_body_in_a_blob_lives_as_long_as_its_message_goes_on(tmp_path: Path) -> None:
    clock = FrozenClock()
    async with open_store(tmp_path, clock=clock, durable=False) as store, open_blobs(tmp_path / "blobs") as blobs:
        queue = ClaimCheckedQueue(store.queue, blobs, inline_bytes=100, clock=clock)
        await queue.send(Q, [Message(Envelope(kind="test", origin_id="m"), b"x" * 5000)])
        references = []
        for days in (5, 2, 1):
            [delivery] = await queue.lease(Q, 1, duration=30.0)
            references.append(delivery.envelope.body_ref)
            await clock.advance(days * 86400)
            await queue.settle([Next(delivery, Message(delivery.envelope.next_hop(), delivery.body))])
        first, second, third = references
        assert first == second
        assert third is not None
        assert third != second
        assert await blobs.get(third) == b"x" * 5000
