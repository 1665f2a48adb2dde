"""The CRM's webhooks: every change of a contact is told, signed, and told again until it is answered 2xx.

The signature is a plain HMAC-SHA256 over `<time>.<body>`; those of one contact go out in their order.
Each try goes to the next of `urls`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from itertools import cycle

import aiohttp

from syncd.demo.system import Lines
from syncd.domain.jsontypes import JsonObject

SIGNATURE, TIME, DELIVERY = "X-Crm-Signature", "X-Crm-Time", "X-Crm-Delivery"
#: How a registration says it (domain/schemes).
SCHEME: JsonObject = {
    "scheme": "hmac-sha256",
    "schemeSettings": {"header": SIGNATURE, "timestampHeader": TIME, "deliveryIdHeader": DELIVERY},
}
#: Deliveries under way at once.
CONCURRENCY = 8
#: Wait after a failed try, doubled up to the most; longest wait for one answer. Seconds.
FIRST_WAIT, MOST_WAIT, TIMEOUT = 0.05, 0.5, 10.0


class Hooks:
    def __init__(self, *, urls: Sequence[str], secret: str, log: Lines) -> None:
        self._urls, self._secret, self._log = cycle(urls), secret.encode(), log
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    @property
    def waiting(self) -> int:
        """Deliveries that have no 2xx yet."""
        return len(self._tasks)

    def hold(self, held: bool) -> None:
        """Late webhooks: none goes out until they are let go."""
        if held:
            self._open.clear()
        else:
            self._open.set()

    def tell(self, contact_id: str, operation: str, data: JsonObject) -> None:
        event: JsonObject = {
            "eventType": f"contact.{operation}d",
            "entityType": "contact",
            "entityId": contact_id,
            "operation": operation,
            "data": data,
        }
        task = asyncio.create_task(self._deliver(contact_id, str(uuid.uuid4()), json.dumps(event).encode()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _deliver(self, contact_id: str, delivery: str, body: bytes) -> None:
        async with self._turns[contact_id]:
            await self._open.wait()
            async with self._slots:
                wait = FIRST_WAIT
                while not await self._once(contact_id, delivery, body):
                    # A sender's own back-off: nothing tells it that the receiver is back.
                    await asyncio.sleep(wait * random.uniform(0.5, 1.0))
                    wait = min(wait * 2, MOST_WAIT)

    async def _once(self, contact_id: str, delivery: str, body: bytes) -> bool:
        self._log.write(what="sending", delivery=delivery, contact=contact_id)
        try:
            async with self._connected().post(
                next(self._urls), data=body, headers=self._headers(delivery, body)
            ) as answer:
                said = await answer.read()
                if not 200 <= answer.status < 300:
                    self._log.write(what="failed", delivery=delivery, why=f"answered {answer.status}")
                    return False
                self._log.write(what="answered", delivery=delivery, answer=json.loads(said).get("status"))
                return True
        except (aiohttp.ClientError, TimeoutError) as error:
            self._log.write(what="failed", delivery=delivery, why=type(error).__name__)
        return False

    def _headers(self, delivery: str, body: bytes) -> dict[str, str]:
        stamp = str(int(time.time()))
        signature = hmac.new(self._secret, f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        return {"Content-Type": "application/json", SIGNATURE: signature, TIME: stamp, DELIVERY: delivery}

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True), timeout=aiohttp.ClientTimeout(total=TIMEOUT)
            )
        return self._session
