"""`python -m tests.wire servicebus`: the double in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
from collections.abc import Sequence

from tests.wire.servicebus.double import service_bus
from tests.wire.servicebus.specs import QueueSpec, SubscriptionSpec, TopicSpec


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.wire servicebus", description=__doc__)
    parser.add_argument("--queue", action="append", default=[], metavar="NAME", help="a queue; may be repeated")
    parser.add_argument(
        "--topic", action="append", default=[], metavar="NAME=SUB,SUB", help="a topic with subscriptions"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="by which every answer is late")
    parser.add_argument("--lock-duration", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--max-delivery-count", type=int, default=10)
    parser.add_argument("--administration", action="store_true", help="the administration API too, over HTTPS")
    parser.add_argument("--duplicate-detection", type=float, metavar="SECONDS", help="window; without it, off")
    asyncio.run(_serve(parser.parse_args(arguments)))
    return 0


async def _serve(options: argparse.Namespace) -> None:
    shared = {
        "lock_duration": options.lock_duration,
        "max_delivery_count": options.max_delivery_count,
    }
    queues = [QueueSpec(name=name, duplicate_detection=options.duplicate_detection, **shared) for name in options.queue]
    topics = []
    for text in options.topic:
        name, _, subscriptions = text.partition("=")
        specs = tuple(SubscriptionSpec(name=each, **shared) for each in subscriptions.split(",") if each)
        topics.append(TopicSpec(name=name, subscriptions=specs, duplicate_detection=options.duplicate_detection))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as open_until_stopped:
        double = await open_until_stopped.enter_async_context(
            service_bus(
                queues=queues,
                topics=topics,
                latency=options.latency,
                host=options.host,
                port=options.port,
                record=False,
            )
        )
        where: dict[str, object] = {"connection_string": double.connection_string, "port": double.port}
        if options.administration:
            # Only here: TLS and an HTTP server take longer to import than everything else to start.
            from tests.wire.servicebus.administration import administration

            admin = await open_until_stopped.enter_async_context(administration(double))
            where |= {"administration": admin.connection_string, "ca_file": admin.ca_file}
        print(json.dumps(where), flush=True)
        await stop.wait()
