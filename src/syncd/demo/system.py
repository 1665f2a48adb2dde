"""What the sample systems have in common: their order on standard input, who may ask, a quota, and a log of every request.

Below the API's own paths a quota counts and the log writes. Below `/desk` are the people who work with the system: the tour asks there for
the system's records, and lets somebody change one. That is no part of the API, and syncd never sees it.
"""

from __future__ import annotations

import asyncio
import json
import math
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from syncd.domain.jsontypes import Json, JsonObject

DESK = "/desk"
#: Whoever asked went away in the middle; the number is that of nginx.
GONE = 499
#: What a handler tells the log about its request.
ABOUT: web.RequestKey[JsonObject] = web.RequestKey("about", dict)


class Lines:
    """A file of JSON lines, each one there as soon as it is written."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8")

    def write(self, **facts: Json) -> None:
        self._file.write(json.dumps({"at": time.time(), **facts}) + "\n")
        self._file.flush()


class Quota:
    """`limit` requests in each `window` seconds. One request in `refuses` is answered 429 for no reason of ours, as busy systems do."""

    def __init__(self, limit: int, window: float, *, refuses: int = 0) -> None:
        self.limit, self._window, self._refuses = limit, window, refuses
        self._begun, self._used, self._asked = -window, 0, 0

    def take(self, *, reading: bool) -> tuple[bool, dict[str, str]]:
        """Whether the request may pass, and the headers that say so."""
        now = time.monotonic()
        if now >= self._begun + self._window:
            self._begun, self._used = now, 0
        self._asked += reading
        if reading and self._refuses and self._asked % self._refuses == 0:
            return False, {"Retry-After": "1"}
        left = self._begun + self._window - now
        passes = self._used < self.limit
        self._used += passes
        headers = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.limit - self._used),
            "X-RateLimit-Reset": str(math.ceil(left)),
        }
        if not passes:
            headers["Retry-After"] = str(math.ceil(left))
        return passes, headers


def guarded(
    *, shown: Callable[[web.Request], str | None], wanted: str, desk: str, quota: Quota, log: Lines
) -> Middleware:
    """Who asks the API must have `shown` what is `wanted`; the people at the desk have the token `desk`."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(f"{DESK}/"):
            return await handler(request) if _bearer(request) == desk else web.Response(status=401)
        about = request[ABOUT] = {}
        status = 500
        try:
            if shown(request) != wanted:
                answer: web.StreamResponse = web.json_response({"message": "who are you?"}, status=401)
            else:
                answer = await _limited(request, handler, quota)
            status = answer.status
            return answer
        except web.HTTPException as refusal:
            status = refusal.status
            raise
        except ConnectionResetError:
            status = GONE
            return web.Response(status=GONE)
        finally:
            log.write(method=request.method, path=request.path, status=status, **about)

    return guard


async def _limited(request: web.Request, handler: Handler, quota: Quota) -> web.StreamResponse:
    passes, headers = quota.take(reading=request.method == "GET")
    if not passes:
        return web.json_response({"message": "too many requests"}, status=429, headers=headers)
    try:
        answer = await handler(request)
    except web.HTTPException as refusal:
        refusal.headers.update(headers)
        raise
    answer.headers.update(headers)
    return answer


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme == "Bearer" else None


async def serve(app: web.Application, port: int) -> None:
    """On loopback, until SIGTERM. A line on standard output says that it listens."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        print(json.dumps({"listening": port}), flush=True)
        await ended.wait()
    finally:
        await runner.cleanup()


def main(system: Callable[[JsonObject], web.Application]) -> int:
    """Its order is one JSON object on standard input."""
    order: JsonObject = json.loads(sys.stdin.readline())

    async def run() -> None:
        await serve(system(order), order["port"])

    try:
        asyncio.run(run())
    except (KeyboardInterrupt, BrokenPipeError):
        return 1
    return 0
