"""`python -m tests.wire`: the doubles by hand."""

from __future__ import annotations

import asyncio
import json
import signal
import sys

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from tests.wire.__main__ import DOUBLES, available, main


def test_help_names_the_doubles_that_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "servicebus" in shown
    assert all(name in shown for name in available())
    assert set(available()) <= set(DOUBLES)


def test_a_double_that_is_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["servicebuss"]) == 2
    assert "servicebus" in capsys.readouterr().err


@pytest.mark.slow
async def test_the_double_runs_as_a_process_of_its_own() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.wire", "servicebus", "--queue", "a", "--topic", "t=one,two", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        where = json.loads(await process.stdout.readline())
        async with ServiceBusClient.from_connection_string(where["connection_string"], retry_total=0) as client:
            async with client.get_topic_sender("t") as sender:
                await sender.send_messages(ServiceBusMessage(b"x"))
            async with client.get_subscription_receiver("t", "two") as receiver:
                assert len(await receiver.receive_messages(max_message_count=1, max_wait_time=5)) == 1
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
