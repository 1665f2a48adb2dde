"""`python -m tests.wire cosmos`: the double in a process of its own, over plain http as the emulator can."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import Sequence

from syncd.adapters.embedded.clock import SystemClock
from syncd.ports.observe import ignore
from tests.wire.cosmos.server import CosmosDouble


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.wire cosmos", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="by which every answer is late")
    options = parser.parse_args(arguments)
    asyncio.run(_serve(options.port, options.latency))
    return 0


async def _serve(port: int, latency: float) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    double = CosmosDouble(clock=SystemClock(observe=ignore), latency=latency)
    await double.start(port)
    try:
        print(json.dumps({"COSMOS_ENDPOINT": double.endpoint, "COSMOS_KEY": double.key}), flush=True)
        await stop.wait()
    finally:
        await double.stop()
