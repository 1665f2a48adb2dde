"""Figures that /metrics shows of queues, over a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from syncd.adapters.embedded.store import open_store
from syncd.domain.errors import Unavailable
from syncd.domain.messages import Envelope
from syncd.flows.parked import Parked
from syncd.ports.queue import Complete, Message
from syncd.runtime.gauges import LOOK, QueueGauges
from syncd.testing.clock import FrozenClock

NAMES = ("sync-inbound", "sync-outbound")


async def test_waiting_and_parked_messages_are_counted_for_each_queue_again_and_again(tmp_path: Path) -> None:
    clock = FrozenClock()
    observed: list[tuple[str, dict[str, object]]] = []
    broken = False

    def observe(event: str, /, **facts: object) -> None:
        observed.append((event, facts))

    async with open_store(tmp_path, clock=clock, durable=False) as store:
        parked = Parked(documents=store.documents, queue=store.queue, clock=clock, observe=observe)

        async def dead() -> Mapping[str, int]:
            if broken:
                raise Unavailable("the disk is away")
            return await parked.counts(NAMES)

        async def park(number: int) -> str:
            envelope = Envelope(kind="k", origin_id=f"o{number}", tenant_id="t", received_at=clock.now())
            await store.queue.send("sync-outbound", [Message(envelope=envelope, body=b"{}")])
            [delivery] = await store.queue.lease("sync-outbound", 1, duration=60)
            identifier = await parked.park(delivery, "poison", "why")
            await store.queue.settle([Complete(delivery)])
            return identifier

        gauges = QueueGauges(queue=store.queue, names=NAMES, dead=dead, clock=clock, observe=observe)
        first = await park(1)
        await clock.advance(40 * 86400)
        await park(2)

        async def looked() -> None:
            while not clock.sleeping:
                await asyncio.sleep(0)  # one turn of the loop; the store answers from its thread

        running = asyncio.create_task(gauges.run())
        await looked()
        assert dict(gauges.dead()) == {("sync-inbound",): 0.0, ("sync-outbound",): 2.0}
        assert dict(gauges.waiting()) == {("sync-inbound",): 0.0, ("sync-outbound",): 0.0}
        await parked.replay(first)
        await clock.advance(LOOK)
        await looked()
        assert dict(gauges.dead()) == {("sync-inbound",): 0.0, ("sync-outbound",): 1.0}
        assert dict(gauges.waiting()) == {("sync-inbound",): 0.0, ("sync-outbound",): 1.0}
        broken = True
        await clock.advance(LOOK)
        await looked()
        assert list(gauges.dead()) == [], "no figure rather than an old one"
        assert [facts["queue"] for event, facts in observed if event == "depth_unknown"] == ["parked"]
        running.cancel()
