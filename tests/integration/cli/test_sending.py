from __future__ import annotations

import json
from pathlib import Path

from tests.integration.cli.kit import Syncd
from tests.integration.http.test_sending import CHANGE
from tests.integration.http.world import World


async def test_a_file_is_sent_as_it_is(world: World, syncd: Syncd, tmp_path: Path) -> None:
    text = json.dumps(json.dumps(CHANGE)) + "\n"
    (tmp_path / "message.json").write_text(text)
    sent = await syncd(
        "queues", "send", "sync-outbound", "message.json", "--property", "correlationId=run-1", "--output", "json"
    )
    assert (sent.code, sent.json["kind"], sent.json["correlationId"]) == (0, "change", "run-1")
    [message] = await world.store.queue.peek("sync-outbound")
    assert message.body.decode() == text


async def test_a_message_comes_from_standard_input_too_and_a_wrong_one_is_refused(world: World, syncd: Syncd) -> None:
    assert (await syncd("queues", "send", "sync-outbound", "-", stdin=json.dumps(CHANGE))).code == 0
    refused = await syncd("queues", "send", "sync-outbound", "-", stdin="{}")
    assert refused.code == 1
    assert "OutboundChange" in refused.err
    assert (await syncd("queues", "send", "nowhere", "-", stdin="{}")).code == 1
    assert (await syncd("queues", "send", "sync-outbound", "missing.json")).code == 2
    assert len(await world.store.queue.peek("sync-outbound")) == 1
