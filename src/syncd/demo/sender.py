"""The sender, a process of its own (`python -m syncd.demo.sender`): it delivers as a provider does.

Its order comes as one JSON object on standard input: {urls, secret, log, count, seconds, seed, since}. A 2xx is the only thing that ends a
delivery: whatever else happens, nobody listening included, it is tried again. Events of one issue are sent in their order.
Each try goes to the next of `urls`, as behind a load balancer that notices nothing.
Every try and every answer is a line of its log, and the same line goes to standard output for whoever watches.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import cycle
from pathlib import Path
from typing import TextIO

import aiohttp

from syncd.demo.issues import Delivery, deliveries
from syncd.domain.jsontypes import Json, JsonObject

#: Deliveries under way at once.
CONCURRENCY = 32
#: Wait after a failed try, doubled up to the most. Seconds.
FIRST_WAIT, MOST_WAIT = 0.05, 0.4
#: Longest wait for one answer, as GitHub's. Seconds. https://docs.github.com/webhooks/using-webhooks/best-practices-for-using-webhooks
TIMEOUT = 10.0


class Log:
    """`sending` stands in it before the bytes leave, `answered` or `failed` after (`lost`: the bytes may have arrived)."""

    def __init__(self, file: TextIO, echo: TextIO) -> None:
        self._file, self._echo = file, echo

    def write(self, what: str, delivery: Delivery, **facts: Json) -> None:
        line = json.dumps(
            {
                "what": what,
                "at": time.time(),
                "delivery": delivery.id,
                "issue": delivery.issue,
                "updatedAt": delivery.updated_at,
                **facts,
            }
        )
        for stream in (self._file, self._echo):
            stream.write(line + "\n")
            stream.flush()


class Sender:
    def __init__(self, session: aiohttp.ClientSession, *, urls: Sequence[str], secret: str, log: Log) -> None:
        self._session = session
        self._urls = cycle(urls)
        self._secret = secret.encode()
        self._log = log

    async def deliver(self, delivery: Delivery) -> None:
        """Once, or twice at the same moment where it is to be repeated."""
        await asyncio.gather(*(self._until_2xx(delivery) for _ in range(2 if delivery.repeated else 1)))

    async def _until_2xx(self, delivery: Delivery) -> None:
        wait = FIRST_WAIT
        while not await self._once(delivery):
            # A provider's own back-off: nothing tells it that the receiver is back.
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(wait * 2, MOST_WAIT)

    async def _once(self, delivery: Delivery) -> bool:
        self._log.write("sending", delivery)
        try:
            async with self._session.post(
                next(self._urls), data=delivery.body, headers=self._headers(delivery)
            ) as answer:
                body = await answer.read()
                if not 200 <= answer.status < 300:
                    said = body[:200].decode(errors="replace")
                    self._log.write("failed", delivery, lost=False, why=f"answered {answer.status}: {said}")
                    return False
                self._log.write("answered", delivery, answer=json.loads(body).get("status"))
                return True
        except aiohttp.ClientConnectorError:
            self._log.write("failed", delivery, lost=False, why="nobody listens")
        except (aiohttp.ClientError, TimeoutError) as error:
            # The bytes may have arrived: only the receiver knows, and only asking again tells.
            self._log.write("failed", delivery, lost=True, why=f"no answer ({type(error).__name__})")
        return False

    def _headers(self, delivery: Delivery) -> dict[str, str]:
        signature = hmac.new(self._secret, delivery.body, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/demo",
            "X-GitHub-Event": "issues",
            "X-GitHub-Delivery": delivery.id,
            "X-Hub-Signature-256": f"sha256={signature}",
        }


async def send_all(order: JsonObject, log: Log) -> None:
    planned = deliveries(order["count"], seed=order["seed"], since=datetime.fromisoformat(order["since"]))
    turns = {delivery.issue: asyncio.Lock() for delivery in planned}  # fair: first come, first served
    left = iter(enumerate(planned))
    pace, begun = order["seconds"] / max(1, len(planned)), time.monotonic()
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        sender = Sender(session, urls=order["urls"], secret=order["secret"], log=log)

        async def worker() -> None:
            for place, delivery in left:
                await asyncio.sleep(max(0.0, begun + place * pace - time.monotonic()))  # things happen when they happen
                async with turns[delivery.issue]:
                    await sender.deliver(delivery)

        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(worker())


@contextmanager
def _log(path: Path) -> Iterator[Log]:
    with path.open("a", encoding="utf-8") as file:
        yield Log(file, sys.stdout)


def main() -> int:
    order: JsonObject = json.loads(sys.stdin.readline())
    try:
        with _log(Path(order["log"])) as log:
            asyncio.run(send_all(order, log))
    except (KeyboardInterrupt, BrokenPipeError):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
